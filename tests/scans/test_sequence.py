"""The guess of a sequence: by words, by times, and where they contradict each other."""

import pytest

from neuroscan_edge.scans.sequence import SequenceEvidence, guess_sequence
from neuroscan_edge.spec import MrSequence


def evidence(scanning="", variant="", tr=None, te=None, ti=None, name=None, **others):
    return SequenceEvidence(
        scanning=frozenset(scanning.split()),
        variant=frozenset(variant.split()),
        repetition_ms=tr,
        echo_ms=te,
        inversion_ms=ti,
        names={} if name is None else {"Series Description": name},
        **others,
    )


# Protocols of the head as scanners of three makers state them, without a name.
BY_TIMES = {
    "T1 spin echo": (evidence("SE", "SK", 550, 10), MrSequence.T1),
    "T1 turbo spin echo": (evidence("SE", "SK SP", 700, 12), MrSequence.T1),
    "MPRAGE": (evidence("GR IR", "SK SP MP", 2000, 2.9, 900), MrSequence.T1),
    "BRAVO": (evidence("GR", "SS SP", 8.2, 3.2, 450), MrSequence.T1),
    "VIBE": (evidence("GR", "SP OSP", 5.3, 2.4), MrSequence.T1),
    "FLASH": (evidence("GR", "SP", 250, 2.5), MrSequence.T1),
    "T1 by inversion": (evidence("SE IR", "SK", 2200, 12, 860), MrSequence.T1),
    "T2 turbo spin echo": (evidence("SE", "SK SP", 4500, 100), MrSequence.T2),
    "T2 SPACE": (evidence("SE", "SK SP", 3200, 410), MrSequence.T2),
    "FLAIR": (evidence("SE IR", "SK SP MP", 9000, 120, 2500), MrSequence.FLAIR),
    "FLAIR of a volume": (evidence("SE IR", "SK SP MP", 5000, 390, 1800), MrSequence.FLAIR),
    "FLAIR, inversion not stated": (evidence("IR", "SK", 11000, 125), MrSequence.FLAIR),
    "diffusion": (evidence("EP", "SK SP", 5000, 90), MrSequence.OTHER),
    "T2*": (evidence("GR", "SP", 600, 20), MrSequence.OTHER),
    "STIR": (evidence("SE IR", "SK", 4000, 60, 160), MrSequence.OTHER),
    "proton density": (evidence("SE", "SK", 3000, 20), MrSequence.UNKNOWN),
    "steady state": (evidence("GR", "SS", 5, 2.5), MrSequence.UNKNOWN),
    "research": (evidence("RM", "", 5, 2.5), MrSequence.UNKNOWN),
    "nothing": (evidence(), MrSequence.UNKNOWN),
    "no echo time": (evidence("SE", "SK", 500), MrSequence.UNKNOWN),
    "negative times": (evidence("SE", "SK", -500, -10), MrSequence.UNKNOWN),
    "impossible times": (evidence("SE", "SK", 74019026, 74019026), MrSequence.UNKNOWN),
}


@pytest.mark.parametrize(("stated", "sequence"), BY_TIMES.values(), ids=BY_TIMES)
def test_by_times(stated, sequence):
    guess = guess_sequence(stated)
    assert guess.sequence is sequence
    assert bool(guess.evidence) == (sequence is not MrSequence.UNKNOWN)


T2_TIMES = {"scanning": "SE", "variant": "SK", "tr": 4500, "te": 100}
T1_TIMES = {"scanning": "SE", "variant": "SK", "tr": 550, "te": 10}
FLAIR_TIMES = {"scanning": "SE IR", "variant": "SK", "tr": 9000, "te": 120, "ti": 2500}

