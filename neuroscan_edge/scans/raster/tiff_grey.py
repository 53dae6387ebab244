"""Samples of a TIFF page to grey levels, by the rules of `grey`."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.grey import luma, over_black, percentile_window
from neuroscan_edge.scans.raster.colour import is_coloured, wide_colour_to_grey
from neuroscan_edge.scans.raster.tiff_layout import Colour, Layout

_UInt8 = npt.NDArray[np.uint8]


def grey_levels(
    samples: npt.NDArray[Any], layout: Layout, colour_map: npt.NDArray[Any]
) -> tuple[_UInt8, bool]:
    """Return a page's grey levels, (H, W) uint8, and whether it is in colour.

    Parameters
    ----------
    samples : (H, W, samples) of the layout's dtype
        As `PageSamples` decodes them.
    layout : Layout
        What they are.
    colour_map : (3 * entries,) integer
        Of a palette: all reds, all greens, all blues; else empty.

    Raises
    ------
    CorruptScanError
        If values are not finite, or the palette is too short.
    """
    if layout.kind == "f" and not np.isfinite(samples[..., : layout.colour.samples]).all():
        raise CorruptScanError("the image holds values that are not finite; export it again")
    if layout.colour is Colour.GREY:
        return _grey(samples, layout), False
    if layout.colour is Colour.YCBCR:
        return _from_ycbcr(samples, layout)
    if layout.colour is Colour.PALETTE:
        rgb = _from_palette(samples[..., 0], layout.bits, colour_map)
        alpha = _eight_bits(_alpha(samples, layout), layout.bits)
        return _eight_bit_colour(rgb, alpha, _is_associated(layout))
    alpha = _alpha(samples, layout)
    rgb = samples[..., :3] if layout.colour is Colour.RGB else _from_cmyk(samples)
    if layout.bits <= 8:
        rgb, alpha = (_eight_bits(each, layout.bits) for each in (rgb, alpha))
        return _eight_bit_colour(rgb, alpha, _is_associated(layout))
    opaque = (1 << layout.bits) - 1
    return wide_colour_to_grey(rgb, None if _is_associated(layout) else alpha, opaque)


def _grey(samples: npt.NDArray[Any], layout: Layout) -> _UInt8:
    values = samples[..., 0]
    if layout.bits <= 8:
        if layout.kind == "i":
            # In the order of the values: -128 is black.
            values = values.view(np.uint8) ^ np.uint8(0x80)
        values = _eight_bits(values, layout.bits)
        values = ~values if layout.white_is_zero else values
        alpha = _eight_bits(_alpha(samples, layout), layout.bits)
        hidden = alpha is not None and not _is_associated(layout)
        return np.asarray(over_black(values, alpha) if hidden else values, np.uint8)
    alpha = _alpha(samples, layout)
    if alpha is not None and not _is_associated(layout):
        opaque = (1 << layout.bits) - 1
        values = opaque - values if layout.white_is_zero else values
        return percentile_window(over_black(values, alpha, opaque))
    grey = percentile_window(values)
    return 255 - grey if layout.white_is_zero else grey


def _alpha(samples: npt.NDArray[Any], layout: Layout) -> npt.NDArray[Any] | None:
    return None if layout.alpha is None else samples[..., layout.alpha.sample]


def _is_associated(layout: Layout) -> bool:
    return layout.alpha is not None and layout.alpha.associated


def _eight_bits(values: Any, bits: int) -> Any:
    """Spread values of other depths over 0..255; None stays None."""
    if values is None or bits == 8:
        return values
    most = (1 << bits) - 1
    if bits < 8:
        table = (np.arange(most + 1, dtype=np.uint16) * 255 + most // 2) // most
        return table.astype(np.uint8)[values]
    return ((values.astype(np.uint32) * 255 + most // 2) // most).astype(np.uint8)


def _eight_bit_colour(rgb: _UInt8, alpha: _UInt8 | None, associated: bool) -> tuple[_UInt8, bool]:
    grey = np.asarray(luma(rgb), np.uint8)
    # Multiplied by its opacity already, it is what it looks like over black.
    if alpha is not None and not associated:
        grey = np.asarray(over_black(grey, alpha), np.uint8)
    return grey, is_coloured(rgb)


def _from_palette(indices: npt.NDArray[Any], bits: int, colour_map: npt.NDArray[Any]) -> _UInt8:
    entries = 1 << bits
    if len(colour_map) != 3 * entries:
        raise CorruptScanError(
            f"the palette of the TIFF has {len(colour_map)} values, {bits} bits need "
            f"{3 * entries}; export the slice again"
        )
    values = colour_map.astype(np.uint16).reshape(3, entries)
    # 16 bits by the standard; some writers store 8, and then none is larger.
    eight = values if values.max(initial=0) < 256 else values >> 8
    return np.asarray(eight.astype(np.uint8).T[indices])


def _from_cmyk(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Convert inks to red, green and blue, naively, (H, W, 3) of the dtype given."""
    most = int(np.iinfo(samples.dtype).max)
    product = (most - samples[..., :3]).astype(np.uint32) * (most - samples[..., 3:4])
    return np.asarray((product + most // 2) // most, samples.dtype)


def _from_ycbcr(samples: _UInt8, layout: Layout) -> tuple[_UInt8, bool]:
    grey = np.ascontiguousarray(samples[..., 0])
    # OpenCV has them in another order.
    rgb = cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB)
    alpha = _alpha(samples, layout)
    if alpha is not None and not _is_associated(layout):
        grey = np.asarray(over_black(grey, alpha), np.uint8)
    return grey, is_coloured(np.asarray(rgb, np.uint8))
