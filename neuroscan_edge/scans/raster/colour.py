"""Whether an image is in colour, or a grey one that is stored in three channels.

A pixel is coloured if its largest and smallest channel differ by more than `CHROMA_LEVELS`; an
image is in colour if more than `COLOURED_SHARE` of its pixels are. Rounding in a JPEG's chroma
moves channels by a few levels, so a grey image stays one.
"""

import contextlib
import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from neuroscan_edge.scans.grey import (
    comparable,
    linear_window,
    luma,
    over_black,
    percentile_range,
)
from neuroscan_edge.scans.jpeg.chroma import codes_no_chroma

CHROMA_LEVELS = 24
COLOURED_SHARE = 0.01
# Judged on a grid of about this many pixels a side: what is smaller than its step is no picture.
_GRID = 256
_JPEG_SCALE = 8


def is_coloured(rgb: npt.NDArray[Any]) -> bool:
    """Judge an image, (H, W, 3) uint8 or uint16."""
    step = max(min(rgb.shape[:2]) // _GRID, 1)
    red, green, blue = (rgb[::step, ::step, channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    threshold = CHROMA_LEVELS * (int(np.iinfo(rgb.dtype).max) // 255)
    return bool(np.count_nonzero(spread > threshold) > COLOURED_SHARE * spread.size)


def wide_colour_to_grey(
    rgb: npt.NDArray[Any], alpha: npt.NDArray[Any] | None = None, opaque: int | None = None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Map colour of more than 8 bits to grey; return it, and whether there is colour.

    Luma comes first, then opacity, then the percentiles of that. Colour is judged as it would be
    seen, each channel mapped like the grey: stored values may fill a small part of their range.

    Parameters
    ----------
    rgb : (H, W, 3) of a real dtype
        Finite.
    alpha : (H, W) unsigned, or None
        Opacity, where the colours are not multiplied by it already.
    opaque : int, optional
        The opacity that hides nothing; by default the largest value of the dtype.
    """
    rgb = comparable(rgb)
    grey = luma(rgb)
    if alpha is not None:
        grey = over_black(grey, alpha, opaque)
    window = percentile_range(grey)
    if window is None:
        return np.zeros(grey.shape, np.uint8), False
    seen = [linear_window(rgb[..., channel], *window) for channel in range(3)]
    return linear_window(grey, *window), is_coloured(np.dstack(seen))


def is_coloured_jpeg(data: bytes) -> bool:
    """Judge a JPEG by its means over 8x8 pixels, which decoding at an eighth of its size gives.

    The grey slice is decoded without colour; this costs less than decoding colour at full size.
    Where the headers say already that there is no colour, nothing is decoded.
    """
    return not codes_no_chroma(data) and is_coloured(_eighth(data))


def _eighth(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode to an eighth of a side, channels in any order."""
    flags = cv2.IMREAD_REDUCED_COLOR_8 | cv2.IMREAD_IGNORE_ORIENTATION
    with contextlib.suppress(cv2.error):
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        if pixels is not None:
            return np.asarray(pixels, np.uint8)
    # Pillow's takes half as long again, and decodes a little more.
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        width, height = image.size
        image.draft("RGB", (max(width // _JPEG_SCALE, 1), max(height // _JPEG_SCALE, 1)))
        return np.asarray(image.convert("RGB"), np.uint8)
