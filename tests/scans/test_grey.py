import cv2
import numpy as np
import pytest

from neuroscan_edge.scans.grey import linear_window, luma, over_black, percentile_window
from support.scan_cases import noise

# A correctly rounded value is at most half a level from the exact one, give or take float64.
HALF_GREY_LEVEL = 0.5 + 1e-9


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_is_opencv_grey(dtype):
    rgb = noise((200, 300, 3), dtype)
    grey = luma(rgb)
    assert grey.dtype == dtype
    assert np.array_equal(grey, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_luma_of_grey_is_that_grey(dtype):
    levels = np.arange(np.iinfo(dtype).max + 1, dtype=dtype)[None, :]
    assert np.array_equal(luma(np.dstack([levels] * 3)), levels)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((255, 0, 0), 76), ((0, 255, 0), 150), ((0, 0, 255), 29), ((255, 255, 255), 255)],
    ids=["red", "green", "blue", "white"],
)
def test_luma_of_primaries(colour, expected):
    assert luma(np.array([[colour]], np.uint8)).item() == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_composited_over_black(dtype):
    grey, alpha = noise((2, 150, 150), dtype)
    exact = grey.astype(np.float64) * alpha / np.iinfo(dtype).max
    result = over_black(grey, alpha)
    assert result.dtype == dtype
    assert np.abs(result - exact).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_ends(dtype):
    grey = noise((40, 40), dtype)
    opaque = np.full_like(grey, np.iinfo(dtype).max)
    assert np.array_equal(over_black(grey, opaque), grey)
    assert not over_black(grey, np.zeros_like(grey)).any()


def test_percentiles_by_hand():
    # Of 0..1000 the 0.5th percentile is 5 and the 99.5th is 995.
    result = percentile_window(np.arange(1001, dtype=np.uint16).reshape(7, 143))
    exact = np.clip((np.arange(1001) - 5) * 255 / 990, 0, 255)
    assert result.dtype == np.uint8
    assert np.abs(result.ravel() - exact).max() <= HALF_GREY_LEVEL
    assert result.ravel()[[0, 5, 995, 1000]].tolist() == [0, 0, 255, 255]


@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32, np.float64])
def test_percentile_window_of_any_type(dtype):
    values = noise((90, 110), np.int32, high=4000).astype(dtype)
    low, high = np.percentile(values.astype(np.float64), (0.5, 99.5))
    exact = np.clip((values.astype(np.float64) - low) / (high - low) * 255, 0, 255)
    assert np.abs(percentile_window(values) - exact).max() <= HALF_GREY_LEVEL


def test_negative_values_are_ranked_not_wrapped():
    values = np.linspace(-2000, 2000, 401).astype(np.int16)[None, :]
    result = percentile_window(values).ravel().astype(int)
    assert (np.diff(result) >= 0).all()
    assert (result[0], result[-1]) == (0, 255)


def test_one_hot_pixel_does_not_decide():
    values = noise((100, 100), np.uint16, high=1000)
    hot = values.copy()
    hot[50, 50] = 65535
    difference = percentile_window(hot).astype(int) - percentile_window(values)
    assert np.count_nonzero(np.abs(difference) > 1) <= 1


def test_scale_of_stored_values_does_not_matter():
    values = noise((64, 64), np.uint16, high=4096)
    assert np.array_equal(percentile_window(values), percentile_window(values * 16))


@pytest.mark.parametrize("value", [0, 1, 4095, 65535])
def test_constant_frame_is_black(value):
    assert not percentile_window(np.full((9, 9), value, np.uint16)).any()


def test_single_bright_pixel_on_black_stays_visible():
    values = np.zeros((100, 100), np.uint16)
    values[3, 4] = 700
    result = percentile_window(values)
    assert result[3, 4] == 255
    assert np.count_nonzero(result) == 1


def test_linear_window_clips():
    values = np.array([[-1e6, 9.9, 10.0, 60.1, 110.0, 110.1, 1e6]])
    assert linear_window(values, 10.0, 110.0).tolist() == [[0, 0, 0, 128, 255, 255, 255]]
