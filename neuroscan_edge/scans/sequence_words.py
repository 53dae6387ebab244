"""Known words in the names that people give to MR series, in the languages of many sites.

A name is free text and may hold a person's: what is found in it is reported by the known word that
matched, never by the text.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from neuroscan_edge.spec import MrSequence

_MAX_TEXT = 256


def _word(pattern: str) -> str:
    """Let a pattern match whole words, planes and dimensions joined on to them or not."""
    joined = r"(?:(?:AXI?|AXIAL|TRA|TRANS|SAG|COR|OBL|3D|2D)(?=[A-Z]))?"
    return rf"(?<![A-Z0-9]){joined}(?:{pattern})(?![A-Z0-9])"


def _beginning(pattern: str) -> str:
    """Let a pattern match the beginning of a word: a site's own letters may follow."""
    return _word(pattern).removesuffix("(?![A-Z0-9])")


# The known word, and what it looks like in capitals without accents, words apart by one blank.
_FLAIR = {
    "FLAIR": r"FLAIR",
    "DARK FLUID": r"DARK ?FL(?:UID)?|FLUIDO (?:OSCURO|SCURO|ESCURO)",
    "FLUID ATTENUATED": r"FLUID ATT|LIQUOR ?(?:UNTERDRUCK|SUPPR)",
    "T2F": _word("T2F"),
}
_T1 = {
    "T1": _beginning(r"T1(?![0-9]| ?RHO| ?MAP)"),
    "MPRAGE": r"MP2? ?RAGE",
    "BRAVO": _word("BRAVO"),
    "SPGR": r"SPGR",
    "VIBE": _word("VIBE"),
    "THRIVE": _word("E?THRIVE"),
    "TFL": _word("TFL(?:[23]D)?[0-9]?"),
}
_T2 = {"T2": _beginning(r"T2(?![0-9]| ?STAR|S(?![A-Z])| ?MAP)")}
_PROTON_DENSITY = "proton density"
_OTHER = {
    "diffusion": _word(
        r"DWI|DIFF(?:US(?:ION|IONE|IE)?)?|DIFUS(?:ION|AO)|DTI|E?ADC|TRACEW?|TENSOR|IVIM|"
        r"B ?(?:500|800|1000|1500|2000)"
    ),
    "perfusion": _word(r"PERF(?:US(?:ION|AO|IONE|IE)?)?|PWI|DSC|DCE|P?C?ASL|R?CB[FV]|MTT|TTP|TMAX"),
    "susceptibility": _word(
        r"SWI|SWAN|SWIP|VEN ?BOLD|HEMO|T2 ?STAR[A-Z]*|T2S|T2W? FFE|QSM|SUSC[A-Z]*"
    ),
    "angiography": _word(r"TOF[0-9]?|MR[AV]|CEMR[AV]|ANGIO[A-Z]*|TRICKS|TWIST"),
    _PROTON_DENSITY: _word(r"PDW?|PROTON|DP"),
    "STIR": _word("STIR"),
    "spectroscopy": _word(r"(?:SPECT|ESPECT|SPEKT)R[A-Z]*|MRS|CSI|SVS"),
    "steady state": _word(r"FIESTA|CISS|TRU ?FISP|TRUFI|B ?FFE"),
    "function": _word(r"BOLD|FMRI|RESTING"),
    "flow": _word(r"FLOW|PHASE CONTRAST|PC ANGIO"),
    "localizer": _word(
        r"LOCALI[SZ][A-Z]*|LOKALI[SZ][A-Z]*|SCOUT|SURVEY|LOC|3 ?PL(?:ANE)?|TOPOGRAM|REPERAGE"
    ),
    "computed": _word(r"MIN?IP|SUB(?! \w*[0-9])|SUBS?TR[A-Z]*|MAP(?:PING)?|T1 ?RHO|MTR"),
}
_AGENTS = (
    r"GADO[A-Z]*|GADAVIST|DOTAREM|CLARISCAN|MAGNEVIST|PROHANCE|MULTIHANCE|OMNISCAN|VUEWAY|"
    r"ELUCIREM|PRIMOVIST|ARTIREM|GD|GAD"
)
_CONTRAST = rf"{_AGENTS}|KM|CM|MDC|CIV|CE|INJ[A-Z]*|KONTRAS[A-Z]*|CONTRAS[A-Z]*|TEHOST[A-Z]*"
_CYRILLIC = r"КОНТРАСТ[А-Я]*|КУ"
_WITHOUT = (
    r"WITHOUT|W ?O|NO|NON|NONE|OHNE|SANS|SENZA|SIN|SEM|ZONDER|UTEN|UTAN|UDEN|BEZ|AVANT|PRIMA|ANTES|"
    r"VOR|BEFORE"
)
_AFTER = r"POST|POS|APOS|APRES|DOPO|TRAS|NACH|EFTER|ETTER|NA|PO"
_NOT_THE_AGENT = r"(?! ?(?:FOSSA|OP|SURG|TREAT|THERAP|RT|TRAUMA|PROC|ICTAL))"
_NATIVE = {
    "without contrast": _word(rf"(?:{_WITHOUT})(?: [A-Z]+)?? (?:{_CONTRAST}|C)|KONTRASTSIZ|W ?O"),
    "native": _word(r"NATIV[A-Z]*|NATIF|UNENHANCED|NONCONTRAST|NCE|T1N"),
    "pre-contrast": _word(rf"PRE{_NOT_THE_AGENT}(?: ?(?:{_CONTRAST}|C))?"),
    "БЕЗ КУ": rf"БЕЗ (?:{_CYRILLIC})",
    "平扫": r"平扫|单纯",
}
_GIVEN = {
    "post-contrast": _word(rf"(?:{_AFTER}) ?(?:{_CONTRAST}|C)"),
    "post": _word(rf"POST{_NOT_THE_AGENT}"),
    "contrast agent": _word(rf"(?:T1W?|MPRAGE)?(?:{_AGENTS})"),
    "with contrast": r"(?<!PHASE )" + _word(rf"(?!CM|CE)(?:{_CONTRAST})"),
    "T1C": _word(r"T1W?(?:C|CE|KM)|T1W? (?:CE|KM)"),
    "+C": r"\+ ?C(?![A-Z0-9])|(?<![A-Z0-9])C ?\+",
    "КУ": rf"(?<!\w)(?:{_CYRILLIC})(?!\w)",
    "增强": r"增强|增強|造影",
}
_BOTH = re.compile(
    _word(
        rf"PRE (?:AND|UND|ET|E|Y|U|\+)? ?(?:{_AFTER})|W ?W ?O|WITH AND WITHOUT|W AND W ?O|"
        r"MIT UND OHNE|AVEC ET SANS|CON Y SIN"
    )
)
_OF = {
    MrSequence.FLAIR: _FLAIR,
    MrSequence.T1: _T1,
    MrSequence.T2: _T2,
    MrSequence.OTHER: _OTHER,
}


