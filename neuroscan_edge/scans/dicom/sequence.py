"""What a DICOM header says of the MR sequence, contrast agent and orientation of a frame."""

import re
from collections.abc import Callable

from pydicom.dataset import Dataset

from neuroscan_edge.scans.dicom.elements import decimals, is_stated, items, text, texts
from neuroscan_edge.scans.header_quality import names_no_original
from neuroscan_edge.scans.orientation import Orientation, from_cosines, from_letters
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.scans.sequence import SequenceEvidence, guess_sequence

Holder = Callable[[str], Dataset]
"""The frame's item of a functional group, else the shared one, else the data set."""

# PS3.3, C.8.3.1.1: values that mean something here; others are not repeated.
_SCANNING = frozenset({"SE", "IR", "GR", "EP", "RM"})
_VARIANTS = frozenset({"SK", "MTC", "SS", "TRSS", "SP", "MP", "OSP"})
# Elements that name a series, and what they are called.
_NAMES = {
    "SeriesDescription": "Series Description",
    "ProtocolName": "Protocol Name",
    "SequenceName": "Sequence Name",
    "PulseSequenceName": "Pulse Sequence Name",
}
_CODE = re.compile(r"[A-Z0-9_]{1,16}")
# Written in place of an agent where there was none.
_NO_AGENT = frozenset(
    {"NO", "NONE", "N", "NON", "NEIN", "NEE", "NEJ", "NIE", "0", "NA", "N A", "NIL", "OHNE", "SANS"}
    | {"SIN", "SENZA", "SEM", "WITHOUT", "W O", "WO", "NATIV", "NATIVE", "UNENHANCED"}
    | {"NO CONTRAST", "NON CONTRAST", "WITHOUT CONTRAST", "WITHOUT IV CONTRAST", "KEIN", "KEINE"}
)
_SAYS_NOTHING = frozenset({"", "UNKNOWN", "OTHER", "UNDEFINED", "NOT SPECIFIED", "X"})


def series_facts(
    dataset: Dataset, holder: Holder, image_type: tuple[str, ...]
) -> SeriesFacts | None:
    """Return what the header says of the frame's series; None if it says nothing.

    Parameters
    ----------
    dataset : Dataset
        The header.
    holder : callable
        Finds the functional groups of the frame.
    image_type : tuple of str
        Of the frame.
    """
    modality = text(dataset, "Modality").upper()
    stated = _evidence(dataset, holder, image_type) if modality in {"", "MR"} else None
    guess = guess_sequence(stated or SequenceEvidence())
    orientation = _orientation(dataset, holder)
    facts = SeriesFacts(
        guess.sequence,
        guess.evidence,
        None if orientation is None else orientation.plane,
        None if orientation is None else orientation.axes,
        guess.contrast_agent,
    )
    return None if facts == SeriesFacts() else facts


def _evidence(dataset: Dataset, holder: Holder, image_type: tuple[str, ...]) -> SequenceEvidence:
    agent, source = _contrast_agent(dataset, holder)
    return SequenceEvidence(
        scanning=_scanning(dataset, holder),
        variant=frozenset(map(str.upper, texts(dataset, "SequenceVariant"))) & _VARIANTS,
        repetition_ms=_number(holder("MRTimingAndRelatedParametersSequence"), "RepetitionTime"),
        echo_ms=_echo_time(dataset, holder),
        inversion_ms=_inversion_time(dataset, holder),
        b_value=_number(holder("MRDiffusionSequence"), "DiffusionBValue"),
        acquisition_contrast=_acquisition_contrast(dataset, holder),
        computed=names_no_original(image_type),
        names={
            name: " ".join(texts(dataset, keyword))
            for keyword, name in _NAMES.items()
            if is_stated(dataset, keyword)
        },
        contrast_agent=agent,
        contrast_source=source,
    )


def _number(holder: Dataset, keyword: str) -> float | None:
    values = decimals(holder, keyword)
    return values[0] if values else None


def _scanning(dataset: Dataset, holder: Holder) -> frozenset[str]:
    stated = frozenset(map(str.upper, texts(dataset, "ScanningSequence"))) & _SCANNING
    if stated:
        return stated
    # Enhanced images say it in other elements (PS3.3, C.8.13.4).
    found = set()
    pulses = text(dataset, "EchoPulseSequence").upper()
    found |= {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(pulses, set())
    if text(dataset, "EchoPlanarPulseSequence").upper() == "YES":
        found.add("EP")
    if text(holder("MRModifierSequence"), "InversionRecovery").upper() == "YES":
        found.add("IR")
    return frozenset(found)


def _echo_time(dataset: Dataset, holder: Holder) -> float | None:
    effective = _number(holder("MREchoSequence"), "EffectiveEchoTime")
    return _number(dataset, "EchoTime") if effective is None else effective


def _inversion_time(dataset: Dataset, holder: Holder) -> float | None:
    # Effective in an enhanced image; a list where several pulses invert.
    times = _number(holder("MRModifierSequence"), "InversionTimes")
    return _number(dataset, "InversionTime") if times is None else times


def _acquisition_contrast(dataset: Dataset, holder: Holder) -> str | None:
    stated = text(holder("MRImageFrameTypeSequence"), "AcquisitionContrast").upper()
    stated = stated or text(dataset, "AcquisitionContrast").upper()
    return stated if _CODE.fullmatch(stated) else None


def _contrast_agent(dataset: Dataset, holder: Holder) -> tuple[bool | None, str]:
    """Return whether an agent was given, and the element that says so."""
    administered = text(holder("ContrastBolusUsageSequence"), "ContrastBolusAgentAdministered")
    if administered.upper() in {"YES", "NO"}:
        return administered.upper() == "YES", "Contrast/Bolus Agent Administered"
    agent = " ".join(re.findall(r"[A-Z0-9]+", text(dataset, "ContrastBolusAgent").upper()))
    if agent in _NO_AGENT:
        return False, "Contrast/Bolus Agent"
    if agent not in _SAYS_NOTHING:
        return True, "Contrast/Bolus Agent"
    if items(dataset, "ContrastBolusAgentSequence"):
        return True, "Contrast/Bolus Agent Sequence"
    for keyword in ("ContrastBolusVolume", "ContrastBolusTotalDose"):
        amount = _number(dataset, keyword)
        if amount is not None and amount > 0:
            return True, "Contrast/Bolus Volume or Total Dose"
    return None, ""


def _orientation(dataset: Dataset, holder: Holder) -> Orientation | None:
    cosines = decimals(holder("PlaneOrientationSequence"), "ImageOrientationPatient")
    found = from_cosines(cosines or decimals(dataset, "ImageOrientationPatient"))
    if found is not None:
        return found
    return from_letters([each.upper() for each in texts(dataset, "PatientOrientation")])
