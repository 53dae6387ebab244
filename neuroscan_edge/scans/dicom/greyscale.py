"""The grayscale transformation sequence of PS3.3 C.11: stored values become grey levels.

Stored values -> modality LUT or rescale -> VOI LUT, window or percentile rule -> MONOCHROME1
inversion -> padding is black.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from neuroscan_edge.errors import CorruptScanError, UnsupportedScanError
from neuroscan_edge.scans.dicom.elements import decimals, items, rescale_number, text
from neuroscan_edge.scans.dicom.header import FrameHeader, photometric
from neuroscan_edge.scans.dicom.lookup_table import read_table
from neuroscan_edge.scans.grey import (
    HIGH_PERCENTILE,
    LOW_PERCENTILE,
    linear_window,
    percentile_window,
)
from neuroscan_edge.scans.quality import QualityThresholds, measure
from neuroscan_edge.spec import Finding

Values = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})

MIN_SHOWN_LEVELS = 32
"""A window that shows the robust range of a frame in fewer grey levels does not meet the data."""

MIN_SHOWN_SHARE = 0.01
"""Nor does one that clips all but this share of the pixels to black and white."""

MIN_STRUCTURE = 20.0
"""`PixelMeasures.contrast` of the frame by the percentile rule, from which there is something to
be shown: the noise of a slice of air averages out, 6 to 19 of 64 pixels a side and more, and stays
black in the window of its series. Brain slices have 26 and more."""


def grey_frame(
    stored: npt.NDArray[Any], header: FrameHeader, padding: Mask | None = None
) -> tuple[Grey, tuple[Finding, ...]]:
    """Map one frame's stored values to grey levels.

    Parameters
    ----------
    stored : (H, W) of any integer dtype
        Pixel values, sign extended.
    header : FrameHeader
        The frame's attributes.
    padding : (H, W) bool, optional
        Pixels that are known to be no data by their words; those of a range are found here.

    Returns
    -------
    tuple
        (H, W) uint8, and what was found wrong on the way.

    Raises
    ------
    CorruptScanError
        If the header's transformation is damaged or its result not finite.
    UnsupportedScanError
        If the VOI LUT function is unknown.
    """
    padding = _either(padding, _padding(stored, header.dataset))
    values = _modality_values(stored, header)
    if not np.isfinite(values).all():
        raise CorruptScanError(
            "the pixel values are not finite after rescale; export the image again"
        )
    grey, findings = _voi_grey(values, header, padding)
    if photometric(header.dataset) == "MONOCHROME1":
        grey = 255 - grey
    if padding is not None:
        grey[padding] = 0
    return np.ascontiguousarray(grey), findings


def padding_words(words: npt.NDArray[Any], dataset: Dataset) -> Mask | None:
    """Find words, (H, W) unsigned, that are Pixel Padding Value to the bit."""
    ends = _padding_ends(dataset)
    if not ends:
        return None
    mask = (1 << 8 * words.itemsize) - 1
    padding = np.isin(words, np.array([int(end) & mask for end in ends], words.dtype))
    return padding if padding.any() else None


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> Mask | None:
    """Find pixels that are no data (PS3.3 C.7.5.1.1.2): a value, or a range with both its ends."""
    ends = _padding_ends(dataset)
    if not ends:
        return None
    signed = stored.dtype.kind == "i"
    bits = 8 * stored.itemsize
    # Some writers give a negative value as the unsigned number of the same bits, or the reverse.
    ends = [_wrapped(int(end), bits, signed=signed) for end in ends]
    padding = (stored >= min(ends)) & (stored <= max(ends))
    return padding if padding.any() else None


def _padding_ends(dataset: Dataset) -> list[float]:
    value = decimals(dataset, "PixelPaddingValue")
    if not value or value[0] is None:
        return []
    limit = decimals(dataset, "PixelPaddingRangeLimit")
    ends = [value[0], limit[0] if limit else None]
    return [end for end in ends if end is not None]


def _wrapped(value: int, bits: int, *, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def _either(first: Mask | None, second: Mask | None) -> Mask | None:
    if first is None or second is None:
        return first if second is None else second
    return first | second


def _modality_values(stored: npt.NDArray[Any], header: FrameHeader) -> Values:
    holder = header.holder("PixelValueTransformationSequence")
    tables = items(holder, "ModalityLUTSequence")
    if tables:
        table = read_table(tables[0], "LUTDescriptor", "LUTData", header.byte_order)
        return table.map(stored.astype(np.float64)).astype(np.float64)
    slope = rescale_number(holder, "RescaleSlope")
    intercept = rescale_number(holder, "RescaleIntercept")
    if slope == 0:
        raise CorruptScanError("the rescale slope is 0; export the image again")
    if slope is None and intercept is None:
        return stored.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rescaled = stored.astype(np.float64) * (1.0 if slope is None else slope)
        return np.asarray(rescaled + (intercept or 0.0), np.float64)


def _voi_grey(
    values: Values, header: FrameHeader, padding: Mask | None
) -> tuple[Grey, tuple[Finding, ...]]:
    """Map by the first VOI LUT, else by the first valid window, else by percentiles."""
    shown, stated, doubts = _stated_grey(values, header)
    if shown is not None and (padding is None or not padding.all()):
        counted = shown if padding is None else shown[~padding]
        if _meets(counted, shown.shape):
            return shown, doubts
    by_range = percentile_window(values, None if padding is None else ~padding)
    if shown is not None and not _has_structure(by_range, padding):
        return shown, doubts
    return by_range, (Finding.WINDOW_UNUSABLE,) if stated else ()


def _stated_grey(
    values: Values, header: FrameHeader
) -> tuple[Grey | None, bool, tuple[Finding, ...]]:
    """Map as the header says.

    Returns None where it says nothing that can be applied, whether it says anything, and what is
    doubtful of what was applied.
    """
    holder = header.holder("FrameVOILUTSequence")
    tables = items(holder, "VOILUTSequence")
    if tables:
        table = read_table(tables[0], "LUTDescriptor", "LUTData", header.byte_order)
        return linear_window(table.map(values), 0.0, float(table.top)), True, ()
    function = text(holder, "VOILUTFunction").upper() or "LINEAR"
    centres, widths = decimals(holder, "WindowCenter"), decimals(holder, "WindowWidth")
    for centre, width in zip(centres, widths, strict=False):
        if centre is not None and width is not None and is_window(centre, width, function):
            # Nothing says which width is which centre's.
            doubts = (Finding.CONTRADICTORY_HEADER,) if len(centres) != len(widths) else ()
            return apply_window(values, centre, width, function), True, doubts
    return None, bool(centres or widths), ()


def _meets(shown: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> bool:
    """Whether a window, or a VOI LUT, shows what there is in a frame's pixels."""
    if min(shape) < QualityThresholds().least_side_px:
        # Too small to be classified.
        return True
    levels = np.bincount(shown.ravel(), minlength=256)
    ends = np.array((LOW_PERCENTILE, HIGH_PERCENTILE)) / 100 * shown.size
    low, high = np.searchsorted(np.cumsum(levels), ends)
    inside = levels[1:-1].sum()
    return bool(high - low >= MIN_SHOWN_LEVELS and inside >= MIN_SHOWN_SHARE * shown.size)


