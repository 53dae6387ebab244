"""Operating points for screening, and their exact intervals."""

import numpy as np
import pytest
from scipy.stats import beta

from neuroscan_edge.errors import CertificateError, SpecError, UsageError
from neuroscan_edge.parity.evaluation.operating_point import (
    Scores,
    _folds,
    curve,
    operating_point,
    scores_of,
)
from neuroscan_edge.parity.evaluation.proportions import Share

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
NO_TUMOUR = 2


def scores(tumours: int = 200, without: int = 100, seed: int = 0, copies: int = 1) -> Scores:
    rng = np.random.default_rng(seed)
    risks = np.concatenate([rng.beta(4, 1, tumours), rng.beta(1, 4, without)])
    truth = np.concatenate([rng.choice([0, 1, 3], tumours), np.full(without, NO_TUMOUR)])
    groups = np.arange(tumours + without) // copies
    return Scores(risks, truth, groups, LABELS, "whole")


@pytest.mark.parametrize(("count", "of"), [(0, 7), (7, 7), (1, 1), (3, 11), (284, 289), (50, 400)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_intervals_are_those_of_clopper_and_pearson(count, of, level):
    low, high = Share(count, of).interval(level)
    tail = (1 - level) / 2
    assert low == pytest.approx(beta.ppf(tail, count, of - count + 1) if count else 0)
    assert high == pytest.approx(beta.ppf(1 - tail, count + 1, of - count) if count < of else 1)


@pytest.mark.parametrize("wanted", [0.5, 0.9, 0.95, 0.99, 1.0])
def test_the_threshold_is_the_highest_that_keeps_the_sensitivity(wanted):
    found = scores()
    point = operating_point(found, wanted)
    assert point.sensitivity.value >= wanted
    higher = found.risks[found.tumour] > point.threshold
    assert higher.mean() < wanted, "any higher threshold misses the sensitivity"
    calm = found.risks[~found.tumour] < point.threshold
    assert point.specificity == Share(int(calm.sum()), 100)
    assert sum(each.count for each in point.by_class.values()) == point.sensitivity.count


def test_nineteen_of_twenty_are_95_percent():
    risks = np.concatenate([np.linspace(0.1, 1, 100), np.zeros(60)])
    truth = np.concatenate([np.zeros(100), np.full(60, NO_TUMOUR)]).astype(np.int64)
    point = operating_point(Scores(risks, truth, np.arange(160), LABELS, "whole"), 0.95)
    assert point.sensitivity == Share(95, 100)
    assert point.specificity == Share(60, 60)


def test_images_held_out_tell_what_the_same_images_hide():
    chosen, held_out = [], []
    for seed in range(40):
        point = operating_point(scores(60, 60, seed), 0.9)
        chosen.append(point.sensitivity.value)
        held_out.append(point.held_out_sensitivity.value)
    fresh = scores(20_000, 1000, 99)
    true = [
        (fresh.risks[fresh.tumour] >= operating_point(scores(60, 60, seed), 0.9).threshold).mean()
        for seed in range(40)
    ]
    assert np.mean(chosen) > np.mean(true), "optimistic"
    assert abs(np.mean(held_out) - np.mean(true)) < abs(np.mean(chosen) - np.mean(true))


def test_near_duplicates_stay_on_one_side():
    found = scores(copies=5)
    folds = _folds(found.truth, found.groups)
    for group in np.unique(found.groups):
        assert len(set(folds[found.groups == group])) == 1
    for label in range(4):
        assert set(folds[found.truth == label]) == set(range(10)), "each fold has each class"


@pytest.mark.parametrize(("tumours", "without"), [(49, 100), (100, 49)])
def test_too_few_images_are_refused(tumours, without):
    with pytest.raises(UsageError, match="49 images"):
        operating_point(scores(tumours, without))


def test_copies_of_a_few_images_are_refused():
    found = scores()
    few = Scores(found.risks, found.truth, found.truth, LABELS, "whole")
    with pytest.raises(UsageError, match="near-duplicates of 3"):
        operating_point(few)


@pytest.mark.parametrize("wanted", [0, -1, 1.01, float("nan")])
def test_a_sensitivity_out_of_range_is_refused(wanted):
    with pytest.raises(SpecError, match="sensitivity is"):
        operating_point(scores(), wanted)


def test_a_model_without_a_class_for_none_has_no_operating_point():
    found = scores()
    other = Scores(found.risks, found.truth, found.groups, ("a", "b", "c", "d"), "whole")
    with pytest.raises(UsageError, match="no class no_tumor"):
        operating_point(other)


def test_the_curve_rises_from_nothing_to_everything():
    points = curve(scores())
    assert points[0] == (0, 0) and points[-1] == (1, 1)
    assert points == sorted(points)


def document(**changes: object) -> dict:
    held = {**scores().to_json(), **changes}
    return {"screening": held, "subject": {"labels": LABELS}, "data": {"part": "whole"}}


def test_scores_survive_a_certificate():
    assert operating_point(scores_of(document())) == operating_point(scores())


@pytest.mark.parametrize(
    "changes",
    [
        {"truth": [0]},
        {"truth": [9] * 300},
        {"tumour_probability": [2.0] * 300},
        {"tumour_probability": ["x"] * 300},
        {"near_duplicates": None},
    ],
)
def test_malformed_scores_are_refused(changes):
    with pytest.raises(CertificateError, match="certify again"):
        scores_of(document(**changes))


def test_a_certificate_without_scores_says_what_to_do():
    with pytest.raises(CertificateError, match="neuroscan-edge parity"):
        scores_of({**document(), "screening": None})
