"""How a file stores its slices, read from its header alone."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageMode

from neuroscan_edge.scans.dicom.signature import HEAD_BYTES, is_dicom
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.raster.reader import FORMATS


@dataclass(frozen=True, slots=True)
class StoredFormat:
    """The stored form of an image, before it becomes grey levels.

    Parameters
    ----------
    width, height : int
        In pixels.
    bits : int
        Of one sample.
    channels : int
        Samples of one pixel; 1 for a palette image.
    """

    width: int
    height: int
    bits: int
    channels: int


def stored_format(path: Path) -> StoredFormat:
    """Read the stored form of a file that `neuroscan_edge.scans.read_scans` can decode."""
    with path.open("rb") as file, quiet:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if is_dicom(path, head):
            # Imported only when needed, as the decoder is.
            import pydicom

            header = pydicom.dcmread(file, stop_before_pixels=True, force=True)
            bits, channels = int(header.BitsStored), int(header.SamplesPerPixel)
            return StoredFormat(int(header.Columns), int(header.Rows), bits, channels)
        with Image.open(file, formats=FORMATS) as image:
            return StoredFormat(*image.size, _sample_bits(image), len(image.getbands()))


def _sample_bits(image: Image.Image) -> int:
    if image.mode == "1":
        return 1
    # Pillow opens 16-bit colour in an 8-bit mode: only the decoder's arguments tell.
    tiles = getattr(image, "tile", ())
    if image.format in {"PNG", "TIFF"} and tiles and ";16" in str(tiles[0].args):
        return 16
    return 8 * np.dtype(ImageMode.getmode(image.mode).typestr).itemsize
