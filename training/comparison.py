"""Models side by side on the same images: differences, McNemar's test, the best for each class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from training.intervals import Resampled, percentile_interval


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model did on a set of images.

    Parameters
    ----------
    metrics : mapping
        From `training.metrics.classification_metrics`.
    probabilities : (N, C) float32
        Its outputs.
    resampled : Resampled
        From the same draws as the other models' figures, else differences are not paired.
    """

    metrics: Mapping[str, Any]
    probabilities: npt.NDArray[np.float32]
    resampled: Resampled


def against_reference(
    targets: npt.NDArray[np.int64], measured: Measured, reference: Measured, level: float
) -> dict[str, Any]:
    """Compare a model with the reference.

    Returns
    -------
    dict
        ``agreement`` (share of equal decisions), ``accuracy_ratio``,
        ``largest_probability_difference``, ``accuracy_difference`` and ``f1_difference`` (macro),
        each a value (this minus the reference) with its paired interval, and ``mcnemar``.
    """
    ours, theirs = measured.metrics, reference.metrics
    mine, others = measured.probabilities, reference.probabilities
    decisions, reference_decisions = mine.argmax(axis=1), others.argmax(axis=1)
    return {
        "agreement": float((decisions == reference_decisions).mean()),
        "accuracy_ratio": ours["accuracy"] / theirs["accuracy"] if theirs["accuracy"] else None,
        "largest_probability_difference": float(np.abs(mine - others).max()),
        **{
            f"{key}_difference": {
                "value": ours[key] - theirs[key],
                "interval": percentile_interval(
                    getattr(measured.resampled, key) - getattr(reference.resampled, key), level
                ),
            }
            for key in ("accuracy", "f1")
        },
        "mcnemar": mcnemar(decisions == targets, reference_decisions == targets),
    }


def mcnemar(
    right: npt.NDArray[np.bool_], reference_right: npt.NDArray[np.bool_]
) -> dict[str, int | float]:
    """Test exactly whether two models err equally often (McNemar 1947; binomial, two-sided).

    right, reference_right : (N,) bool. Returns ``only_this_right``, ``only_reference_right`` and
    ``p_value``: 1 where no image tells them apart.
    """
    gained = int((right & ~reference_right).sum())
    lost = int((reference_right & ~right).sum())
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return {"only_this_right": gained, "only_reference_right": lost, "p_value": p_value}


def best_by_class(
    models: Mapping[str, Measured], labels: Sequence[str], level: float
) -> dict[str, dict[str, Any]]:
    """Name the model with the best recall and the best F1 of each class that occurs.

    Returns
    -------
    dict
        By class, then ``recall`` and ``f1``: ``best``, its ``value``, the runner-up ``next``, the
        ``lead`` over it and the lead's paired ``interval``. A lead of 0 is a tie; the model given
        first is then named.
    """
    by_class: dict[str, dict[str, Any]] = {}
    for index, label in enumerate(labels):
        if not next(iter(models.values())).metrics["per_class"][label]["images"]:
            continue
        by_class[label] = {}
        for key in ("recall", "f1"):
            values = {name: each.metrics["per_class"][label][key] for name, each in models.items()}
            first, second = sorted(values, key=values.__getitem__, reverse=True)[:2]
            drawn = [
                getattr(models[name].resampled, f"class_{key}")[:, index]
                for name in (first, second)
            ]
            by_class[label][key] = {
                "best": first,
                "value": values[first],
                "next": second,
                "lead": values[first] - values[second],
                "interval": percentile_interval(drawn[0] - drawn[1], level),
            }
    return by_class
