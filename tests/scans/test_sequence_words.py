"""Known words in the names of series, as sites of many languages write them."""

import pytest

from neuroscan_edge.scans.sequence_words import words_in
from neuroscan_edge.spec import MrSequence

T1, T2, FLAIR, OTHER = MrSequence.T1, MrSequence.T2, MrSequence.FLAIR, MrSequence.OTHER

# Name of a series, the sequences that it has words of, and whether an agent was given.
NAMES = {
    "t1_mprage_sag_p2_iso": ({T1}, None),
    "AX T1 POST GAD": ({T1}, True),
    "AX T1 PRE": ({T1}, False),
    "AXT2": ({T2}, None),
    "SAGT1": ({T1}, None),
    "3D T1 BRAVO +C": ({T1}, True),
    "AX T1+C": ({T1}, True),
    "AX FSPGR 3D": ({T1}, None),
    "COR T1 C+": ({T1}, True),
    "T1 W/O": ({T1}, False),
    "T1 without contrast": ({T1}, False),
    "T1 W/WO": ({T1}, None),
    "T1 pre and post": ({T1}, None),
    "T1 unenhanced": ({T1}, False),
    "MPRAGE GD": ({T1}, True),
    "T1 tra nach KM": ({T1}, True),
    "t1_se_tra_KM": ({T1}, True),
    "T1 ohne KM": ({T1}, False),
    "T1 nativ": ({T1}, False),
    "T1 con contraste": ({T1}, True),
    "T1 sin contraste": ({T1}, False),
    "T1 CIV": ({T1}, True),
    "T1 APRÈS INJECTION": ({T1}, True),
    "T1 sans injection": ({T1}, False),
    "T1 dopo mdc": ({T1}, True),
    "T1 senza mdc": ({T1}, False),
    "T1 pós contraste": ({T1}, True),
    "T1 sem contraste": ({T1}, False),
    "T1 na contrast": ({T1}, True),
    "T1 zonder contrast": ({T1}, False),
    "T1 po kontraście": ({T1}, True),
    "T1 bez kontrastu": ({T1}, False),
    "T1 kontrastlı": ({T1}, True),
    "T1 kontrastsız": ({T1}, False),
    "T1 med kontrast": ({T1}, True),
    "T1 uten kontrast": ({T1}, False),
    "T1 с КУ": ({T1}, True),
    "Т1 без КУ": ({T1}, False),
    "T1增强": ({T1}, True),
    "T1 平扫": ({T1}, False),
    "t1ce": ({T1}, True),
    "t1c": ({T1}, True),
    "t1n": ({T1}, False),
    "t2f": ({FLAIR, T2}, None),
    "sub-01_ce-gadolinium_T1w": ({T1}, True),
    "sub-02_FLAIR": ({FLAIR}, None),
    "t2_tirm_tra_dark-fluid": ({FLAIR, T2}, None),
    "Sag T1 FLAIR": ({FLAIR, T1}, None),
    "3D_FLAIR": ({FLAIR}, None),
    "T2*": ({OTHER}, None),
    "T2 *": ({OTHER}, None),
    "t2_fl2d_tra_hemo": ({OTHER, T2}, None),
    "T2W FFE": ({OTHER, T2}, None),
    "AX SWI": ({OTHER}, None),
    "ep2d_diff_3scan_trace_ADC": ({OTHER}, None),
    "AX DWI b1000": ({OTHER}, None),
    "PD/T2 TSE": ({OTHER, T2}, None),
    "TOF 3D": ({OTHER}, None),
    "STIR COR": ({OTHER}, None),
    "T1 SUB": ({OTHER, T1}, None),
    "T2 map": ({OTHER}, None),
    "T1rho": ({OTHER}, None),
    "localizer": ({OTHER}, None),
    "PHASE CONTRAST": ({OTHER}, None),
}


@pytest.mark.parametrize(("name", "found"), NAMES.items(), ids=NAMES)
def test_words(name, found):
    words = words_in(name)
    assert {sequence for sequence, matched in words.sequences.items() if matched} == found[0]
    assert words.contrast is found[1]


# Where such letters mean something else.
NOTHING = [
    "T10 SPINE",
    "T12",
    "Pituitary dynamic",
    "Smith^Sandra",
    "PREOPERATIVE PLAN",
    "Gardner",
    "Perfectly still",
    "POSTERIOR FOSSA",
    "POST OP",
    "POST TREATMENT",
    "C SPINE",
]


@pytest.mark.parametrize("name", NOTHING)
def test_names_without_a_known_word(name):
    words = words_in(name)
    assert not any(words.sequences.values())
    assert words.contrast is None


def test_what_is_found_is_no_part_of_the_name():
    name = "Wilhelmina Oyelaran T1 gadobutrol 19470223"
    words = words_in(name)
    said = [*words.contrast_words, *(word for each in words.sequences.values() for word in each)]
    assert said == ["contrast agent", "T1"]


def test_a_double_echo_is_known():
    assert words_in("PD/T2 TSE").is_double_echo
    assert not words_in("T2 TSE").is_double_echo
    assert not words_in("T2 PD DWI").is_double_echo
