"""What one stage trains, on which inputs.

A stage that trains only the head on slices that never change need not pass them through the
backbone in every epoch: its features are computed once, and the head is trained on those. The
result is the same, frozen batch normalisation included, and an epoch takes a second.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from training.fit.batches import AugmentedSlices, Draw, at_stage_size
from training.fit.model import head_of
from training.recipe.recipe import Augmentation, Recipe, Stage

FEATURE_BATCH = 32
"""Slices passed through a frozen backbone at a time, whatever the recipe's batch size."""


@dataclass(frozen=True, slots=True)
class StageTask:
    """A compiled model and the inputs it is trained and validated on.

    Parameters
    ----------
    model : keras.Model
        The whole classifier.
    trained : keras.Model
        What is compiled and fitted: the classifier, or its head, which shares its layers.
    draw : callable
        Makes one training input.
    validation : (M, ...) array
        All validation inputs.
    """

    model: keras.Model
    trained: keras.Model
    draw: Draw
    validation: npt.NDArray[Any]


def is_head_only(recipe: Recipe, stage: Stage) -> bool:
    """Tell whether a stage can be trained on features computed once."""
    return stage.trainable == "head" and recipe.augmentation_in(stage) == Augmentation()


def stage_task(
    model: keras.Model,
    recipe: Recipe,
    stage: Stage,
    resized: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.int64],
    validation: npt.NDArray[np.uint8],
) -> StageTask:
    """Prepare the inputs of a stage.

    Parameters
    ----------
    model : keras.Model
        The classifier, its trainable layers set; still to be compiled.
    recipe, stage : Recipe, Stage
        What to train.
    resized : (N, H, W) uint8
        Training slices before CLAHE.
    targets : (N,) int64
        Their label indices.
    validation : (M, H, W) uint8
        Validation slices, preprocessed.
    """
    held_out = np.stack([at_stage_size(each, stage) for each in validation])[..., None]
    if not is_head_only(recipe, stage):
        return StageTask(model, model, AugmentedSlices(resized, targets, recipe, stage), held_out)
    backbone, head = head_of(model)
    preprocessor = CpuPreprocessor(recipe.preprocessing)
    slices = np.stack([at_stage_size(preprocessor.equalise(each), stage) for each in resized])
    features = backbone.predict(slices[..., None], batch_size=FEATURE_BATCH, verbose=0)
    features = features.astype(np.float32)
    held_out_features = backbone.predict(held_out, batch_size=FEATURE_BATCH, verbose=0)
    return StageTask(
        model, head, lambda position, rng: features[position], held_out_features.astype(np.float32)
    )