def _has_structure(grey: Grey, padding: Mask | None) -> bool:
    if padding is not None:
        grey = np.where(padding, np.uint8(0), grey)
    return measure(grey).contrast >= MIN_STRUCTURE


def is_window(centre: float, width: float, function: str) -> bool:
    """Whether a window can be applied: finite, and at least 1 wide for LINEAR, else above 0."""
    wide = width >= 1 if function == "LINEAR" else width > 0
    return bool(np.isfinite(centre) and np.isfinite(width) and wide)


def apply_window(values: Values, centre: float, width: float, function: str = "LINEAR") -> Grey:
    """Apply a VOI window (PS3.3 C.11.2.1.2 and C.11.2.1.3) with an output range of 0..255.

    Parameters
    ----------
    values : (H, W) float64
        After the modality transformation.
    centre, width : float
        In the units of `values`; LINEAR needs a width of at least 1, the others above 0.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
        VOI LUT Function.

    Returns
    -------
    (H, W) uint8

    Raises
    ------
    UnsupportedScanError
        If the function is another.
    CorruptScanError
        If the width is out of its domain or a parameter is not finite.
    """
    if function not in _FUNCTIONS:
        raise UnsupportedScanError("the VOI LUT function is none of LINEAR, LINEAR_EXACT, SIGMOID")
    if not is_window(centre, width, function):
        raise CorruptScanError(
            f"the window, centre {centre:g} and width {width:g}, is invalid for {function}; "
            "export the image again"
        )
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            level = 255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
        return np.rint(level).astype(np.uint8)
    if function == "LINEAR":
        if width == 1:
            return np.where(values <= centre - 0.5, 0, 255).astype(np.uint8)
        centre, width = centre - 0.5, width - 1
    return linear_window(values, centre - width / 2, centre + width / 2)
