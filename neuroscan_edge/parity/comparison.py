"""Models side by side on the same images: differences, flips, McNemar's test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge._optional import require
from neuroscan_edge.parity.intervals import Resampled, percentile_interval


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model did on a set of images.

    Parameters
    ----------
    metrics : mapping
        From `neuroscan_edge.parity.metrics.classification_metrics`.
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
    stats = require("scipy.stats", extra="parity", why="for McNemar's test")
    gained = int((right & ~reference_right).sum())
    lost = int((reference_right & ~right).sum())
    p_value = float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return {"only_this_right": gained, "only_reference_right": lost, "p_value": p_value}
