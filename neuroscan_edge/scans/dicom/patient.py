"""Sex and age decade of a slice's patient, read from the header when they are asked for.

Nothing of it is kept: a summary counts, and no row of results holds it.
"""

import hashlib
import io
import re
import stat
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from neuroscan_edge.scans.dicom.signature import is_dicom

NOT_TOLD = "not told"
SEXES = {"F": "female", "M": "male", "O": "other"}
DECADES = (*(f"{low} to {low + 9}" for low in range(0, 90, 10)), "90 and over")

_HEAD_BYTES = 4 << 20
_OLDEST = 130
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_PATIENT_AGE = 0x00101010
_TAGS = {
    "StudyDate": 0x00080020,
    "SeriesDate": 0x00080021,
    "AcquisitionDate": 0x00080022,
    "PatientID": 0x00100020,
    "IssuerOfPatientID": 0x00100021,
    "PatientBirthDate": 0x00100030,
    "PatientSex": 0x00100040,
    "PatientAge": _PATIENT_AGE,
}
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate")
_AGE = re.compile(r"^(\d{3})([DWMY])$")
_UNITS_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True, slots=True)
class Demographics:
    """Of one file's patient.

    Parameters
    ----------
    sex : str
        ``female``, ``male``, ``other`` or ``not told``.
    decade : str
        ``40 to 49``, ``90 and over`` or ``not told``.
    person : bytes or None
        Tells patients apart within one run, and nothing else: a keyed hash.
    """

    sex: str = NOT_TOLD
    decade: str = NOT_TOLD
    person: bytes | None = None


def read_demographics(path: Path, key: bytes) -> Demographics | None:
    """Read a file's header up to the patient's age; None if there is no such file.

    Parameters
    ----------
    path : Path
        A raster image, a damaged or a deflated DICOM file tells nothing.
    key : bytes
        Of the hash, at most 64 bytes; new for each run.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return None
    if not is_dicom(path, head[:132]) or _DEFLATED in head[:4096]:
        return Demographics()
    # Imported only when needed: pydicom costs a third of a second at start-up.
    from pydicom.filereader import read_partial

    from neuroscan_edge.scans.quiet import quiet

    with quiet:
        try:
            dataset = read_partial(
                io.BytesIO(head),
                stop_when=lambda tag, vr, length: tag > _PATIENT_AGE,
                specific_tags=[*_TAGS.values()],
                force=True,
            )
            values = {keyword: str(dataset.get(keyword) or "").strip() for keyword in _TAGS}
        except Exception:
            # Whatever a parser raises on a damaged header, its message may quote it.
            return Demographics()
    return Demographics(_sex(values), _decade(values), _person(values, key))


def _sex(values: dict[str, str]) -> str:
    return SEXES.get(values["PatientSex"].upper(), NOT_TOLD)


def _decade(values: dict[str, str]) -> str:
    years = _stated_age(values["PatientAge"])
    if years is None:
        born = _date(values["PatientBirthDate"])
        taken = next((found for name in _DATES if (found := _date(values[name])) is not None), None)
        if born is None or taken is None:
            return NOT_TOLD
        years = taken.year - born.year - ((taken.month, taken.day) < (born.month, born.day))
    if not 0 <= years <= _OLDEST:
        return NOT_TOLD
    return DECADES[min(int(years // 10), len(DECADES) - 1)]


def _stated_age(text: str) -> float | None:
    found = _AGE.match(text)
    return int(found[1]) / _UNITS_A_YEAR[found[2]] if found else None


def _date(text: str) -> date | None:
    if not re.fullmatch(r"\d{8}", text, re.ASCII):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _person(values: dict[str, Any], key: bytes) -> bytes | None:
    if not values["PatientID"]:
        return None
    return keyed(f"{values['IssuerOfPatientID']}\0{values['PatientID']}", key)


def keyed(text: str, key: bytes) -> bytes:
    """Hash a text with a key that is forgotten after the run, 8 bytes."""
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(data, key=key, digest_size=8).digest()
