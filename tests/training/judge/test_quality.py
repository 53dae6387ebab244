"""Thresholds of the input's quality, chosen on training slices."""

import json

import cv2
import numpy as np
import pytest

from neuroscan_edge.errors import DatasetError, SpecError
from neuroscan_edge.scans.quality import PixelMeasures, QualityThresholds
from training.judge.quality import QualityOptions, choose_quality, thresholds_of

MEASURES = [PixelMeasures(100 + index, 10 + index / 10, index / 2000) for index in range(1000)]


@pytest.mark.parametrize("coverage", [1.0, 0.999, 0.99, 0.9])
def test_no_more_training_slices_than_stated_are_found_fault_with(coverage):
    chosen = thresholds_of(MEASURES, QualityOptions(coverage, margin=1))
    allowed = round((1 - coverage) * len(MEASURES))
    for touched in (
        sum(each.side_px < chosen.least_side_px for each in MEASURES),
        sum(each.contrast < chosen.least_contrast for each in MEASURES),
        sum(each.saturated > chosen.most_saturated for each in MEASURES),
    ):
        assert allowed - 1 <= touched <= allowed


def test_the_margin_is_for_what_rejects():
    tight = thresholds_of(MEASURES, QualityOptions(0.99, 1))
    wide = thresholds_of(MEASURES, QualityOptions(0.99, 2))
    assert wide.least_side_px == tight.least_side_px // 2
    assert wide.least_contrast == pytest.approx(tight.least_contrast / 2, abs=0.01)
    assert wide.most_saturated == tight.most_saturated


@pytest.mark.parametrize("options", [{"coverage": 0.5}, {"coverage": 1.1}, {"margin": 0.9}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(SpecError):
        QualityOptions(**options)


def test_a_data_set_is_chosen_on_and_counted(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("Training", "Testing"):
        for label in ("one", "two"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            for index in range(5):
                coarse = rng.uniform(0, 200, (8, 8)).astype(np.float32)
                pixels = cv2.resize(coarse, (120 + index, 120)).astype(np.uint8)
                cv2.imwrite(str(folder / f"{index}.png"), pixels)
    cv2.imwrite(str(tmp_path / "Testing/one/blank.png"), np.zeros((120, 120), np.uint8))
    (tmp_path / "Training/one/broken.png").write_bytes(b"no image")
    chosen = choose_quality(tmp_path, QualityOptions(1.0))
    assert chosen.thresholds.least_side_px == 60
    written = json.loads(json.dumps(chosen.to_json()))
    assert QualityThresholds.from_json(written["quality"]) == chosen.thresholds
    assert written["quality_chosen"]["slices"] == {"training": 10, "testing": 11}
    assert written["quality_chosen"]["touched"] == {"training": {}, "testing": {"blank": 1}}


def test_nothing_readable_is_an_error(tmp_path):
    for label in ("one", "two"):
        (tmp_path / "Training" / label).mkdir(parents=True)
        (tmp_path / "Training" / label / "a.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="no training slice"):
        choose_quality(tmp_path)
