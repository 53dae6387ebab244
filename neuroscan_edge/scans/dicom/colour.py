"""Greyscale that DICOM stores in colour: three equal channels, neutral chroma, a grey palette.

Such values are for display already (PS3.3, C.7.6.3.1.2): no rescale and no window applies to them.
8 bits are taken as they are, more by the percentile rule, as in raster files.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from neuroscan_edge.errors import RejectedScanError
from neuroscan_edge.scans.dicom.elements import is_stated
from neuroscan_edge.scans.dicom.lookup_table import read_table
from neuroscan_edge.scans.grey import luma, percentile_window
from neuroscan_edge.scans.raster.colour import COLOURED_SHARE
from neuroscan_edge.spec import Finding

Samples = npt.NDArray[Any]
Grey = npt.NDArray[np.uint8]

CHANNEL_LEVELS = 8
"""How far equal channels may be apart after lossy compression and conversion. A JPEG of grey stored
as colour has no chroma at all, so this is stricter than the rule for photographs of a screen."""

_NEUTRAL = 128
_PALETTES = tuple(f"{name}PaletteColorLookupTable" for name in ("Red", "Green", "Blue"))
# PS3.3, C.7.6.3.1.2: YBR_FULL to RGB.
_RED_OF_CR, _GREEN_OF_CB, _GREEN_OF_CR, _BLUE_OF_CB = 1.402, -0.344136, -0.714136, 1.772
_GRID = 256


def grey_of_channels(samples: Samples, bits: int, *, luminance: bool) -> Grey:
    """Return the grey levels of three channels that show no colour.

    Parameters
    ----------
    samples : (H, W, 3) uint8 or uint16
        Red, green and blue, or luminance and two colour differences.
    bits : int
        Of a sample.
    luminance : bool
        Whether they are luminance and colour differences; then uint8.

    Raises
    ------
    RejectedScanError
        If there is colour: more than `COLOURED_SHARE` of the pixels have channels that are more
        than `CHANNEL_LEVELS` of 255 apart.
    """
    step = max(min(samples.shape[:2]) // _GRID, 1)
    judged = samples[::step, ::step]
    if _shows_colour(_to_rgb(judged) if luminance else _in_8_bits(judged, bits)):
        raise RejectedScanError(Finding.COLOUR, "the DICOM image is in colour")
    return _shown(samples[..., 0] if luminance else luma(samples))


def has_equal_channels(samples: Samples) -> bool:
    """Whether three channels, (H, W, 3), are the same."""
    first, second, third = (samples[..., channel] for channel in range(3))
    return bool(np.array_equal(first, second) and np.array_equal(second, third))


def grey_of_palette(stored: Samples, dataset: Dataset, order: str) -> Grey:
    """Return the grey levels of indices into a palette whose colours are grey.

    Parameters
    ----------
    stored : (H, W) of any integer dtype
        Indices.
    dataset : Dataset
        With the palette.
    order : {"<", ">"}
        Byte order of the file.

    Raises
    ------
    CorruptScanError
        If the palette is shorter than it says.
    RejectedScanError
        If there is no palette that is read, or there is colour in the image.
    """
    if not all(is_stated(dataset, f"{name}Data") for name in _PALETTES):
        raise RejectedScanError(
            Finding.COLOUR, "the DICOM image has a palette, of which no tables are at hand"
        )
    tables = [read_table(dataset, f"{name}Descriptor", f"{name}Data", order) for name in _PALETTES]
    samples = np.stack([table.map(stored) for table in tables], axis=-1)
    bits = max(int(table.table.max()).bit_length() for table in tables)
    if bits <= 8:
        samples = samples.astype(np.uint8)
    return grey_of_channels(samples, bits, luminance=False)


def unpack_422(words: Samples, rows: int, columns: int) -> Samples:
    """Return (H, W, 3) of YBR_FULL_422 as it lies uncompressed: Y, Y, Cb, Cr for two pixels."""
    quads = words.reshape(-1, 4)
    pixels = np.empty((len(quads), 2, 3), words.dtype)
    pixels[..., 0] = quads[:, :2]
    pixels[..., 1:] = quads[:, None, 2:]
    return pixels.reshape(rows, columns, 3)


def _shown(grey: Samples) -> Grey:
    return np.ascontiguousarray(
        grey if grey.dtype == np.uint8 else percentile_window(grey), np.uint8
    )


def _shows_colour(rgb: npt.NDArray[np.uint8]) -> bool:
    spread = rgb.max(axis=-1) - rgb.min(axis=-1)
    return bool(np.count_nonzero(spread > CHANNEL_LEVELS) > COLOURED_SHARE * spread.size)


def _in_8_bits(samples: Samples, bits: int) -> npt.NDArray[np.uint8]:
    scaled: npt.NDArray[np.uint8] = np.minimum(samples >> max(bits - 8, 0), 255).astype(np.uint8)
    return scaled


def _to_rgb(samples: Samples) -> npt.NDArray[np.uint8]:
    luminance, blue, red = (samples[..., channel].astype(np.float64) for channel in range(3))
    blue, red = blue - _NEUTRAL, red - _NEUTRAL
    channels = (
        luminance + _RED_OF_CR * red,
        luminance + _GREEN_OF_CB * blue + _GREEN_OF_CR * red,
        luminance + _BLUE_OF_CB * blue,
    )
    return np.clip(np.rint(np.stack(channels, axis=-1)), 0, 255).astype(np.uint8)
