"""Whether an image is in colour, more than a grey one stored in three channels is."""

from typing import Any

import numpy as np
import numpy.typing as npt

COLOURFUL_LEVELS = 32
"""How far the channels of a pixel must lie apart: a scanner's tint and JPEG stay below."""

COLOURFUL_SHARE = 0.01
"""Share of colourful pixels up to which an image is grey: a coloured mark or letter on a slice."""

_SAMPLES_A_SIDE = 128


def in_colour(rgb: npt.NDArray[Any], alpha: npt.NDArray[Any] | None = None) -> bool:
    """Whether more than a few pixels are colourful, by a regular subsample.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 or uint16
        Of at least one pixel.
    alpha : (H, W) of the same dtype, optional
        What is transparent shows no colour.
    """
    rows, columns = (-(-side // _SAMPLES_A_SIDE) for side in rgb.shape[:2])
    full = np.iinfo(rgb.dtype).max
    sample = rgb[::rows, ::columns].astype(np.float32) * (255 / full)
    spread = sample.max(axis=2) - sample.min(axis=2)
    if alpha is not None:
        spread = spread * (alpha[::rows, ::columns] / np.float32(full))
    return float(np.mean(spread > COLOURFUL_LEVELS)) > COLOURFUL_SHARE
