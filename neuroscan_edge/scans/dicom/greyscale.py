"""The grayscale transformation sequence of PS3.3 C.11: stored values become grey levels.

Stored values -> modality LUT or rescale -> VOI LUT, window or percentile rule -> MONOCHROME1
inversion -> padding is black.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from neuroscan_edge.errors import CorruptScanError, UnsupportedScanError
from neuroscan_edge.scans.dicom.header import FrameHeader, photometric
from neuroscan_edge.scans.grey import linear_window, percentile_window

Values = npt.NDArray[np.float64]
Grey = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

_FUNCTIONS = frozenset({"LINEAR", "LINEAR_EXACT", "SIGMOID"})


def grey_frame(stored: npt.NDArray[Any], header: FrameHeader) -> Grey:
    """Map one frame's stored values to grey levels.

    Parameters
    ----------
    stored : (H, W) of any integer dtype
        Pixel values, sign extended.
    header : FrameHeader
        The frame's attributes.

    Returns
    -------
    (H, W) uint8

    Raises
    ------
    CorruptScanError
        If the header's transformation is damaged or its result not finite.
    UnsupportedScanError
        If the VOI LUT function is unknown.
    """
    padding = _padding(stored, header.dataset)
    values = _modality_values(stored, header)
    if not np.isfinite(values).all():
        raise CorruptScanError("the rescaled pixel values are not finite; export the image again")
    grey = _voi_grey(values, header, padding)
    if photometric(header.dataset) == "MONOCHROME1":
        grey = 255 - grey
    if padding is not None:
        grey[padding] = 0
    return np.ascontiguousarray(grey)


def _padding(stored: npt.NDArray[Any], dataset: Dataset) -> Mask | None:
    """Find pixels that are no data (PS3.3 C.7.5.1.1.2): a value, or a range with both its ends."""
    value = _number(dataset.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = _number(dataset.get("PixelPaddingRangeLimit"))
    ends = [_as_stored(each, dataset) for each in (value, value if limit is None else limit)]
    padding = (stored >= min(ends)) & (stored <= max(ends))
    return padding if padding.any() else None


def _as_stored(value: float, dataset: Dataset) -> float:
    # Some writers give a negative value as the unsigned number of the same bits.
    bits = int(dataset.BitsAllocated)
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    return value - (1 << bits) if signed and value >= 1 << (bits - 1) else value


def _modality_values(stored: npt.NDArray[Any], header: FrameHeader) -> Values:
    holder = header.holder("PixelValueTransformationSequence")
    if holder.get("ModalityLUTSequence"):
        item = holder.ModalityLUTSequence[0]
        return _look_up(stored.astype(np.float64), item, header.byte_order)[0]
    slope, intercept = _number(holder.get("RescaleSlope")), _number(holder.get("RescaleIntercept"))
    if slope == 0:
        raise CorruptScanError("the rescale slope is 0; export the image again")
    if slope is None and intercept is None:
        return stored.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        rescaled = stored.astype(np.float64) * (1.0 if slope is None else slope)
        return np.asarray(rescaled + (intercept or 0.0), np.float64)


def _voi_grey(values: Values, header: FrameHeader, padding: Mask | None) -> Grey:
    """Map by the first VOI LUT, else by the first valid window, else by percentiles."""
    holder = header.holder("FrameVOILUTSequence")
    if holder.get("VOILUTSequence"):
        mapped, top = _look_up(values, holder.VOILUTSequence[0], header.byte_order)
        return linear_window(mapped, 0.0, top)
    function = str(holder.get("VOILUTFunction") or "LINEAR").strip().upper()
    centres, widths = _numbers(holder.get("WindowCenter")), _numbers(holder.get("WindowWidth"))
    for centre, width in zip(centres, widths, strict=False):
        if is_window(centre, width, function):
            return apply_window(values, centre, width, function)
    return percentile_window(values, None if padding is None else ~padding)


def _look_up(values: Values, item: Dataset, order: str) -> tuple[Values, float]:
    """Map values by a LUT item (PS3.3 C.11.1.1.1); returns them and the table's largest value."""
    entries, first, bits = (int(each) for each in item.LUTDescriptor)
    # 0 stands for 65536, and a signed reading of the count is wrong.
    entries = entries % (1 << 16) or 1 << 16
    if not 8 <= bits <= 16:
        raise CorruptScanError(f"the lookup table has {bits} bits an entry; wanted are 8 to 16")
    table = _table(item, entries, bits, order)
    index = np.clip(np.rint(values) - first, 0, entries - 1).astype(np.int64)
    return table[index].astype(np.float64), float((1 << bits) - 1)


def _table(item: Dataset, entries: int, bits: int, order: str) -> npt.NDArray[Any]:
    data = item.LUTData
    table: npt.NDArray[Any]
    if isinstance(data, bytes):
        packed = bits == 8 and len(data) < 2 * entries
        table = np.frombuffer(data[: len(data) // 2 * 2], np.uint8 if packed else f"{order}u2")
    else:
        words = data if isinstance(data, MultiValue | list) else [data]
        table = np.array([int(word) & 0xFFFF for word in words], "<u2")
        if bits == 8 and len(table) < entries:
            table = table.view(np.uint8)
    if len(table) < entries:
        raise CorruptScanError(
            f"the lookup table holds {len(table)} of {entries} entries; export the image again"
        )
    return table[:entries]


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


def _numbers(value: Any) -> list[float]:
    if value is None or value == "":
        return []
    values = value if isinstance(value, MultiValue | list) else [value]
    return [float(each) for each in values if each is not None and each != ""]


def _number(value: Any) -> float | None:
    numbers = _numbers(value)
    return numbers[0] if numbers else None
