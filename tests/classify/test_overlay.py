import cv2
import numpy as np
import pytest

from neuroscan_edge.classify.overlay import Caption, draw_overlay

CAPTION = Caption("glioma_tumor 97.0 %, answer")


def drawn(pixels, heatmap):
    return cv2.imdecode(np.frombuffer(draw_overlay(pixels, heatmap, CAPTION), np.uint8), 1)


def halves(picture):
    body = picture[22:-22]
    width = body.shape[1] // 2
    return body[:, :width].astype(int), body[:, width:].astype(int)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((300, 400), (300, 400)), ((1024, 512), (512, 256)), ((64, 64), (256, 256)), ((3, 900), None)],
)
def test_a_slice_is_drawn_at_a_size_that_can_be_seen(shape, expected):
    left, _ = halves(drawn(np.full(shape, 90, np.uint8), np.ones((7, 7), np.float32)))
    if expected is None:
        assert max(left.shape) == 512
    else:
        assert left.shape[:2] == expected


def test_without_heat_both_halves_are_the_slice():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    left, right = halves(drawn(pixels, np.zeros((7, 7), np.float32)))
    np.testing.assert_array_equal(left[..., 0], pixels)
    np.testing.assert_array_equal(left, right)


def test_heat_colours_its_own_place_alone():
    heat = np.zeros((8, 8), np.float32)
    heat[1, 6] = 3.0
    left, right = halves(drawn(np.full((256, 256), 100, np.uint8), heat))
    change = np.abs(right - left).sum(axis=2)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert abs(row - 1.5 * 32) <= 16 and abs(column - 6.5 * 32) <= 16
    assert change[160:, :128].max() == 0


def test_the_statement_of_use_is_drawn():
    picture = drawn(np.zeros((256, 256), np.uint8), np.zeros((7, 7), np.float32))
    assert picture[-22:].max() > 200 and picture[:22].max() > 200
