"""Judging a slice by its pixels."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from neuroscan_edge.errors import CorruptScanError, SpecError
from neuroscan_edge.scans import Provenance, Scan, SourceFacts
from neuroscan_edge.scans.quality import QualityThresholds, examine, measure
from neuroscan_edge.spec import Finding

THRESHOLDS = QualityThresholds(least_side_px=100, least_contrast=8.29, most_saturated=0.1873)


def head(side=256, brightness=110):
    """A textured disc on black."""
    rng = np.random.default_rng(3)
    pixels = np.zeros((side, side), np.float32)
    cv2.circle(pixels, (side // 2, side // 2), int(side * 0.4), brightness, -1)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (side, side)).astype(np.float32), (0, 0), 3)
    return np.clip(np.where(pixels > 0, pixels + 3 * texture, 0), 0, 255).astype(np.uint8)


def noise(shape):
    """An image of air alone, as magnitudes are distributed, stretched over the grey levels."""
    rng = np.random.default_rng(4)
    values = np.hypot(rng.normal(0, 1, shape), rng.normal(0, 1, shape))
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def found(pixels, thresholds=THRESHOLDS, **facts):
    return examine(Scan(pixels, Provenance("a.png"), SourceFacts(**facts)), thresholds)


@pytest.mark.parametrize("side", [100, 128, 129, 256, 512, 1375])
def test_a_head_of_any_size_is_taken(side):
    assert found(head(side)) == ()


@pytest.mark.parametrize("shape", [(99, 512), (512, 99), (1, 1), (1, 5000)])
def test_the_shorter_side_decides(shape):
    assert Finding.TOO_SMALL in found(np.full(shape, 90, np.uint8))
    assert Finding.TOO_SMALL not in found(np.full((100, 512), 90, np.uint8))


def mark(pixels, value):
    pixels[40:43, 10:60] = value
    return pixels


BLANK = {
    "black": np.zeros((256, 256), np.uint8),
    "white": np.full((256, 256), 255, np.uint8),
    "grey": np.full((300, 512), 77, np.uint8),
    "a line of text on black": mark(np.zeros((256, 256), np.uint8), 255),
    "faint": (head() // 16).astype(np.uint8),
    "air alone": noise((256, 256)),
    "much air alone": noise((640, 512)),
    "a few hot pixels": np.where(noise((256, 256)) > 250, 255, 0).astype(np.uint8),
}


@pytest.mark.parametrize("pixels", BLANK.values(), ids=BLANK.keys())
def test_blank(pixels):
    assert Finding.BLANK in found(pixels)


def test_saturation_is_that_of_the_tissue():
    measures = measure(head())
    assert measures.saturated < 0.05
    bright = np.clip(head().astype(int) * 3, 0, 255).astype(np.uint8)
    tissue = bright[::2, ::2][bright[::2, ::2] > 20]
    assert measure(bright).saturated == pytest.approx(np.mean(tissue >= 250))
    assert found(bright) == (Finding.CLIPPED,)
    assert not Finding.CLIPPED.rejects
    padded = np.pad(bright, 256)
    assert measure(padded).saturated == pytest.approx(measure(bright).saturated, abs=0.03)


def test_black_background_is_no_clipping():
    pixels = np.pad(head(128), 64)
    assert np.mean(pixels == 0) > 0.8
    assert found(pixels) == ()


def test_thresholds_are_inclusive():
    measures = measure(head())
    exact = QualityThresholds(measures.side_px, measures.contrast, measures.saturated)
    assert found(head(), exact) == ()
    assert found(head(), replace(exact, least_side_px=257)) == (Finding.TOO_SMALL,)
    assert found(head(), replace(exact, least_contrast=measures.contrast + 0.01)) == (
        Finding.BLANK,
    )


def test_what_rejects_comes_first():
    facts = {"burned_in_annotation": True, "body_part": "KNEE"}
    assert found(np.zeros((50, 50), np.uint8), **facts) == (
        Finding.NOT_HEAD,
        Finding.TOO_SMALL,
        Finding.BLANK,
        Finding.BURNED_IN_ANNOTATION,
    )


def test_pixels_are_left_as_they_are():
    pixels = head()
    before = pixels.copy()
    pixels.setflags(write=False)
    assert found(pixels) == found(np.asfortranarray(pixels)) == ()
    assert np.array_equal(pixels, before)


def test_a_slice_without_pixels_is_damaged():
    with pytest.raises(CorruptScanError):
        found(np.zeros((0, 5), np.uint8))


def test_thresholds_survive_json():
    assert QualityThresholds.from_json(json.loads(json.dumps(THRESHOLDS.to_json()))) == THRESHOLDS


@pytest.mark.parametrize(
    "fields",
    [
        {"least_side_px": 0},
        {"least_side_px": 10.5},
        {"least_side_px": True},
        {"least_contrast": -1},
        {"least_contrast": float("nan")},
        {"most_saturated": 1.5},
        {"most_saturated": "0.2"},
    ],
    ids=str,
)
def test_thresholds_out_of_range_are_refused(fields):
    with pytest.raises(SpecError):
        QualityThresholds(**fields)
    with pytest.raises(SpecError):
        QualityThresholds.from_json({**THRESHOLDS.to_json(), **fields})


@pytest.mark.parametrize("fields", [{}, {"least_side_px": 3}, [], None], ids=str)
def test_malformed_thresholds_are_refused(fields):
    with pytest.raises(SpecError):
        QualityThresholds.from_json(fields)
