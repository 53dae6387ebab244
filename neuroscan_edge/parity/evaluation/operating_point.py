"""An operating point for screening: from which probability of any tumour on a slice is suspicious.

The threshold is the highest that finds at least the wanted share of the tumour slices of a labelled
set. Told on the very images that it was chosen on, its sensitivity and specificity are optimistic,
so both are told of images held out as well: near-duplicates stay on one side.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CertificateError, SpecError, UsageError
from neuroscan_edge.model.labels import NO_TUMOUR
from neuroscan_edge.parity.evaluation.proportions import Share

FEWEST_IMAGES = 50
"""Of slices with a tumour, and of slices without: with fewer nothing is said."""

FOLDS = 10
"""Into which the images are dealt, near-duplicates together: of each kind there must be as many."""

_KEY = "screening"

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Scores:
    """Labelled slices and what an engine says of them.

    Parameters
    ----------
    risks : (N,) float64
        Probabilities of any tumour, 0 to 1.
    truth : (N,) int64
        True classes, as indices into `labels`.
    groups : (N,) int64
        Slices of one number are near-duplicates.
    labels : tuple of str
        The model's classes, `no_tumor` among them.
    part : str
        Which part of the data set: ``whole`` or ``leak-free``.
    """

    risks: _Floats
    truth: _Integers
    groups: _Integers
    labels: tuple[str, ...]
    part: str

    @property
    def tumour(self) -> npt.NDArray[np.bool_]:
        """Which slices show a tumour, (N,) bool."""
        return np.asarray(self.truth != self.labels.index(NO_TUMOUR))

    def to_json(self) -> dict[str, Any]:
        """Return the scores as a certificate holds them."""
        return {
            "tumour_probability": self.risks.tolist(),
            "truth": self.truth.tolist(),
            "near_duplicates": self.groups.tolist(),
        }


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold and what it does.

    Parameters
    ----------
    wanted : float
        The sensitivity asked for.
    threshold : float
        A slice is suspicious from this probability of any tumour on.
    sensitivity, specificity : Share
        Of the images it was chosen on: optimistic.
    held_out_sensitivity, held_out_specificity : Share
        Of each image by a threshold that was chosen without it and its near-duplicates.
    by_class : mapping of str to Share
        Sensitivity for each tumour, on the images it was chosen on.
    part : str
        Which part of the data set.
    """

    wanted: float
    threshold: float
    sensitivity: Share
    specificity: Share
    held_out_sensitivity: Share
    held_out_specificity: Share
    by_class: Mapping[str, Share]
    part: str

    def to_json(self) -> dict[str, Any]:
        """Return the point ready for JSON."""
        return {
            "wanted_sensitivity": self.wanted,
            "threshold": self.threshold,
            "images": {"tumour": self.sensitivity.of, "no_tumor": self.specificity.of},
            "part": self.part,
            "same_images": {
                "sensitivity": self.sensitivity.to_json(),
                "specificity": self.specificity.to_json(),
            },
            "held_out": {
                "folds": FOLDS,
                "sensitivity": self.held_out_sensitivity.to_json(),
                "specificity": self.held_out_specificity.to_json(),
            },
            "sensitivity_by_class": {key: each.to_json() for key, each in self.by_class.items()},
        }


def has_scores(document: Mapping[str, Any]) -> bool:
    """Whether a certificate's document holds scores; the earliest do not."""
    return document.get(_KEY) is not None


