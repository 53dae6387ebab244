"""Training batches whose content depends only on the seed, the epoch and the step."""

from collections.abc import Callable
from typing import Any

import cv2
import keras
import numpy as np
import numpy.typing as npt

from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from training.fit.augment import augment
from training.recipe.recipe import Recipe, Stage

Draw = Callable[[int, np.random.Generator], npt.NDArray[Any]]
"""One training input, by its position; whatever is random in it comes from the generator."""


class TrainingBatches(keras.utils.PyDataset):
    """The steps of one epoch, optionally from the middle of it.

    A resumed run draws the very batches it would have drawn: each step has its own generator.

    Parameters
    ----------
    draw : callable
        Makes one input from its position: uint8 pixels (H, W, 1), or float32 features (F,).
    targets : (N,) int64
        Label indices.
    classes : int
        Number of classes.
    recipe : Recipe
        Seed, batch size, label smoothing, mixup and class weights.
    epoch : int
        Zero-based, over all stages.
    first_step : int
        Steps of this epoch that are already done.
    order : (D,) intp, optional
        Positions to draw in this epoch; default: every position once, shuffled.
    """

    def __init__(
        self,
        draw: Draw,
        targets: npt.NDArray[np.int64],
        classes: int,
        recipe: Recipe,
        epoch: int,
        first_step: int = 0,
        order: npt.NDArray[np.intp] | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=4)
        self._draw = draw
        self._targets = np.eye(classes, dtype=np.float32)[targets]
        self._recipe = recipe
        self._epoch = epoch
        self._first_step = first_step
        if order is None:
            order = np.random.default_rng([recipe.seed, epoch]).permutation(len(targets))
        self._order = order
        counts = np.bincount(targets, minlength=classes)
        balanced = len(targets) / (classes * np.maximum(counts, 1))
        self._weights = (balanced if recipe.fit.class_weights else np.ones(classes))[targets]

    def __len__(self) -> int:
        """Count the steps that are left in the epoch."""
        return steps_per_epoch(len(self._order), self._recipe) - self._first_step

    def __getitem__(
        self, index: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return one step: inputs (B, ...), soft labels (B, C), weights (B,)."""
        step = self._first_step + index
        fit = self._recipe.fit
        chosen = self._order[step * fit.batch_size : (step + 1) * fit.batch_size]
        rng = np.random.default_rng([self._recipe.seed, self._epoch, step])
        inputs = np.stack([self._draw(position, rng) for position in chosen])
        targets = self._targets[chosen]
        weights = self._weights[chosen].astype(np.float32)
        if fit.mixup_alpha:
            share = np.float32(rng.beta(fit.mixup_alpha, fit.mixup_alpha))
            partner = rng.permutation(len(chosen))
            blended = share * inputs + (1 - share) * inputs[partner]
            whole = np.issubdtype(inputs.dtype, np.integer)
            inputs = (np.rint(blended) if whole else blended).astype(inputs.dtype)
            # The two cross-entropies are mixed, each with its class's weight.
            first, second = share * weights, (1 - share) * weights[partner]
            weights = first + second
            blend = first[:, None] * targets + second[:, None] * targets[partner]
            targets = blend / weights[:, None]
        smoothed = targets * (1 - fit.label_smoothing) + fit.label_smoothing / targets.shape[1]
        return inputs, smoothed, weights


class AugmentedSlices:
    """Draws slices as a stage wants them: augmented, preprocessed, at the stage's size.

    Parameters
    ----------
    resized : (N, H, W) uint8
        Slices before CLAHE.
    targets : (N,) int64
        Label indices.
    recipe : Recipe
        Preprocessing and augmentation.
    stage : Stage
        Augmentation and image size.
    """

    def __init__(
        self,
        resized: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.int64],
        recipe: Recipe,
        stage: Stage,
    ) -> None:
        self._resized = resized
        self._targets = targets
        self._of_class = [np.flatnonzero(targets == label) for label in np.unique(targets)]
        self._stage = stage
        self._augmentation = recipe.augmentation_in(stage)
        self._preprocessor = CpuPreprocessor(recipe.preprocessing)

    def __call__(self, position: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return one slice, uint8 (H, W, 1)."""

        def donor(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
            return self._resized[self._lender(self._targets[position], rng)]

        changed = augment(self._resized[position], self._augmentation, rng, donor)
        return at_stage_size(self._preprocessor.equalise(changed), self._stage)[..., None]

    def _lender(self, target: np.int64, rng: np.random.Generator) -> int:
        other_class = self._augmentation.other_class
        # No draw where it is not wanted: recipes without it draw what they drew.
        if not other_class or rng.random() >= other_class or len(self._of_class) < 2:
            return int(rng.integers(len(self._resized)))
        others = [of for of in self._of_class if self._targets[of[0]] != target]
        members = others[rng.integers(len(others))]
        return int(members[rng.integers(len(members))])


def steps_per_epoch(images: int, recipe: Recipe) -> int:
    """Whole batches in an epoch; the remainder is left out (another one each epoch)."""
    return max(images // recipe.fit.batch_size, 1)


def at_stage_size(pixels: npt.NDArray[np.uint8], stage: Stage) -> npt.NDArray[np.uint8]:
    """Reduce a preprocessed slice to the stage's training size; (H, W) uint8."""
    if stage.image_size is None:
        return pixels
    size = (stage.image_size, stage.image_size)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
