"""Which MR sequence a slice is of, guessed from what its file says, with the evidence.

Times are those of the head at 1.5 and 3 tesla. Where words and times contradict each other, or
neither says enough, the sequence is unknown: a wrong series is worse than none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from neuroscan_edge.scans.sequence_words import Words, words_in
from neuroscan_edge.spec import MrSequence

# In ms. An inversion long enough to null fluid, and echoes long enough for T2.
_MIN_FLAIR_INVERSION, _MIN_T1_INVERSION = 1500.0, 300.0
_MIN_T2_ECHO, _MAX_T1_ECHO = 60.0, 40.0
_MIN_T2_REPETITION, _MAX_T1_REPETITION = 1800.0, 1300.0
_MIN_FLAIR_REPETITION = 4000.0
_MIN_T2_STAR_ECHO, _MAX_T1_GRADIENT_ECHO = 12.0, 10.0
# What no scanner does is a wrong number, and is not repeated.
_MAX_TIMES = {"Repetition Time": 30_000.0, "Echo Time": 2_000.0, "Inversion Time": 10_000.0}
_MAX_B_VALUE = 20_000.0

# Acquisition Contrast (PS3.3, C.8.13.3.1.1).
_BY_CONTRAST = {
    "T1": MrSequence.T1,
    "T2": MrSequence.T2,
    "FLUID_ATTENUATED": MrSequence.FLAIR,
    **dict.fromkeys(
        (
            *("DIFFUSION", "FLOW_ENCODED", "PERFUSION", "PROTON_DENSITY", "STIR", "TAGGING"),
            *("T2_STAR", "TOF"),
        ),
        MrSequence.OTHER,
    ),
}


@dataclass(frozen=True, slots=True)
class SequenceEvidence:
    """What a file says of how a slice was taken.

    Parameters
    ----------
    scanning : frozenset of str
        Scanning Sequence: SE, IR, GR, EP, RM.
    variant : frozenset of str
        Sequence Variant: SK, MTC, SS, TRSS, SP, MP, OSP ...
    repetition_ms, echo_ms, inversion_ms : float or None
        Repetition, echo and inversion time.
    b_value : float or None
        Of diffusion.
    acquisition_contrast : str or None
        Of an enhanced image.
    computed : bool
        Whether the image type is that of something computed, or of a localizer.
    names : mapping of str to str
        Texts that name the series, by the element that holds each.
    contrast_agent : bool or None
        Whether an agent was given by the header's own elements.
    contrast_source : str
        The element that says so.
    """

    scanning: frozenset[str] = frozenset()
    variant: frozenset[str] = frozenset()
    repetition_ms: float | None = None
    echo_ms: float | None = None
    inversion_ms: float | None = None
    b_value: float | None = None
    acquisition_contrast: str | None = None
    computed: bool = False
    names: Mapping[str, str] = field(default_factory=dict)
    contrast_agent: bool | None = None
    contrast_source: str = ""


@dataclass(frozen=True, slots=True)
class SequenceGuess:
    """A sequence and why.

    Parameters
    ----------
    sequence : MrSequence
        The guess.
    evidence : tuple of str
        What it rests on.
    contrast_agent : bool or None
        Whether an agent was given.
    """

    sequence: MrSequence = MrSequence.UNKNOWN
    evidence: tuple[str, ...] = ()
    contrast_agent: bool | None = None


def guess_sequence(stated: SequenceEvidence) -> SequenceGuess:
    """Guess the sequence of a slice."""
    named = {source: words_in(text) for source, text in stated.names.items()}
    agent, agent_reasons = _contrast(stated, named)
    sequence, reasons = _sequence(stated, named)
    if sequence is MrSequence.T1 and agent:
        sequence = MrSequence.T1C
    # What was given matters to a T1 alone; elsewhere it is no evidence of the sequence.
    if sequence in {MrSequence.T1, MrSequence.T1C}:
        reasons = [*reasons, *agent_reasons]
    return SequenceGuess(sequence, tuple(reasons), agent)


def _sequence(stated: SequenceEvidence, named: Mapping[str, Words]) -> tuple[MrSequence, list[str]]:
    if stated.computed:
        return MrSequence.OTHER, ["Image Type names something computed or a localizer"]
    if stated.b_value is not None and 0 < stated.b_value <= _MAX_B_VALUE:
        return MrSequence.OTHER, ["Diffusion b-value is above 0"]
    by_contrast = _BY_CONTRAST.get(stated.acquisition_contrast or "")
    if by_contrast is not None:
        return by_contrast, [f"Acquisition Contrast is {stated.acquisition_contrast}"]
    word, word_reasons = _by_words(named)
    time, time_reasons = _by_times(stated)
    reasons = [*word_reasons, *time_reasons]
    if word is None or time is None or word is time:
        return word or time or MrSequence.UNKNOWN, reasons
    return _agreed(word, time), reasons


def _agreed(word: MrSequence, time: MrSequence) -> MrSequence:
    """Decide between words and times that differ."""
    if MrSequence.OTHER in (word, time):
        # A word for another sequence names what times cannot show; echo-planar times, what a word
        # for T1 or T2 leaves out.
        return MrSequence.OTHER
    if {word, time} == {MrSequence.FLAIR, MrSequence.T2}:
        # Its inversion is often not stated, or not said in a name.
        return MrSequence.FLAIR
    return MrSequence.UNKNOWN


def _by_words(named: Mapping[str, Words]) -> tuple[MrSequence | None, list[str]]:
    """Return what the words of the first name that has any stand for."""
    for source, words in named.items():
        found = {sequence for sequence, matched in words.sequences.items() if matched}
        if not found:
            continue
        sequence = _of_words(found, double_echo=words.is_double_echo)
        matched = [word for each in words.sequences.values() for word in each]
        return sequence, [f"{source} has the word {word}" for word in matched]
    return None, []


def _of_words(found: set[MrSequence], *, double_echo: bool) -> MrSequence | None:
    if double_echo:
        return None
    if MrSequence.OTHER in found:
        return MrSequence.OTHER
    if found == {MrSequence.FLAIR, MrSequence.T1}:
        # Fluid is nulled there too, but the weighting is T1's.
        return MrSequence.T1
    if found == {MrSequence.FLAIR, MrSequence.T2}:
        return MrSequence.FLAIR
    return next(iter(found)) if len(found) == 1 else None


def _by_times(stated: SequenceEvidence) -> tuple[MrSequence | None, list[str]]:
    """Return what the pulse sequence and its times stand for."""
    times = {
        "Repetition Time": stated.repetition_ms,
        "Echo Time": stated.echo_ms,
        "Inversion Time": stated.inversion_ms,
    }
    known = {
        name: time
        for name, time in times.items()
        if time is not None and 0 < time <= _MAX_TIMES[name]
    }
    sequence = _of_times(
        stated.scanning,
        stated.variant,
        known.get("Repetition Time"),
        known.get("Echo Time"),
        known.get("Inversion Time"),
    )
    if sequence is None:
        return None, []
    reasons = [f"{name} is {time:g} ms" for name, time in known.items()]
    if stated.scanning:
        reasons.insert(0, f"Scanning Sequence is {', '.join(sorted(stated.scanning))}")
    return sequence, reasons


def _of_times(
    scanning: frozenset[str],
    variant: frozenset[str],
    repetition: float | None,
    echo: float | None,
    inversion: float | None,
) -> MrSequence | None:
    if "EP" in scanning:
        return MrSequence.OTHER
    if "IR" in scanning or inversion is not None:
        found = _of_inversion(scanning, repetition, echo, inversion)
        if found is not None or "IR" in scanning:
            return found
    if echo is None or repetition is None:
        return None
    if "GR" in scanning and "SE" not in scanning:
        if echo >= _MIN_T2_STAR_ECHO:
            return MrSequence.OTHER
        spoiled = bool({"SP", "MP"} & variant) and "SS" not in variant
        return MrSequence.T1 if spoiled and echo <= _MAX_T1_GRADIENT_ECHO else None
    if "SE" not in scanning:
        return None
    if echo <= _MAX_T1_ECHO and repetition <= _MAX_T1_REPETITION:
        return MrSequence.T1
    if echo >= _MIN_T2_ECHO and repetition >= _MIN_T2_REPETITION:
        return MrSequence.T2
    return None


def _of_inversion(
    scanning: frozenset[str],
    repetition: float | None,
    echo: float | None,
    inversion: float | None,
) -> MrSequence | None:
    if echo is None:
        return None
    if inversion is None:
        long = echo >= _MIN_T2_ECHO and (repetition or 0) >= _MIN_FLAIR_REPETITION
        return MrSequence.FLAIR if long else None
    if inversion >= _MIN_FLAIR_INVERSION:
        return MrSequence.FLAIR if echo >= _MIN_T2_ECHO else None
    if inversion < _MIN_T1_INVERSION and "GR" not in scanning:
        # Short: fat is nulled.
        return MrSequence.OTHER
    return MrSequence.T1 if echo <= _MAX_T1_ECHO else None


def _contrast(
    stated: SequenceEvidence, named: Mapping[str, Words]
) -> tuple[bool | None, list[str]]:
    """Return whether a contrast agent was given: a name's words first.

    An agent is often entered for the whole study, its slices before the injection too.
    """
    for source, words in named.items():
        if words.contrast is not None:
            return words.contrast, _reasons(source, words.contrast_words)
    if stated.contrast_agent is None:
        return None, []
    how = "says that an agent was given" if stated.contrast_agent else "says that none was given"
    return stated.contrast_agent, [f"{stated.contrast_source} {how}"]


def _reasons(source: str, words: Iterable[str]) -> list[str]:
    return [f"{source} has the word {word}" for word in words]