def scores_of(document: Mapping[str, Any]) -> Scores:
    """Take the scores out of a certificate's document.

    Raises
    ------
    CertificateError
        If it holds none, as those issued before scores were kept, or they are malformed.
    """
    again = 'certify again with "neuroscan-edge parity"'
    held = document.get(_KEY)
    if held is None:
        raise CertificateError(
            "the certificate holds no probabilities of its images, which an operating point is "
            f"chosen on; {again}"
        )
    try:
        labels = tuple(map(str, document["subject"]["labels"]))
        scores = Scores(
            np.asarray(held["tumour_probability"], np.float64),
            np.asarray(held["truth"], np.int64),
            np.asarray(held["near_duplicates"], np.int64),
            labels,
            str(document["data"]["part"]),
        )
        sizes = {each.shape for each in (scores.risks, scores.truth, scores.groups)}
        sound = (
            len(sizes) == 1
            and scores.risks.ndim == 1
            and bool(((scores.risks >= 0) & (scores.risks <= 1)).all())
            and bool(((scores.truth >= 0) & (scores.truth < len(labels))).all())
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CertificateError(
            f"the certificate's scores are malformed ({type(error).__name__}); {again}"
        ) from error
    if not sound:
        raise CertificateError(f"the certificate's scores are no probabilities; {again}")
    return scores


def operating_point(scores: Scores, sensitivity: float = 0.95) -> OperatingPoint:
    """Choose the highest threshold that keeps a sensitivity for any tumour.

    Raises
    ------
    SpecError
        If the sensitivity is not above 0 and at most 1.
    UsageError
        If there are too few images with or without a tumour, or no class for its absence.
    """
    if not 0 < sensitivity <= 1:
        raise SpecError(f"sensitivity is {sensitivity}; give more than 0 and at most 1")
    if NO_TUMOUR not in scores.labels:
        raise UsageError(
            f"the model has no class {NO_TUMOUR}, only {', '.join(scores.labels)}: there is no "
            "operating point for any tumour"
        )
    tumour = scores.tumour
    for wanted, count in (("with a tumour", tumour.sum()), ("without", (~tumour).sum())):
        if count < FEWEST_IMAGES:
            raise UsageError(
                f"the {scores.part} part has {count} images {wanted}; an operating point needs "
                f"{FEWEST_IMAGES}. Certify on more images, or use another certificate"
            )
    for wanted, members in (("with a tumour", tumour), ("without", ~tumour)):
        different = len(np.unique(scores.groups[members]))
        if different < FOLDS:
            raise UsageError(
                f"the images {wanted} are near-duplicates of {different}; an operating point needs "
                f"{FOLDS} that differ. Certify on other images, or use another certificate"
            )
    threshold = _threshold(scores.risks[tumour], sensitivity)
    suspicious = scores.risks >= threshold
    held_out = _held_out(scores, sensitivity)
    return OperatingPoint(
        wanted=sensitivity,
        threshold=threshold,
        sensitivity=_share(suspicious[tumour]),
        specificity=_share(~suspicious[~tumour]),
        held_out_sensitivity=_share(held_out[tumour]),
        held_out_specificity=_share(~held_out[~tumour]),
        by_class={
            label: _share(suspicious[scores.truth == index])
            for index, label in enumerate(scores.labels)
            if label != NO_TUMOUR and (scores.truth == index).any()
        },
        part=scores.part,
    )


def curve(scores: Scores) -> list[tuple[float, float]]:
    """Return (1 - specificity, sensitivity) at every threshold, from (0, 0) to (1, 1)."""
    tumour = scores.tumour
    points = [(0.0, 0.0)]
    for threshold in np.unique(scores.risks)[::-1]:
        suspicious = scores.risks >= threshold
        points.append((float(suspicious[~tumour].mean()), float(suspicious[tumour].mean())))
    return points


def _threshold(risks: _Floats, sensitivity: float) -> float:
    # The small allowance keeps 0.95 x 20 at 19.
    found = math.ceil(sensitivity * len(risks) - 1e-9)
    return float(np.sort(risks)[::-1][found - 1])


def _held_out(scores: Scores, sensitivity: float) -> npt.NDArray[np.bool_]:
    """Judge each slice by a threshold chosen on the other folds, (N,) bool."""
    folds = _folds(scores.truth, scores.groups)
    suspicious = np.zeros(len(scores.risks), bool)
    for fold in range(FOLDS):
        out = folds == fold
        threshold = _threshold(scores.risks[~out & scores.tumour], sensitivity)
        suspicious[out] = scores.risks[out] >= threshold
    return suspicious


def _folds(truth: _Integers, groups: _Integers) -> _Integers:
    """Deal near-duplicates together to folds, class by class; the same for the same images."""
    rng = np.random.default_rng(0)
    fold_of: dict[int, int] = {}
    for label in np.unique(truth):
        members = [int(group) for group in np.unique(groups[truth == label])]
        new = [group for group in members if group not in fold_of]
        start = len(fold_of)
        for place, index in enumerate(rng.permutation(len(new))):
            fold_of[new[int(index)]] = (start + place) % FOLDS
    return np.array([fold_of[int(group)] for group in groups], np.int64)


def _share(hits: Sequence[bool] | npt.NDArray[np.bool_]) -> Share:
    return Share(int(np.sum(hits)), len(hits))
