"""Augmentation: deterministic, in range, and each change is really made."""

import dataclasses

import cv2
import numpy as np
import pytest

from training.fit.augment import augment, head_box
from training.recipe.recipe import Augmentation

STRONG = Augmentation(
    reframe=0.5,
    random_convolution=0.5,
    spectrum=0.5,
    histogram=0.5,
    other_class=0.5,
    horizontal_flip=0.5,
    vertical_flip=0.5,
    rotation_degrees=30,
    zoom=0.2,
    shift=0.1,
    gamma=2,
    window=0.2,
    curve=0.5,
    inversion=0.5,
    bias_field=0.5,
    blur=0.5,
    recompression=0.5,
    noise=10,
    cutout=0.5,
)


@pytest.fixture
def pixels() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (8, 8), np.uint8)
    return coarse.repeat(12, axis=0).repeat(12, axis=1)


def test_no_augmentation_changes_nothing(pixels):
    changed = augment(pixels, Augmentation(), np.random.default_rng(0))
    np.testing.assert_array_equal(changed, pixels)


# Which class lends is the batches' affair; here it changes nothing.
CHANGES = [each.name for each in dataclasses.fields(Augmentation) if each.name != "other_class"]


@pytest.mark.parametrize("field", CHANGES)
def test_each_change_alone_changes_the_image(pixels, field):
    value = {"gamma": 3.0, "rotation_degrees": 40.0, "noise": 20.0, "window": 0.3, "shift": 0.3}
    recipe = Augmentation(**{field: value.get(field, 0.6)})
    donors = np.stack([np.roll(pixels, 30, axis=0) // 2, 255 - pixels])

    def donor(rng: np.random.Generator) -> np.ndarray:
        return donors[rng.integers(2)]

    drawn = [augment(pixels, recipe, np.random.default_rng(seed), donor) for seed in range(8)]
    assert any((each != pixels).mean() > 0.01 for each in drawn)
    assert all(each.dtype == np.uint8 and each.shape == pixels.shape for each in drawn)


def test_the_same_state_gives_the_same_bytes(pixels):
    first, second = (augment(pixels, STRONG, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (augment(pixels, STRONG, np.random.default_rng(4)) != first).any()


def test_the_image_passed_in_is_left_alone(pixels):
    before = pixels.copy()
    for seed in range(10):
        augment(pixels, STRONG, np.random.default_rng(seed))
    np.testing.assert_array_equal(pixels, before)


def test_inversion_keeps_the_background_dark():
    pixels = np.zeros((64, 64), np.uint8)
    pixels[20:40, 20:40] = 240
    pixels[25:30, 25:30] = 120
    changed = augment(pixels, Augmentation(inversion=1.0), np.random.default_rng(1))
    assert changed[0, 0] == 0
    assert changed[27, 27] > changed[22, 22], "darker tissue becomes the brighter"


def test_strength_scales_from_nothing_to_everything(pixels):
    assert STRONG.at_strength(1.0) == STRONG
    nothing = augment(pixels, STRONG.at_strength(0.0), np.random.default_rng(0))
    np.testing.assert_array_equal(nothing, pixels)
    half = STRONG.at_strength(0.5)
    assert (half.rotation_degrees, half.gamma) == (15, 2**0.5)


@pytest.fixture
def head() -> np.ndarray:
    """A grey oval with a brighter spot on black."""
    pixels = np.zeros((100, 120), np.uint8)
    cv2.ellipse(pixels, (60, 50), (30, 40), 0, 0, 360, 90, -1)
    cv2.circle(pixels, (50, 40), 8, 200, -1)
    return pixels


def test_the_box_of_a_head_is_where_it_is(head):
    assert head_box(head) == pytest.approx((10, 91, 30, 91), abs=4)
    head[:3, :3] = 255
    assert head_box(head) == pytest.approx((10, 91, 30, 91), abs=4), "a mark is no head"
    assert head_box(np.full((20, 30), 7, np.uint8)) == (0, 20, 0, 30)


def test_reframing_changes_the_share_of_the_head(head):
    drawn = [
        augment(head, Augmentation(reframe=1.0), np.random.default_rng(seed)) for seed in range(30)
    ]
    shares = [(each > 0).mean() for each in drawn]
    assert min(shares) < (head > 0).mean() + 0.1 < 0.6 < max(shares)


def test_random_convolution_keeps_the_background_and_changes_the_order_of_tissues(head):
    recipe = Augmentation(random_convolution=1.0)
    drawn = [augment(head, recipe, np.random.default_rng(seed)) for seed in range(30)]
    assert all(each[0, 0] <= 1 for each in drawn)
    brighter = [each[40, 50] > each[70, 60] for each in drawn]
    assert any(brighter) and not all(brighter)


def test_a_histogram_comes_from_the_donor(head):
    donor = 255 - head
    changed = augment(
        head, Augmentation(histogram=1.0), np.random.default_rng(0), lambda rng: donor
    )
    # Three levels each: black is now the donor's darkest, and so on.
    assert set(np.unique(changed)) <= set(np.unique(donor))


def test_a_spectrum_comes_from_the_donor_but_shapes_stay(head):
    donor = np.random.default_rng(0).integers(0, 256, head.shape, np.uint8)
    changed = augment(head, Augmentation(spectrum=1.0), np.random.default_rng(0), lambda rng: donor)
    assert np.corrcoef(changed.reshape(-1), head.reshape(-1))[0, 1] > 0.5
    assert abs(changed.mean() - donor.mean()) < abs(head.mean() - donor.mean())


def test_without_a_donor_nothing_is_lent(head):
    recipe = Augmentation(spectrum=1.0, histogram=1.0)
    np.testing.assert_array_equal(augment(head, recipe, np.random.default_rng(0)), head)
