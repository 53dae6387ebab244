"""The rehearsal: phantoms and a baseline that export takes."""

from itertools import pairwise

import cv2
import numpy as np

from neuroscan_edge.model.baseline import read_baseline
from neuroscan_edge.model.export import load_keras
from neuroscan_edge.scans.dataset import load_splits
from training.rehearsal import LABELS, RehearsalOptions, draw_phantoms, rehearse


def test_phantoms_repeat_by_seed_and_differ_by_class(tmp_path):
    few = RehearsalOptions(training=2, testing=1)
    for name in ("first", "second"):
        draw_phantoms(tmp_path / name, few)
    draw_phantoms(tmp_path / "other", RehearsalOptions(training=2, testing=1, seed=1))
    splits = [load_splits(tmp_path / name) for name in ("first", "second", "other")]
    assert splits[0]["training"].counts == dict.fromkeys(LABELS, 2)
    assert splits[0]["testing"].counts == dict.fromkeys(LABELS, 1)
    prints = [split["training"].fingerprint for split in splits]
    assert prints[0] == prints[1] != prints[2]
    pixels = [
        cv2.imread(str(tmp_path / "first" / "Testing" / label / "0000.png"), cv2.IMREAD_GRAYSCALE)
        for label in LABELS
    ]
    assert all(not np.array_equal(one, other) for one, other in pairwise(pixels))


def test_a_rehearsal_leaves_a_baseline_that_export_takes(tmp_path):
    baseline = rehearse(tmp_path, RehearsalOptions(training=3, testing=2, epochs=1))
    read = read_baseline(tmp_path / "rehearsal.keras")
    assert read.labels == LABELS and read.sha256 == baseline.sha256
    assert 0 <= read.metrics["phantoms"]["accuracy"] <= 1
    load_keras(read)
