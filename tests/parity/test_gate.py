"""The gate: its defaults, its limits to the last digit, and other gates from TOML."""

from dataclasses import replace

import numpy as np
import pytest

from neuroscan_edge.errors import SpecError, UsageError
from neuroscan_edge.parity.evaluation.comparison import flips, kl_divergence, newly_missed
from neuroscan_edge.parity.gate import (
    FP16_LIMITS,
    INT8_LIMITS,
    Criterion,
    Gate,
    Limits,
    judge,
    read_gate,
    refusals,
)
from neuroscan_edge.spec import Precision

LABELS = ("glioma_tumor", "no_tumor", "pituitary_tumor")
KEPT = {
    "accuracy_ratio": 1.0,
    "f1_ratio": 1.0,
    "agreement": {"value": 1.0, "interval": (1.0, 1.0)},
    "worst_recall_drop": 0.0,
    "newly_missed_tumours": {"share": 0.0},
}


def test_the_defaults_are_those_of_the_design():
    assert Limits(0.999, 0.999, 0.995, 0.005, 0) == FP16_LIMITS
    assert Limits(0.99, 0.99, 0.98, 0.01, 0.0025) == INT8_LIMITS
    gate = Gate()
    assert gate.limits(Precision.FP32) is gate.limits(Precision.FP16) is gate.fp16
    assert gate.limits(Precision.INT8) is gate.int8
    assert gate.looser == ()


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, set()),
        ({"accuracy_ratio": 0.9899}, {"accuracy_ratio"}),
        ({"f1_ratio": 0.9899}, {"f1_ratio"}),
        ({"f1_ratio": None}, {"f1_ratio"}),
        ({"agreement": {"value": 0.979}}, {"agreement"}),
        ({"worst_recall_drop": 0.0101}, {"recall_drop"}),
        ({"newly_missed_tumours": {"share": 0.0026}}, {"missed_tumours"}),
        ({"newly_missed_tumours": {"share": None}}, {"missed_tumours"}),
        ({"accuracy_ratio": float("nan")}, {"accuracy_ratio"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_each_line_can_fail_alone(change, broken):
    lines = judge(INT8_LIMITS, {**KEPT, **change})
    assert {line.name for line in lines if not line.passed} == broken


def test_a_limit_that_is_met_exactly_is_kept():
    assert 0.56 - 0.55 > 0.01, "in floating point"
    assert Criterion("recall_drop", 0.56 - 0.55, 0.01).passed
    assert Criterion("agreement", 0.98, 0.98).passed


def test_a_gate_from_toml_keeps_what_it_does_not_name(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text("[int8]\nagreement = 0.9\n[fp16]\nagreement = 1\n[data]\nmax_unreadable = 0.0")
    gate = read_gate(path)
    assert gate.int8 == replace(INT8_LIMITS, agreement=0.9)
    assert gate.fp16.agreement == 1
    assert gate.min_images_per_class == Gate().min_images_per_class
    assert gate.looser == ("int8.agreement",), "stricter ones are not named"
    assert gate.to_json()["source"] == "gate.toml"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("[int9]", UsageError, "int9; known are"),
        ("[int8]\nagrement = 0.9", UsageError, "int8.agrement"),
        ("int8 = 3", UsageError, r"write a table \[int8\]"),
        ("[int8", UsageError, "not TOML"),
        ("[int8]\nagreement = 98", SpecError, "agreement is 98"),
        ("[int8]\nagreement = nan", SpecError, "agreement is nan"),
        ("[int8]\nagreement = true", SpecError, "agreement is True"),
        ("[data]\nmin_images_per_class = 0", SpecError, "min_images_per_class"),
    ],
)
def test_a_gate_that_makes_no_sense_is_refused(tmp_path, text, error, says):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(error, match=says):
        read_gate(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_gate(tmp_path / "none.toml")


def test_what_data_must_be():
    enough = dict.fromkeys(LABELS, 50)
    assert refusals(Gate(), enough, 0, 150) == ()
    assert "49 images of no_tumor" in refusals(Gate(), {**enough, "no_tumor": 49}, 0, 149)[0]
    assert "no images of no_tumor" in refusals(Gate(), {**enough, "no_tumor": 0}, 0, 100)[0]
    assert refusals(Gate(), enough, 1, 151) == ()
    assert "2 of 152 files" in refusals(Gate(), enough, 2, 152)[0]
    assert refusals(Gate(max_unreadable=0), enough, 0, 150) == ()
    assert "no class no_tumor" in refusals(Gate(), {"a": 50, "b": 50}, 0, 100)[0]


def test_tumours_found_again_do_not_offset_those_newly_missed():
    targets = np.array([0, 0, 2, 2, 1, 1])
    before = np.array([0, 1, 2, 1, 1, 0])
    after = np.array([1, 0, 2, 2, 0, 1])
    found = newly_missed(targets, after, before, LABELS, "no_tumor")
    assert found == {"count": 1, "tumour_slices": 4, "share": 0.25}
    assert newly_missed(targets, after, before, LABELS, "none")["share"] is None


def test_flips_are_counted_by_kind():
    found = flips(np.array([1, 1, 2, 0]), np.array([0, 0, 1, 0]), LABELS)
    assert found == [
        {"from": "glioma_tumor", "to": "no_tumor", "count": 2},
        {"from": "no_tumor", "to": "pituitary_tumor", "count": 1},
    ]


def test_divergence_is_scipys_and_finite():
    reference = np.array([[0.5, 0.5], [1.0, 0.0]], np.float32)
    found = np.array([[0.25, 0.75], [0.0, 1.0]], np.float32)
    divergence = kl_divergence(reference, found)
    assert divergence[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert np.isfinite(divergence[1]) and divergence[1] > 10
    assert kl_divergence(reference, reference).max() < 1e-6
