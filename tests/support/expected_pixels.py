"""Grey levels computed from the standard's own words, value by value."""

import math

import numpy as np

HALF_GREY_LEVEL = 0.5 + 1e-9
# Beyond it `math.exp` overflows; the sigmoid is 0 long before.
LARGEST_EXPONENT = 700.0


def standard_window(value, centre, width, function):
    """PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2 as written, for an output of 0 to 255."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(min(-4 * (value - centre) / width, LARGEST_EXPONENT)))
    if function == "LINEAR_EXACT":
        if value <= centre - width / 2:
            return 0.0
        if value > centre + width / 2:
            return 255.0
        return ((value - centre) / width + 0.5) * 255
    if value <= centre - 0.5 - (width - 1) / 2:
        return 0.0
    if value > centre - 0.5 + (width - 1) / 2:
        return 255.0
    return ((value - (centre - 0.5)) / (width - 1) + 0.5) * 255


def windowed(values, centre, width, function="LINEAR"):
    by_value = np.vectorize(standard_window, otypes=[np.float64])
    return by_value(values.astype(np.float64), centre, width, function)


def by_percentile(values, padded=None):
    """The 0.5th to the 99.5th percentile, of the pixels that are not padding."""
    values = values.astype(np.float64)
    low, high = np.percentile(values if padded is None else values[~padded], (0.5, 99.5))
    return np.clip((values - low) / (high - low) * 255, 0, 255)


def assert_rounded(pixels, exact):
    assert pixels.shape == exact.shape
    assert np.abs(pixels - exact).max() <= HALF_GREY_LEVEL