@dataclass(frozen=True, slots=True)
class Words:
    """Known words of a name.

    Parameters
    ----------
    sequences : mapping of MrSequence to tuple of str
        Words that stand for T1, T2, FLAIR or another sequence; none of them may be there.
    contrast : bool or None
        Whether a contrast agent was given by its words; None if they say nothing or both.
    contrast_words : tuple of str
        The first of those.
    """

    sequences: Mapping[MrSequence, tuple[str, ...]]
    contrast: bool | None
    contrast_words: tuple[str, ...]

    @property
    def is_double_echo(self) -> bool:
        """Whether the name is that of a series of two echoes, proton density and T2."""
        other = self.sequences[MrSequence.OTHER]
        return bool(self.sequences[MrSequence.T2]) and other == (_PROTON_DENSITY,)


@lru_cache(maxsize=256)
def words_in(name: str) -> Words:
    """Look for known words in the name of a series, a protocol, a sequence or a file."""
    plain = _plain(name[:_MAX_TEXT])
    found = {sequence: _matches(table, plain) for sequence, table in _OF.items()}
    if _BOTH.search(plain):
        return Words(found, None, ())
    native = _matches(_NATIVE, plain)
    for pattern in _NATIVE.values():
        plain = re.sub(pattern, " ", plain)
    given = _matches(_GIVEN, plain)
    if native and given:
        return Words(found, None, ())
    return Words(found, False if native else True if given else None, (native or given)[:1])


def _matches(table: Mapping[str, str], plain: str) -> tuple[str, ...]:
    return tuple(word for word, pattern in table.items() if re.search(pattern, plain))


def _plain(name: str) -> str:
    """Write a name in capitals without accents, its words apart by one blank; ``+`` is kept."""
    letters = unicodedata.normalize("NFKD", name.replace("ß", "SS"))
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter)).upper()
    # A keyboard's other letter, before the digit.
    kept = re.sub(r"Т(?=[12])", "T", kept)
    kept = re.sub(r"T2 ?W? ?\*", "T2STAR", kept)
    return " ".join(re.findall(r"[^\W_]+|\+", kept))
