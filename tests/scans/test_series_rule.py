"""Rules of --series: how they are read, and which slices fit."""

import pytest

from neuroscan_edge.errors import UsageError
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.scans.series_rule import SeriesRule, kind_of
from neuroscan_edge.spec import MrSequence, Plane

AXIAL_T1C = SeriesFacts(MrSequence.T1C, (), Plane.AXIAL, "LPS", True)
SAGITTAL_T2 = SeriesFacts(MrSequence.T2, (), Plane.SAGITTAL, "PIR", None)
NOTHING = SeriesFacts()

# Rule, and whether the three fit it.
RULES = {
    "sequence=T1C,plane=axial": (True, False, False),
    "sequence=T1C": (True, False, False),
    "plane=sagittal": (False, True, False),
    "sequence=T2,plane=axial": (False, False, False),
    "contrast=yes": (True, False, False),
    "contrast=no": (False, False, False),
    "sequence=unknown": (False, False, True),
    "sequence=t1c , PLANE = Axial": (True, False, False),
}


@pytest.mark.parametrize(("text", "fits"), RULES.items(), ids=RULES)
def test_rules(text, fits):
    rule = SeriesRule.parse(text)
    assert tuple(map(rule.fits, (AXIAL_T1C, SAGITTAL_T2, NOTHING))) == fits


@pytest.mark.parametrize("text", RULES)
def test_a_rule_is_read_as_it_is_written(text):
    rule = SeriesRule.parse(text)
    assert SeriesRule.parse(str(rule)) == rule


@pytest.mark.parametrize("sequence", MrSequence)
@pytest.mark.parametrize("plane", Plane)
def test_every_word_is_taken(sequence, plane):
    rule = SeriesRule.parse(f"sequence={sequence},plane={plane}")
    assert rule == SeriesRule(sequence, plane)
    assert str(rule) == f"sequence={sequence},plane={plane}"


WRONG = {
    "": "condition ''",
    "T1C": "condition 'T1C'",
    "sequence": "sequence=''",
    "sequence=T3": "T1, T1C, T2, FLAIR, other, unknown",
    "plane=transversal": "axial, coronal, sagittal, oblique",
    "contrast=maybe": "yes, no",
    "sequence=T1,sequence=T2": "sequence twice",
    "modality=MR": "known are sequence, plane, contrast",
    "sequence=T1;plane=axial": "T1, T1C",
    "sequence=T1,": "condition ''",
}


@pytest.mark.parametrize(("text", "words"), WRONG.items(), ids=WRONG)
def test_wrong_rules_say_what_there_is(text, words):
    with pytest.raises(UsageError, match=words):
        SeriesRule.parse(text)


def test_kinds():
    assert kind_of(AXIAL_T1C) == "T1C axial"
    assert kind_of(NOTHING) == "unknown sequence, plane not stated"
