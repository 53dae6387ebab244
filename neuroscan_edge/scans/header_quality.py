"""Judging a slice by what its file says: modality, image type, body part, annotation, colour.

What a header leaves out says nothing. Values are compared without regard to case and to how words
are joined: sites and vendors write PHASE MAP, PHASE_MAP and Phase-Map.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from neuroscan_edge.scans.scan import SourceFacts
from neuroscan_edge.spec import Finding

_LOCALIZER_WORDS = frozenset({"LOCALIZER", "LOCALISER", "SCOUT", "SURVEY", "TOPOGRAM", "SCANOGRAM"})

# PS3.3, C.8.3.1.1.1 and C.8.13.3.1, and what vendors write beside it: values that name something
# computed from slices, which looks unlike them, whether or not value 1 owns to being DERIVED.
_DIFFUSION = (
    *("ADC", "ADC MAP", "APPARENT DIFFUSION COEFFICIENT", "EADC", "EXP ADC", "DIFFUSION MAP"),
    *("DIFFUSION ANISO", "FA", "FA MAP", "FRACTIONAL ANISO", "FRACTIONAL ANISOTROPY"),
    *("COLFA", "COLOR FA", "TENSOR"),
)
_PERFUSION = (
    *("CBF", "RCBF", "RELCBF", "CBV", "RCBV", "RELCBV", "MTT", "RMTT", "RELMTT"),
    *("TTP", "TMAX", "PBP", "GBP"),
)
_MAPS = (
    *("P", "PHASE", "PHASE MAP", "PHASE SUBTRACT", "PHASE SUBTRACTION", "VELOCITY"),
    *("VELOCITY MAP", "FLOW MAP", "DENSITY MAP", "METABOLITE MAP", "FAT FRACTION", "BOLD MAP"),
    *("T1 MAP", "T2 MAP", "T2 STAR MAP", "T2STAR MAP", "R2 MAP", "R2STAR MAP", "T TEST"),
    *("B0 MAP", "B1 MAP", "FIELD MAP"),
)
_SUMS = (
    *("IMAGE ADDITION", "MODULUS SUBTRACT", "SUB", "SUBTRACT", "SUBTRACTED", "SUBTRACTION"),
    *("DIVISION", "STD DEVIATION", "MAX IP", "MIN IP", "MAXIMUM", "MINIMUM"),
    *("PROJECTION", "PROJECTION IMAGE"),
)
_PAGES = (
    *("VOLUME RENDERED", "VOLUME RENDERING", "3D RENDERING", "MOSAIC", "CSA REPORT", "REPORT"),
    *("POSDISP", "SCREEN SAVE", "SCREENSHOT", "SCREEN CAPTURE"),
)
_COMPUTED_VALUES = frozenset({*_DIFFUSION, *_PERFUSION, *_MAPS, *_SUMS, *_PAGES})
# Telling wherever they stand in a value: CSA MIP, MIP SAG.
_COMPUTED_WORDS = frozenset({"MIP", "MINIP", "MNIP", "VRT", "SSD"})

_SAYS_NOTHING = frozenset(
    {"", "UNKNOWN", "OTHER", "NONE", "N A", "NA", "UNSPECIFIED", "WHOLEBODY", "WHOLE BODY"}
)
# PS3.16, annex L, and the words of other languages that sites type in.
_HEAD_BEGINNINGS = (
    *("HEAD", "BRAIN", "SKULL", "CRANI", "INTRACRAN", "CEREB", "ENCEPH", "NEURO", "ORBIT", "IAC"),
    *("PITUIT", "HYPOPHYS", "SELLA", "CIRCLEOFWILLIS"),
    *("KOPF", "SCHADEL", "SCHAEDEL", "HIRN", "GEHIRN", "TETE", "CRANE", "CERVEAU", "ENCEF"),
    *("CABEZA", "CABECA", "TESTA", "CERVELLO", "HOOFD", "HERSENEN", "HJERN", "HJARN", "HUVUD"),
)
_NOT_A_HEAD = frozenset(
    {"FEMUR", "FEMORAL", "FEMORIS", "HUMERUS", "HUMERAL", "RADIUS", "RADIAL", "FIBULA", "FIBULAR"}
)


def header_findings(facts: SourceFacts) -> Iterator[Finding]:
    """Yield what is wrong with a slice by its file's word."""
    modality = (facts.modality or "").strip().upper()
    if modality and modality != "MR":
        yield Finding.NOT_MR
    image_type = [_plain(value) for value in facts.image_type]
    if _is_localizer(image_type):
        yield Finding.LOCALIZER
    if _is_computed(image_type):
        yield Finding.COMPUTED
    elif image_type[:1] == ["DERIVED"]:
        yield Finding.DERIVED
    if not _may_be_head(_plain(facts.body_part or "")):
        yield Finding.NOT_HEAD
    if facts.colour:
        yield Finding.COLOUR
    if facts.burned_in_annotation:
        yield Finding.BURNED_IN_ANNOTATION


def names_no_original(image_type: Iterable[str]) -> bool:
    """Whether an image type is that of a localizer or of something computed from slices."""
    plain = [_plain(value) for value in image_type]
    return _is_localizer(plain) or _is_computed(plain)


def _is_localizer(image_type: Iterable[str]) -> bool:
    return any(_LOCALIZER_WORDS.intersection(value.split()) for value in image_type)


def _is_computed(image_type: Iterable[str]) -> bool:
    return any(
        value in _COMPUTED_VALUES or _COMPUTED_WORDS.intersection(value.split())
        for value in image_type
    )


def _may_be_head(body_part: str) -> bool:
    words = body_part.split()
    if body_part in _SAYS_NOTHING:
        return True
    if _NOT_A_HEAD.intersection(words):
        # The head of a bone.
        return False
    return any(word.startswith(beginning) for word in words for beginning in _HEAD_BEGINNINGS)


def _plain(value: str) -> str:
    """Write a header's value in capitals without accents, its words apart by one space."""
    letters = unicodedata.normalize("NFKD", value)
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.findall(r"[A-Z0-9]+", kept.upper()))
