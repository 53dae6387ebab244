import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroscan_edge.errors import SpecError
from neuroscan_edge.model.judging import Judging, decide
from neuroscan_edge.spec import Decision, Finding

SURE = np.array([0.01, 0.96, 0.02, 0.01], np.float32)
TORN = np.array([0.02, 0.50, 0.46, 0.02], np.float32)
RULES = Judging(least_confidence=0.6, plausible=0.1, outliers=True)


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def test_a_sure_slice_like_training_is_answered():
    assert RULES.findings(SURE, 0.9) == ()
    assert decide(()) is Decision.ANSWER


def test_two_plausible_classes_are_ambiguous_and_neither_is_confident():
    assert RULES.findings(TORN, 0.9) == (Finding.LOW_CONFIDENCE, Finding.AMBIGUOUS)
    assert decide(RULES.findings(TORN, 0.9)) is Decision.REFER


@pytest.mark.parametrize("score", [1.0001, float("inf"), float("nan")])
def test_a_score_above_one_or_that_is_no_number_is_out_of_distribution(score):
    assert RULES.findings(SURE, score) == (Finding.OUT_OF_DISTRIBUTION,)


def test_without_a_score_nothing_is_out_of_distribution():
    assert RULES.findings(SURE, None) == ()


def test_a_bundle_without_judging_answers_everything():
    assert Judging().findings(TORN, None) == ()


def test_what_rejects_wins_over_what_refers():
    assert decide((Finding.LOW_CONFIDENCE, Finding.LOCALIZER)) is Decision.REJECTED


@given(
    st.lists(st.floats(-20, 20), min_size=4, max_size=4),
    st.floats(0.2, 4),
)
def test_temperature_on_probabilities_is_temperature_on_logits(logits, temperature):
    values = np.array(logits)
    expected = softmax(values / temperature)
    found = Judging(temperature).calibrated(softmax(values).astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_a_temperature_keeps_the_order_and_the_sum():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4) * 0.2, 500).astype(np.float32)
    found = Judging(0.6).calibrated(probabilities)
    np.testing.assert_array_equal(found.argmax(1), probabilities.argmax(1))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_probabilities_of_exactly_zero_and_one_stay():
    edge = np.array([[1, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(Judging(0.5).calibrated(edge), edge, atol=1e-12)


def test_a_temperature_of_one_changes_no_bit():
    assert Judging().calibrated(SURE) is SURE


def test_a_record_reads_back():
    rules = Judging(0.7, 0.6, 0.1, True, {"coverage": 0.95}, {"least_side_px": 64})
    assert Judging.from_json(rules.to_json()) == rules


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "schema None"),
        ({"schema": 2}, "schema 2"),
        ({"schema": 1}, "malformed"),
        ({**Judging().to_json(), "temperature": 0}, "temperature is 0"),
        ({**Judging().to_json(), "temperature": float("nan")}, "temperature is nan"),
        ({**Judging().to_json(), "plausible": 1.5}, "plausible is 1.5"),
        ({**Judging().to_json(), "least_confidence": "high"}, "malformed"),
    ],
)
def test_a_record_that_cannot_be_is_refused(record, reason):
    with pytest.raises(SpecError, match=reason):
        Judging.from_json(record)
