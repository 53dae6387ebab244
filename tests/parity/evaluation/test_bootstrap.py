"""Bootstrap intervals and comparisons on the same images."""

import numpy as np
import pytest

from neuroscan_edge.errors import SpecError
from neuroscan_edge.parity.evaluation.bootstrap import (
    Bootstrap,
    percentile_interval,
    resample,
    stratified_draws,
)
from neuroscan_edge.parity.evaluation.comparison import Measured, against_reference, mcnemar
from neuroscan_edge.parity.evaluation.metrics import classification_metrics
from training.evaluate.comparison import best_by_class

LABELS = ("a", "b", "c")
FIGURES = ("accuracy", "precision", "recall", "f1", "auroc", "expected_calibration_error")
LEVEL = 0.95


def outputs(seed: int, images: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and probabilities that are right about 7 times in 10."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 3, images)
    probabilities = rng.dirichlet(np.ones(3), images)
    probabilities[np.arange(images), targets] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return targets, probabilities.astype(np.float32)


def apart(targets: np.ndarray) -> np.ndarray:
    """Groups of one: no near-duplicates."""
    return np.arange(len(targets), dtype=np.int32)


def measured(targets: np.ndarray, probabilities: np.ndarray) -> Measured:
    draws = stratified_draws(targets, apart(targets), Bootstrap(resamples=300))
    metrics = classification_metrics(targets, probabilities, LABELS)
    return Measured(metrics, probabilities, resample(draws, targets, probabilities))


def test_one_draw_of_each_image_gives_the_figures_themselves():
    targets, probabilities = outputs(1)
    found = resample(np.ones((1, len(targets))), targets, probabilities)
    metrics = classification_metrics(targets, probabilities, LABELS)
    for name in FIGURES:
        assert getattr(found, name)[0] == pytest.approx(metrics[name])
    for index, label in enumerate(LABELS):
        figures = metrics["per_class"][label]
        assert found.class_recall[0, index] == pytest.approx(figures["recall"])
        assert found.class_f1[0, index] == pytest.approx(figures["f1"])
        assert found.class_auroc[0, index] == pytest.approx(figures["auroc"])


def test_tied_probabilities_count_half():
    targets, probabilities = outputs(11)
    coarse = np.round(probabilities, 1)
    found = resample(np.ones((1, len(targets))), targets, coarse)
    metrics = classification_metrics(targets, coarse, LABELS)
    assert found.auroc[0] == pytest.approx(metrics["auroc"])


def test_an_interval_is_the_middle_of_the_values():
    assert percentile_interval(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_a_draw_is_the_metrics_of_the_drawn_images():
    targets, probabilities = outputs(2, images=40)
    draws = stratified_draws(targets, apart(targets), Bootstrap(resamples=5))
    found = resample(draws, targets, probabilities)
    for row, times in enumerate(draws.astype(int)):
        chosen = np.repeat(np.arange(len(targets)), times)
        metrics = classification_metrics(targets[chosen], probabilities[chosen], LABELS)
        for name in FIGURES:
            assert getattr(found, name)[row] == pytest.approx(metrics[name])


def test_draws_keep_the_class_counts_and_follow_the_seed():
    targets, _ = outputs(3)
    draws = stratified_draws(targets, apart(targets), Bootstrap(resamples=50, seed=4))
    for label in range(3):
        assert (draws[:, targets == label].sum(axis=1) == (targets == label).sum()).all()
    again = stratified_draws(targets, apart(targets), Bootstrap(resamples=50, seed=4))
    np.testing.assert_array_equal(draws, again)
    other = stratified_draws(targets, apart(targets), Bootstrap(resamples=50, seed=5))
    assert (draws != other).any()


def test_near_duplicates_are_drawn_together():
    targets = np.array([0, 0, 0, 1, 1])
    # The third and the fourth look alike but have different labels.
    groups = np.array([7, 7, 8, 8, 9], np.int32)
    draws = stratified_draws(targets, groups, Bootstrap(resamples=200))
    np.testing.assert_array_equal(draws[:, 0], draws[:, 1])
    assert (draws[:, 1] != draws[:, 2]).any()
    assert (draws[:, 2] != draws[:, 3]).any()
    assert (draws[:, 0] + draws[:, 2] == 2).all(), "two groups, so two draws"


def test_copies_of_every_image_leave_the_intervals_as_wide():
    targets, probabilities = outputs(5, images=60)
    once = resample(
        stratified_draws(targets, apart(targets), Bootstrap()), targets, probabilities
    ).accuracy
    targets, probabilities = np.tile(targets, 4), np.tile(probabilities, (4, 1))
    draws = stratified_draws(targets, np.tile(np.arange(60, dtype=np.int32), 4), Bootstrap())
    copied = resample(draws, targets, probabilities).accuracy
    np.testing.assert_allclose(copied, once)


def test_intervals_hold_the_figure():
    targets, probabilities = outputs(6)
    draws = stratified_draws(targets, apart(targets), Bootstrap())
    found = resample(draws, targets, probabilities)
    metrics = classification_metrics(targets, probabilities, LABELS)
    for name in FIGURES:
        low, high = percentile_interval(getattr(found, name), LEVEL)
        assert 0 <= low < metrics[name] < high <= 1


def test_accuracy_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(8)
    truth, experiments, covered = 0.8, 200, 0
    targets = np.repeat([0, 1], 100)
    for seed in range(experiments):
        right = rng.random(200) < truth
        probabilities = np.eye(2, dtype=np.float32)[np.where(right, targets, 1 - targets)]
        draws = stratified_draws(targets, apart(targets), Bootstrap(resamples=400, seed=seed))
        low, high = percentile_interval(resample(draws, targets, probabilities).accuracy, LEVEL)
        covered += low <= truth <= high
    # Of 200, 190 are expected; the binomial spread is 3.
    assert 178 <= covered <= 198


def test_a_perfect_model_has_intervals_of_no_width():
    targets = np.repeat([0, 1, 2], 10)
    found = resample(
        stratified_draws(targets, apart(targets), Bootstrap(resamples=100)),
        targets,
        np.eye(3, dtype=np.float32)[targets],
    )
    for name in ("accuracy", "precision", "recall", "f1", "auroc"):
        assert percentile_interval(getattr(found, name), LEVEL) == (1.0, 1.0)
    assert percentile_interval(found.expected_calibration_error, LEVEL) == (0.0, 0.0)


def test_a_class_without_images_has_no_interval():
    targets = np.array([0, 0, 2, 2])
    probabilities = np.eye(3, dtype=np.float32)[[0, 1, 2, 2]]
    found = resample(
        stratified_draws(targets, apart(targets), Bootstrap(resamples=20)), targets, probabilities
    )
    assert percentile_interval(found.class_recall[:, 1], LEVEL) is None
    assert percentile_interval(found.class_f1[:, 1], LEVEL) is None
    assert percentile_interval(found.class_auroc[:, 1], LEVEL) is None
    assert percentile_interval(found.recall, LEVEL) is not None


def test_a_class_never_called_has_precision_nought():
    targets = np.array([0, 1])
    always_first = np.array([[0.9, 0.1], [0.9, 0.1]], np.float32)
    found = resample(np.ones((1, 2)), targets, always_first)
    assert found.precision[0] == (1 / 2 + 0) / 2
    assert found.f1[0] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("wrong", [{"resamples": 0}, {"level": 1.0}, {"level": 0.0}])
def test_options_outside_their_domain_are_refused(wrong):
    with pytest.raises(SpecError, match=next(iter(wrong))):
        Bootstrap(**wrong)


def test_identical_models_differ_by_exactly_nothing():
    targets, probabilities = outputs(9)
    one, same = measured(targets, probabilities), measured(targets, probabilities.copy())
    found = against_reference(targets, same, one, LEVEL)
    assert found["accuracy_difference"] == {"value": 0.0, "interval": (0.0, 0.0)}
    assert found["f1_difference"] == {"value": 0.0, "interval": (0.0, 0.0)}
    assert (found["agreement"], found["accuracy_ratio"]) == (1.0, 1.0)
    assert found["largest_probability_difference"] == 0.0
    assert found["mcnemar"]["p_value"] == 1.0


def test_a_better_model_is_found_better():
    targets, probabilities = outputs(10)
    perfect = np.eye(3, dtype=np.float32)[targets]
    found = against_reference(
        targets, measured(targets, perfect), measured(targets, probabilities), LEVEL
    )
    assert found["accuracy_difference"]["interval"][0] > 0
    assert found["mcnemar"]["only_reference_right"] == 0
    assert found["mcnemar"]["p_value"] < 0.001


def test_mcnemar_by_hand():
    right = np.array([True] * 6 + [False] * 1 + [True] * 10)
    reference = np.array([False] * 6 + [True] * 1 + [True] * 10)
    found = mcnemar(right, reference)
    # Two-sided binomial, 7 discordant: 2 * (1 + 7) / 2 ** 7.
    assert found == {
        "only_this_right": 6,
        "only_reference_right": 1,
        "p_value": pytest.approx(16 / 128),
    }


def test_the_best_model_of_each_class_is_named():
    targets = np.repeat([0, 1, 2], 4)
    eye = np.eye(3, dtype=np.float32)
    models = {
        "first": measured(targets, eye[[0, 0, 0, 0, 1, 1, 0, 0, 2, 2, 2, 2]]),
        "second": measured(targets, eye[[0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2]]),
    }
    best = best_by_class(models, LABELS, LEVEL)
    assert best["a"]["recall"]["best"] == "first"
    assert best["a"]["recall"]["lead"] == pytest.approx(1 / 4)
    assert best["b"]["recall"]["best"] == "second"
    assert best["b"]["recall"]["value"] == 1.0
    assert best["b"]["recall"]["lead"] == pytest.approx(1 / 2)
    assert best["a"]["f1"]["best"] == "second"
    assert best["a"]["f1"]["lead"] == pytest.approx(6 / 7 - 4 / 5)
    assert best["c"]["recall"] == {
        "best": "first",
        "value": 1.0,
        "next": "second",
        "lead": 0.0,
        "interval": (0.0, 0.0),
    }


def test_a_class_without_images_has_no_best_model():
    targets = np.array([0, 0, 2, 2])
    models = {name: measured(targets, np.eye(3, dtype=np.float32)[targets]) for name in "xy"}
    assert set(best_by_class(models, LABELS, LEVEL)) == {"a", "c"}
