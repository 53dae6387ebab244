"""Metrics: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import classification_report, log_loss, roc_auc_score

from neuroscan_edge.parity.evaluation.calibration_error import (
    BINS,
    expected_calibration_error,
    reliability_bins,
)
from neuroscan_edge.parity.evaluation.metrics import (
    SMALLEST_PROBABILITY,
    classification_metrics,
    negative_log_likelihood,
    one_vs_rest_auroc,
)

LABELS = ("a", "b", "c")


def decided(decisions: list[int], confidence: float = 0.8, classes: int = 3) -> np.ndarray:
    """Probabilities that decide as given, with that confidence."""
    probabilities = np.full((len(decisions), classes), (1 - confidence) / (classes - 1))
    probabilities[np.arange(len(decisions)), decisions] = confidence
    return probabilities.astype(np.float32)


@pytest.fixture(scope="module")
def random_outputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    targets = rng.integers(0, 3, 200)
    probabilities = rng.dirichlet(np.ones(3), 200)
    probabilities[np.arange(200), targets] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return targets, probabilities.astype(np.float32)


def test_a_case_by_hand():
    targets = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    metrics = classification_metrics(targets, decided([0, 0, 0, 1, 1, 1, 2, 0]), LABELS)
    assert metrics["confusion"] == [[3, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert metrics["accuracy"] == 6 / 8
    assert metrics["precision"] == pytest.approx((3 / 4 + 2 / 3 + 1) / 3)
    assert metrics["recall"] == pytest.approx((3 / 4 + 1 + 1 / 2) / 3)
    assert metrics["f1"] == pytest.approx((3 / 4 + 4 / 5 + 2 / 3) / 3)
    assert metrics["weighted"]["recall"] == pytest.approx(6 / 8)
    assert metrics["weighted"]["f1"] == pytest.approx((4 * 3 / 4 + 2 * 4 / 5 + 2 * 2 / 3) / 8)
    assert metrics["negative_log_likelihood"] == pytest.approx(
        -(6 * np.log(0.8) + 2 * np.log(0.1)) / 8, rel=1e-6
    )
    # One confidence, one bin: 0.8 beside an accuracy of 0.75.
    assert metrics["expected_calibration_error"] == pytest.approx(0.05, abs=1e-6)


def test_averages_equal_scikit_learns_report(random_outputs):
    targets, probabilities = random_outputs
    metrics = classification_metrics(targets, probabilities, LABELS)
    report = classification_report(
        targets, probabilities.argmax(axis=1), target_names=LABELS, output_dict=True
    )
    for ours, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert metrics[ours] == pytest.approx(report["macro avg"][theirs])
        assert metrics["weighted"][ours] == pytest.approx(report["weighted avg"][theirs])
        for label in LABELS:
            assert metrics["per_class"][label][ours] == pytest.approx(report[label][theirs])
    assert metrics["auroc"] == pytest.approx(
        roc_auc_score(targets, probabilities, multi_class="ovr", average="macro"), abs=1e-6
    )
    assert metrics["negative_log_likelihood"] == pytest.approx(log_loss(targets, probabilities))


def test_a_class_without_images_has_no_recall_and_lowers_no_average():
    targets = np.array([0, 0, 2, 2])
    metrics = classification_metrics(targets, decided([0, 1, 2, 2]), LABELS)
    absent = metrics["per_class"]["b"]
    assert absent == {"images": 0, "precision": 0.0, "recall": None, "f1": None, "auroc": None}
    assert metrics["recall"] == (1 / 2 + 1) / 2
    assert metrics["precision"] == 1.0


def test_auroc_by_hand_with_a_tie():
    targets = np.array([0, 0, 1, 1])
    first = np.array([0.9, 0.4, 0.4, 0.1])
    areas = one_vs_rest_auroc(targets, np.stack([first, 1 - first], axis=1))
    # Of four pairs three are in order and one is tied.
    assert areas == pytest.approx([3.5 / 4, 3.5 / 4])


def test_auroc_needs_positives_and_negatives():
    metrics = classification_metrics(np.array([1, 1]), decided([1, 0]), LABELS)
    assert [each["auroc"] for each in metrics["per_class"].values()] == [None, None, None]
    assert metrics["auroc"] is None


def test_a_probability_of_zero_keeps_the_likelihood_finite():
    certain = np.array([[0, 1], [1, 0]], np.float32)
    found = negative_log_likelihood(np.array([0, 0]), certain)
    assert found == pytest.approx(-np.log(SMALLEST_PROBABILITY) / 2)


def test_calibration_error_by_hand():
    # Bin (0.6, 0.667]: 2 images, half right. Bin (0.867, 0.933]: 3 images, all right.
    confidences = np.array([0.62, 0.66, 0.88, 0.9, 0.92])
    probabilities = np.stack([confidences, 1 - confidences], axis=1).astype(np.float32)
    targets = np.array([0, 1, 0, 0, 0])
    expected = (2 * abs(0.5 - 0.64) + 3 * abs(1 - 0.9)) / 5
    assert expected_calibration_error(targets, probabilities) == pytest.approx(expected, abs=1e-6)
    bins = [each for each in reliability_bins(targets, probabilities) if each["images"]]
    assert [each["images"] for each in bins] == [2, 3]
    assert [each["accuracy"] for each in bins] == [0.5, 1.0]
    assert [each["confidence"] for each in bins] == pytest.approx([0.64, 0.9])
    assert bins[0]["above"] < 0.62 and bins[0]["up_to"] >= 0.66


def test_a_bin_is_closed_on_the_right():
    probabilities = np.array([[0.5, 0.5], [0.75, 0.25]], np.float32)
    bins = reliability_bins(np.array([0, 0]), probabilities, bins=2)
    assert [each["images"] for each in bins] == [1, 1]


def test_a_sure_and_right_model_is_calibrated():
    targets = np.array([0, 1, 2])
    certain = np.eye(3, dtype=np.float32)
    assert expected_calibration_error(targets, certain) == 0
    bins = reliability_bins(targets, certain)
    assert len(bins) == BINS
    assert bins[-1]["images"] == 3
    assert bins[0] == {
        "above": 0.0,
        "up_to": 1 / BINS,
        "images": 0,
        "confidence": None,
        "accuracy": None,
    }
