"""Calibration of the probabilities: how often a decision held with confidence p is right.

Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, ICML 2017 (section 2):
decisions are grouped by the probability of the predicted class into bins of equal width, and the
expected calibration error is the mean of abs(accuracy - confidence) over bins, weighted by images.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 15


def confidence_gaps(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], bins: int = BINS
) -> npt.NDArray[np.float64]:
    """Each image's correctness minus its confidence, in the column of its bin, else 0.

    targets : (N,) int64; probabilities : (N, C) float32. Returns (N, bins) float64. The sum of a
    column is its bin's share of the error, times N; so too for a resample's weighted sum.
    """
    confidence, correct = _decided(targets, probabilities)
    gaps = np.zeros((len(targets), bins))
    gaps[np.arange(len(targets)), _bin(confidence, bins)] = correct - confidence
    return gaps


def expected_calibration_error(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], bins: int = BINS
) -> float:
    """Return the expected calibration error, 0 to 1.

    targets : (N,) int64; probabilities : (N, C) float32.
    """
    gaps = confidence_gaps(targets, probabilities, bins)
    return float(np.abs(gaps.sum(axis=0)).sum() / len(targets))


def reliability_bins(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32], bins: int = BINS
) -> list[dict[str, Any]]:
    """Return what a reliability diagram shows: for each bin (above, up_to] its images and means.

    targets : (N,) int64; probabilities : (N, C) float32. ``confidence`` and ``accuracy`` of an
    empty bin are None.
    """
    confidence, correct = _decided(targets, probabilities)
    places = _bin(confidence, bins)
    shown = []
    for index in range(bins):
        inside = places == index
        shown.append(
            {
                "above": index / bins,
                "up_to": (index + 1) / bins,
                "images": int(inside.sum()),
                "confidence": float(confidence[inside].mean()) if inside.any() else None,
                "accuracy": float(correct[inside].mean()) if inside.any() else None,
            }
        )
    return shown


def _decided(
    targets: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    confidence = probabilities.max(axis=1).astype(np.float64)
    return confidence, (probabilities.argmax(axis=1) == targets).astype(np.float64)


def _bin(confidence: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.intp]:
    # Closed on the right, as in the paper: a confidence of 1 is in the last bin.
    return np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
