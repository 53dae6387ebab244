"""Bootstrap intervals: how far a figure would move with other test images of the same kind.

Images are drawn with replacement **within each class**, so no class vanishes from a macro average,
and **near-duplicates together**: copies of one slice are one observation, and drawing them apart
would make intervals too narrow. One matrix of draws serves every figure of every model: all figures
are weighted sums over the images, and differences between models are paired.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import SpecError
from neuroscan_edge.parity.evaluation.calibration_error import confidence_gaps

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made.

    Parameters
    ----------
    resamples : int
        Draws of the whole test set.
    level : float
        Share of the resampled figures that an interval holds (percentile method).
    seed : int
        Of the draws.
    """

    resamples: int = 2000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise SpecError(f"resamples is {self.resamples}; it must be at least 1")
        if not 0 < self.level < 1:
            raise SpecError(f"level is {self.level}; it must be between 0 and 1")


@dataclass(frozen=True, slots=True)
class Resampled:
    """A model's figures in each of R resamples; NaN where a figure is not defined.

    Parameters
    ----------
    accuracy, precision, recall, f1, auroc, expected_calibration_error : (R,) float64
        As `neuroscan_edge.parity.evaluation.metrics.classification_metrics` defines them, macro
        averages included.
    class_recall, class_f1, class_auroc : (R, C) float64
        By class.
    """

    accuracy: FloatArray
    precision: FloatArray
    recall: FloatArray
    f1: FloatArray
    auroc: FloatArray
    expected_calibration_error: FloatArray
    class_recall: FloatArray
    class_f1: FloatArray
    class_auroc: FloatArray


def stratified_draws(
    targets: npt.NDArray[np.int64], groups: npt.NDArray[np.int32], options: Bootstrap
) -> FloatArray:
    """Count how often each resample draws each image.

    Parameters
    ----------
    targets : (N,) int64
        True label indices: the strata. Each is drawn from as often as it has groups.
    groups : (N,) int32
        Which images are near-duplicates, from
        `neuroscan_edge.parity.evaluation.duplicates.duplicate_groups`.
    options : Bootstrap
        How many draws, and their seed.

    Returns
    -------
    (R, N) float64
    """
    rng = np.random.default_rng(options.seed)
    draws = np.zeros((options.resamples, len(targets)))
    for label in np.unique(targets):
        members = np.flatnonzero(targets == label)
        found, group_of_member = np.unique(groups[members], return_inverse=True)
        evenly = np.full(len(found), 1 / len(found))
        times = rng.multinomial(len(found), evenly, size=options.resamples)
        draws[:, members] = times[:, group_of_member]
    return draws


def resample(
    draws: FloatArray, targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> Resampled:
    """Compute every figure in every resample.

    Parameters
    ----------
    draws : (R, N) float64
        From `stratified_draws`; a row of ones gives the figures themselves.
    targets : (N,) int64
        True label indices.
    probabilities : (N, C) float32
        Predicted probabilities.
    """
    classes = probabilities.shape[1]
    images = draws.sum(axis=1)
    decided = np.eye(classes**2)[targets * classes + probabilities.argmax(axis=1)]
    confusion = (draws @ decided).reshape(-1, classes, classes)
    right = np.diagonal(confusion, axis1=1, axis2=2)
    true, called = confusion.sum(axis=2), confusion.sum(axis=1)
    present = np.bincount(targets, minlength=classes) > 0
    # A class that is never called has precision 0, as in the point metrics.
    precision = right / np.maximum(called, 1)
    with np.errstate(invalid="ignore"):
        recall = right / true
    f1 = np.where(present, 2 * right / np.maximum(true + called, 1), np.nan)
    auroc = _auroc(draws, targets, probabilities)
    defined = ~np.isnan(auroc[0])
    return Resampled(
        accuracy=right.sum(axis=1) / images,
        precision=precision[:, present].mean(axis=1),
        recall=recall[:, present].mean(axis=1),
        f1=f1[:, present].mean(axis=1),
        auroc=auroc[:, defined].mean(axis=1) if defined.any() else np.full(len(draws), np.nan),
        expected_calibration_error=(
            np.abs(draws @ confidence_gaps(targets, probabilities)).sum(axis=1) / images
        ),
        class_recall=recall,
        class_f1=f1,
        class_auroc=auroc,
    )


def percentile_interval(values: FloatArray, level: float) -> tuple[float, float] | None:
    """Return the central `level` of resampled values, (R,) float64; None if not defined."""
    if np.isnan(values).any():
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _auroc(
    draws: FloatArray, targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> FloatArray:
    """One-vs-rest areas, (R, C): the share of (positive, negative) pairs in the right order."""
    areas = np.full((len(draws), probabilities.shape[1]), np.nan)
    for index in range(probabilities.shape[1]):
        positive = targets == index
        if not positive.any() or positive.all():
            continue
        of_class = probabilities[positive, index][:, None]
        of_others = probabilities[~positive, index][None, :]
        ordered = (of_class > of_others) + 0.5 * (of_class == of_others)
        won = (draws[:, positive] @ ordered) * draws[:, ~positive]
        pairs = draws[:, positive].sum(axis=1) * draws[:, ~positive].sum(axis=1)
        areas[:, index] = won.sum(axis=1) / pairs
    return areas
