"""Cross-validation fits every part once and sums up what the fits say."""

from dataclasses import replace

import numpy as np
import pytest

from training.evaluate.cross_validation import cross_validate
from training.fit.model import BackboneWeights
from training.fit.run import FitOptions
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation


@pytest.mark.slow
def test_each_part_is_held_out_once_and_finished_parts_are_kept(small_data, small_recipe, tmp_path):
    recipe = load_recipe(small_recipe)
    recipe = replace(
        recipe,
        stages=recipe.stages[:1],
        augmentation=Augmentation(),
        data=replace(recipe.data, validation_fraction=0.5),
    )
    options = FitOptions(small_data, tmp_path, BackboneWeights("none"))
    summary = cross_validate(recipe, options)
    folds = summary["folds"]
    assert len(folds) == 2
    assert sum(fold["images"] for fold in folds) == 4 * 18
    accuracies = [fold["accuracy"] for fold in folds]
    assert summary["mean"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["standard_deviation"]["accuracy"] == pytest.approx(np.std(accuracies, ddof=1))
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.keras")}
    assert len(made) == 2
    assert cross_validate(recipe, options) == summary
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.keras")} == made
