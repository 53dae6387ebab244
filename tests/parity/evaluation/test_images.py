"""Decoded images of a split: their targets."""

import numpy as np

from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Preprocessing

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)


def test_targets_follow_the_labels(small_data):
    split = load_split(small_data, "training")
    images = load_images(split, SPEC)
    renumbered = images.relabelled(LABELS, (LABELS[1], LABELS[0])).targets
    np.testing.assert_array_equal(renumbered, np.array([1, 0, -1, -1])[images.targets])
