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
_LUMA_WEIGHTS = (0.299, 0.587, 0.114)
_HUGE = 1e300


def luma(rgb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """BT.601 luma, equal to ``cv2.cvtColor(..., COLOR_RGB2GRAY)`` for uint8 and uint16.

    rgb : (H, W, 3) of a real dtype. Returns (H, W), uint8 and uint16 as they are, else float64.
    """
    if rgb.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        return np.asarray(rgb @ np.array(_LUMA_WEIGHTS))
    red, green, blue = (rgb[..., channel].astype(np.uint32) for channel in range(3))
    weighted = red * _LUMA_RGB[0] + green * _LUMA_RGB[1] + blue * _LUMA_RGB[2]
    return np.asarray((weighted + (1 << (_LUMA_BITS - 1))) >> _LUMA_BITS, rgb.dtype)


def over_black(
    grey: npt.NDArray[Any], alpha: npt.NDArray[Any], opaque: int | None = None
) -> npt.NDArray[Any]:
    """Composite grey samples over black, rounding half up.

    grey, alpha : (H, W) of one unsigned dtype. opaque : the alpha that hides nothing; None is the
    largest value of the dtype. Returns (H, W) of that dtype.
    """
    opaque = opaque or int(np.iinfo(alpha.dtype).max)
    product = grey.astype(np.uint64) * alpha
    return np.asarray((product + opaque // 2) // opaque, grey.dtype)


def percentile_window(
    values: npt.NDArray[Any], counted: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.uint8]:
    """Map the robust range of a frame linearly to 0..255.

    values : (H, W) of any real dtype, finite. counted : (H, W) bool, the pixels whose range it is;
    None is all. Returns (H, W) uint8; a constant frame becomes 0.
    """
    values = comparable(values)
    window = percentile_range(values if counted is None else values[counted])
    return np.zeros(values.shape, np.uint8) if window is None else linear_window(values, *window)


def comparable(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return values that a float64 tells apart, changed by a shift or a factor at most.

    Beside 2^63 neighbours are the same float64; counted from the least they are not. Percentiles of
    float16 are rounded to float16. The difference of two huge float64 is infinite.
    """
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size:
        values = np.ascontiguousarray(values, values.dtype.newbyteorder("="))
        return np.asarray(values.view(np.uint64) - values.min().astype(np.uint64))
    if values.dtype == np.float16:
        return values.astype(np.float32)
    if values.dtype == np.float64 and np.abs(values).max(initial=0) > _HUGE:
        return values / 4
    return values


def percentile_range(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Return the robust range of values of any real dtype, finite; None if they are constant."""
    if not values.size:
        return None
    low, high = np.percentile(values, (LOW_PERCENTILE, HIGH_PERCENTILE))
    if high <= low:
        # Fewer than one pixel in 200 stands out, or none does: use the whole range.
        low, high = values.min(), values.max()
    return (float(low), float(high)) if low < high else None


def linear_window(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """Map low..high linearly to 0..255, clipping outside; `high` must exceed `low`."""
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)
