"""A slice and what its classification rests on, side by side, as a PNG."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.spec import RESEARCH_USE

LONGEST_SIDE = 512
"""Pixels; a larger slice is drawn smaller."""

_STRIP = 22
_SHORTEST_SIDE = 256
_MOST_OPAQUE = 0.6
_FONT = cv2.FONT_HERSHEY_SIMPLEX

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Caption:
    """What stands above and below the pictures: plain ASCII, nothing that names a person."""

    above: str
    below: str = RESEARCH_USE


def draw_overlay(pixels: UInt8, heatmap: npt.NDArray[np.float32], caption: Caption) -> bytes:
    """Draw a slice and, beside it, the slice under its heatmap.

    Where the map is 0 the slice shows as it is; the colour's opacity grows with the map, so that
    a weak map does not hide the slice.

    Parameters
    ----------
    pixels : (H, W) uint8
        The slice as decoded.
    heatmap : (h, w) float32
        Not negative; scaled here by its own largest value.
    caption : Caption
        Lines above and below.

    Returns
    -------
    bytes
        PNG, RGB, H and W at least 256 and at most 512 but for the strips.
    """
    slice_ = _sized(pixels)
    height, width = slice_.shape
    heat = cv2.resize(heatmap, (width, height), interpolation=cv2.INTER_CUBIC)
    peak = float(heatmap.max(initial=0.0))
    share = np.clip(heat / peak, 0.0, 1.0) if peak > 0 else np.zeros_like(heat)
    colour = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    grey = cv2.cvtColor(slice_, cv2.COLOR_GRAY2BGR)
    opacity = (_MOST_OPAQUE * share)[..., None]
    blended = np.rint(grey * (1 - opacity) + colour * opacity).astype(np.uint8)
    pictures = np.concatenate([grey, blended], axis=1)
    rows = [_strip(caption.above, 2 * width), pictures, _strip(caption.below, 2 * width)]
    done, png = cv2.imencode(".png", np.concatenate(rows))
    assert done
    return bytes(png.tobytes())


def _sized(pixels: UInt8) -> UInt8:
    height, width = pixels.shape
    factor = min(LONGEST_SIDE / max(height, width), max(1.0, _SHORTEST_SIDE / min(height, width)))
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    shrinking = factor < 1
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


def _strip(text: str, width: int) -> UInt8:
    strip = np.zeros((_STRIP, width, 3), np.uint8)
    scale = 0.42
    (needed, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, (width - 12) / max(needed, 1))
    cv2.putText(strip, text, (6, 15), _FONT, scale, (230, 230, 230), 1, cv2.LINE_AA)
    return strip
