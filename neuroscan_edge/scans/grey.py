"""The rules by which decoded samples become grey levels 0 to 255.

- 8-bit grey is taken as it is.
- 8-bit colour becomes luma by ITU-R BT.601, in OpenCV's 15-bit fixed point.
- More than 8 bits: luma first where there is colour, then a linear map from the 0.5th to the 99.5th
  percentile of the frame. Stored 12-bit values in a 16-bit file would be black under a fixed
  scale, and one hot pixel would decide under a minimum-maximum one.
- Alpha is composited over black, the background of an MR slice.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

LOW_PERCENTILE = 0.5
HIGH_PERCENTILE = 99.5

_LUMA_BITS = 15
_LUMA_RGB = (9798, 19235, 3735)


def luma(rgb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """BT.601 luma, equal to ``cv2.cvtColor(..., COLOR_RGB2GRAY)`` for uint8 and uint16.

    rgb : (H, W, 3) uint8 or uint16. Returns (H, W) of the same dtype.
    """
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    weighted = red * _LUMA_RGB[0] + green * _LUMA_RGB[1] + blue * _LUMA_RGB[2]
    return np.asarray((weighted + (1 << (_LUMA_BITS - 1))) >> _LUMA_BITS, rgb.dtype)


def over_black(grey: npt.NDArray[Any], alpha: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Composite grey samples over black, rounding half up.

    grey, alpha : (H, W) of one unsigned dtype. Returns (H, W) of that dtype.
    """
    opaque = int(np.iinfo(alpha.dtype).max)
    product = grey.astype(np.uint64) * alpha
    return np.asarray((product + opaque // 2) // opaque, grey.dtype)


def percentile_window(
    values: npt.NDArray[Any], counted: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Map the robust range of a frame linearly to 0..255.

    values : (H, W) of any real dtype, finite. counted : (H, W) bool, the pixels whose range it is;
    None is all. Returns (H, W) uint8; a constant frame becomes 0.
    """
    ranged = values if counted is None else values[counted]
    if not ranged.size:
        return np.zeros(values.shape, np.uint8)
    low, high = np.percentile(ranged, (LOW_PERCENTILE, HIGH_PERCENTILE))
    if high <= low:
        # Fewer than one pixel in 200 stands out, or none does: use the whole range.
        low, high = float(ranged.min()), float(ranged.max())
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return linear_window(values, float(low), float(high))


def linear_window(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Map low..high linearly to 0..255, clipping outside; `high` must exceed `low`."""
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
