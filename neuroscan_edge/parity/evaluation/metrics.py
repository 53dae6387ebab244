"""Classification metrics, by scikit-learn's definitions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.parity.evaluation.calibration_error import expected_calibration_error
from neuroscan_edge.system.optional import require

SMALLEST_PROBABILITY = 1e-7
"""A smaller one counts as this, as in Keras: a single zero would make the mean infinite."""


def classification_metrics(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], labels: Sequence[str]
) -> dict[str, Any]:
    """Compare decisions and probabilities with labels.

    Parameters
    ----------
    targets : (N,) int64
        True label indices.
    probabilities : (N, C) float32
        Predicted probabilities.
    labels : sequence of str
        Class names, C of them.

    Returns
    -------
    dict
        ``images``, ``accuracy``, macro ``precision``, ``recall`` and ``f1`` over the classes that
        occur in `targets`, the same three ``weighted`` by the classes' images, macro ``auroc``,
        ``negative_log_likelihood``, ``expected_calibration_error``, ``per_class`` figures, and
        ``confusion`` (rows are the truth). What is not defined is None: recall, F1 and AUROC of a
        class that does not occur, AUROC of one that nothing else occurs beside.
    """
    sklearn = require("sklearn.metrics", extra="parity", why="to measure decisions")
    decisions = probabilities.argmax(axis=1)
    indices = np.arange(len(labels))
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        targets, decisions, labels=indices, zero_division=0.0
    )
    present = support > 0
    auroc = one_vs_rest_auroc(targets, probabilities)
    defined = [value for value in auroc if value is not None]
    return {
        "images": len(targets),
        "accuracy": float(sklearn.accuracy_score(targets, decisions)),
        "precision": float(precision[present].mean()),
        "recall": float(recall[present].mean()),
        "f1": float(f1[present].mean()),
        "weighted": {
            "precision": float(np.average(precision, weights=support)),
            "recall": float(np.average(recall, weights=support)),
            "f1": float(np.average(f1, weights=support)),
        },
        "auroc": float(np.mean(defined)) if defined else None,
        "negative_log_likelihood": negative_log_likelihood(targets, probabilities),
        "expected_calibration_error": expected_calibration_error(targets, probabilities),
        "per_class": {
            name: {
                "images": int(support[index]),
                "precision": float(precision[index]),
                "recall": float(recall[index]) if support[index] else None,
                "f1": float(f1[index]) if support[index] else None,
                "auroc": auroc[index],
            }
            for index, name in enumerate(labels)
        },
        "confusion": sklearn.confusion_matrix(targets, decisions, labels=indices).tolist(),
    }


def one_vs_rest_auroc(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> list[float | None]:
    """Area under each class's ROC curve against all others; None without positives or negatives.

    targets : (N,) int64; probabilities : (N, C) float32. Returns C values.
    """
    sklearn = require("sklearn.metrics", extra="parity", why="to measure decisions")
    areas: list[float | None] = []
    for index in range(probabilities.shape[1]):
        positive = targets == index
        both = positive.any() and not positive.all()
        area = sklearn.roc_auc_score(positive, probabilities[:, index]) if both else None
        areas.append(None if area is None else float(area))
    return areas


def negative_log_likelihood(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> float:
    """Mean of -ln(probability of the true class), in nats.

    targets : (N,) int64; probabilities : (N, C) float32.
    """
    chosen = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.clip(chosen, SMALLEST_PROBABILITY, 1)).mean())
