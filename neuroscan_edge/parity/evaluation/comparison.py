"""Models side by side on the same images: differences, flips, McNemar's test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap, Resampled, percentile_interval
from neuroscan_edge.parity.evaluation.metrics import SMALLEST_PROBABILITY
from neuroscan_edge.system.optional import require


@dataclass(frozen=True, slots=True)
class Measured:
    """What one model did on a set of images.

    Parameters
    ----------
    metrics : mapping
        From `neuroscan_edge.parity.evaluation.metrics.classification_metrics`.
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


def compare_with_baseline(
    targets: npt.NDArray[np.int64],
    measured: Measured,
    baseline: Measured,
    labels: Sequence[str],
    negative_label: str,
    bootstrap: Bootstrap,
    draws: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """Compare an engine with the baseline it was made from, for the gate and for the page.

    Parameters
    ----------
    targets : (N,) int64
        True label indices.
    measured, baseline : Measured
        From the same `draws`.
    labels : sequence of str
        Class names.
    negative_label : str
        The class that says there is no tumour.
    bootstrap : Bootstrap
        Its level.
    draws : (R, N) float64
        From `stratified_draws`.

    Returns
    -------
    dict
        What `against_reference` gives, with ``agreement`` and each difference as a value and its
        paired interval; ``f1_ratio``, ``worst_recall_drop`` (a share, never below 0),
        ``newly_missed_tumours`` (their number and share of tumour slices), ``flips`` by kind,
        ``mean_probability_difference`` and the mean and largest ``kl_divergence`` of the engine
        from the baseline, in nats.
    """
    level = bootstrap.level
    ours, theirs = measured.metrics, baseline.metrics
    decisions, before = measured.probabilities.argmax(axis=1), baseline.probabilities.argmax(axis=1)
    alike = (decisions == before).astype(np.float64)
    drawn = draws @ alike / draws.sum(axis=1)
    recalls = {
        label: {
            "value": ours["per_class"][label]["recall"] - theirs["per_class"][label]["recall"],
            "interval": percentile_interval(
                measured.resampled.class_recall[:, index]
                - baseline.resampled.class_recall[:, index],
                level,
            ),
        }
        for index, label in enumerate(labels)
        if theirs["per_class"][label]["images"]
    }
    divergence = kl_divergence(baseline.probabilities, measured.probabilities)
    return {
        **against_reference(targets, measured, baseline, level),
        "agreement": {"value": float(alike.mean()), "interval": percentile_interval(drawn, level)},
        "f1_ratio": ours["f1"] / theirs["f1"] if theirs["f1"] else None,
        **{
            f"{key}_difference": _difference(measured, baseline, key, level)
            for key in ("precision", "recall", "auroc", "expected_calibration_error")
        },
        "recall_differences": recalls,
        "worst_recall_drop": max(0.0, *(-each["value"] for each in recalls.values())),
        "newly_missed_tumours": newly_missed(targets, decisions, before, labels, negative_label),
        "changed": int((decisions != before).sum()),
        "flips": flips(decisions, before, labels),
        "mean_probability_difference": float(
            np.abs(measured.probabilities - baseline.probabilities).mean()
        ),
        "kl_divergence": {"mean": float(divergence.mean()), "largest": float(divergence.max())},
    }


def newly_missed(
    targets: npt.NDArray[np.int64],
    decisions: npt.NDArray[np.intp],
    before: npt.NDArray[np.intp],
    labels: Sequence[str],
    negative_label: str,
) -> dict[str, Any]:
    """Count tumour slices that are called no tumour now and were not before.

    Those that are found again do not offset them. ``share`` is of all tumour slices: 0 where there
    are none, None where no class says so.
    """
    if negative_label not in labels:
        return {"count": 0, "tumour_slices": 0, "share": None}
    negative = list(labels).index(negative_label)
    tumours = targets != negative
    missed = int((tumours & (decisions == negative) & (before != negative)).sum())
    of_all = int(tumours.sum())
    return {"count": missed, "tumour_slices": of_all, "share": missed / of_all if of_all else 0.0}


def flips(
    decisions: npt.NDArray[np.intp], before: npt.NDArray[np.intp], labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Count changed decisions by kind, most frequent first."""
    changed = np.flatnonzero(decisions != before)
    kinds = Counter((int(before[index]), int(decisions[index])) for index in changed)
    return [
        {"from": labels[old], "to": labels[new], "count": count}
        for (old, new), count in sorted(kinds.items(), key=lambda each: (-each[1], each[0]))
    ]


def kl_divergence(
    reference: npt.NDArray[np.float32], found: npt.NDArray[np.float32]
) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence of each row of `found` from `reference`, (N,) in nats.

    Both (N, C). A probability below `SMALLEST_PROBABILITY` counts as that.
    """
    special = require("scipy.special", extra="parity", why="for the divergence of probabilities")
    p, q = (
        np.clip(each.astype(np.float64), SMALLEST_PROBABILITY, 1) for each in (reference, found)
    )
    divergence: npt.NDArray[np.float64] = special.rel_entr(p, q).sum(axis=1)
    # The clipped rows do not quite sum to 1.
    return np.maximum(divergence, 0)


def _difference(
    measured: Measured, baseline: Measured, key: str, level: float
) -> dict[str, Any] | None:
    ours, theirs = measured.metrics[key], baseline.metrics[key]
    if ours is None or theirs is None:
        return None
    drawn = getattr(measured.resampled, key) - getattr(baseline.resampled, key)
    return {"value": ours - theirs, "interval": percentile_interval(drawn, level)}
