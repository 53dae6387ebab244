"""The validation split: stratified, disjoint, duplicates together, folds."""

import numpy as np

from neuroscan_edge.parity.evaluation.duplicates import (
    duplicate_groups,
)
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Preprocessing
from training.fit.run import validation_split
from training.recipe.recipe import DataRecipe

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)


def test_validation_is_stratified_disjoint_and_keeps_duplicates_together(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    training, validation = validation_split(images, DataRecipe(0.25, 4), seed=1)
    assert set(training).isdisjoint(validation)
    assert len(training) + len(validation) == len(images.files)
    counts = np.bincount(images.targets[validation], minlength=4)
    assert counts.min() >= 3 and counts.max() <= 7
    groups = duplicate_groups(images.hashes, 4)
    assert set(groups[training]).isdisjoint(groups[validation])
    again = validation_split(images, DataRecipe(0.25, 4), seed=1)
    np.testing.assert_array_equal(validation, again[1])


def test_every_image_is_held_out_in_one_fold(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    held_out = []
    for fold in range(4):
        recipe = DataRecipe(validation_fraction=0.25, fold=fold)
        training, validation = validation_split(images, recipe, seed=3)
        assert not set(training) & set(validation)
        held_out += validation.tolist()
    assert sorted(held_out) == list(range(len(images.targets)))