BOTH = {
    "agree on T2": ("T2 tra", T2_TIMES, MrSequence.T2),
    "agree on FLAIR": ("FLAIR", FLAIR_TIMES, MrSequence.FLAIR),
    "T2 FLAIR by its times": ("T2 tra", FLAIR_TIMES, MrSequence.FLAIR),
    "FLAIR by its name": ("FLAIR", T2_TIMES, MrSequence.FLAIR),
    "T2 FLAIR by its name": ("AX T2 FLAIR", T2_TIMES, MrSequence.FLAIR),
    "T1 FLAIR": ("SAG T1 FLAIR", {**T1_TIMES, "scanning": "SE IR", "ti": 860}, MrSequence.T1),
    "two echoes, the second": ("PD/T2", T2_TIMES, MrSequence.T2),
    "T1 against T2": ("T1 tra", T2_TIMES, MrSequence.UNKNOWN),
    "T2 against T1": ("T2 tra", T1_TIMES, MrSequence.UNKNOWN),
    "T1 against FLAIR": ("T1 tra", FLAIR_TIMES, MrSequence.UNKNOWN),
    "words of two, by times": ("T1 T2", T2_TIMES, MrSequence.T2),
    "words of two alone": ("T1 T2", {}, MrSequence.UNKNOWN),
    "another word against T2": ("DWI", T2_TIMES, MrSequence.OTHER),
    "echo-planar T2": ("T2 epi", {"scanning": "EP", "tr": 5000, "te": 90}, MrSequence.OTHER),
    "words alone": ("FLAIR", {}, MrSequence.FLAIR),
    "times alone": ("Wilhelmina", T2_TIMES, MrSequence.T2),
}


@pytest.mark.parametrize(("name", "times", "sequence"), BOTH.values(), ids=BOTH)
def test_words_and_times(name, times, sequence):
    assert guess_sequence(evidence(name=name, **times)).sequence is sequence


def test_contradictions_have_the_evidence_of_both():
    guess = guess_sequence(evidence(name="T1 tra", **T2_TIMES))
    assert guess.evidence == (
        "Series Description has the word T1",
        "Scanning Sequence is SE",
        "Repetition Time is 4500 ms",
        "Echo Time is 100 ms",
    )


CONTRAST = {
    "agent": ("T1", True, MrSequence.T1C, True),
    "no agent": ("T1", False, MrSequence.T1, False),
    "nothing": ("T1", None, MrSequence.T1, None),
    "a word": ("T1 KM", None, MrSequence.T1C, True),
    "a word against an agent of the whole study": ("T1 nativ", True, MrSequence.T1, False),
    "a word where none is stated": ("T1 post", False, MrSequence.T1C, True),
    "both words, then the agent": ("T1 pre and post", True, MrSequence.T1C, True),
    "T2 with an agent": ("T2", True, MrSequence.T2, True),
}


@pytest.mark.parametrize(("name", "agent", "sequence", "given"), CONTRAST.values(), ids=CONTRAST)
def test_contrast_agent(name, agent, sequence, given):
    stated = evidence(name=name, contrast_agent=agent, contrast_source="Contrast/Bolus Agent")
    guess = guess_sequence(stated)
    assert guess.sequence is sequence
    assert guess.contrast_agent is given


def test_evidence_of_a_contrast_agent():
    stated = evidence(name="T1", contrast_agent=True, contrast_source="Contrast/Bolus Agent")
    assert guess_sequence(stated).evidence == (
        "Series Description has the word T1",
        "Contrast/Bolus Agent says that an agent was given",
    )


def test_the_first_name_with_a_word_counts():
    names = {"Series Description": "Smith", "Protocol Name": "T2 tra", "Sequence Name": "T1"}
    guess = guess_sequence(SequenceEvidence(names=names))
    assert guess.sequence is MrSequence.T2
    assert guess.evidence == ("Protocol Name has the word T2",)


STATED = {
    "T1": MrSequence.T1,
    "T2": MrSequence.T2,
    "FLUID_ATTENUATED": MrSequence.FLAIR,
    "T2_STAR": MrSequence.OTHER,
    "DIFFUSION": MrSequence.OTHER,
    "PROTON_DENSITY": MrSequence.OTHER,
    "UNKNOWN": MrSequence.T2,
    "MIXED": MrSequence.T2,
}


@pytest.mark.parametrize(("contrast", "sequence"), STATED.items(), ids=STATED)
def test_acquisition_contrast_comes_first(contrast, sequence):
    stated = evidence(name="T2", acquisition_contrast=contrast)
    assert guess_sequence(stated).sequence is sequence


def test_diffusion_and_computed_images_are_other():
    assert guess_sequence(evidence(name="T2", b_value=1000)).sequence is MrSequence.OTHER
    assert guess_sequence(evidence(name="T2", b_value=0)).sequence is MrSequence.T2
    assert guess_sequence(evidence(name="T2", computed=True)).sequence is MrSequence.OTHER
