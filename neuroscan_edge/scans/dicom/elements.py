"""Values of DICOM elements, read so that an error names the element and never quotes its value.

A header comes from any writer: numbers may be missing, empty, of another value representation or
no numbers at all. Each function reads the element's own bytes and says what is wrong with it.
"""

import re
import struct
from collections.abc import Sequence
from typing import Any

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from neuroscan_edge.errors import CorruptScanError

_BINARY = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
# Which of two representations a value has depends on another element: read as unsigned.
_AMBIGUOUS = {"US or SS": "US", "US or SS or OW": "US", "US or OW": "US"}
# `float` also takes underscores, letters and digits of other scripts.
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_VALUES = 64


def named(keyword: str) -> str:
    """Name an element as the standard does, such as ``Window Center (0028,1050)``."""
    tag = Tag(keyword)
    return f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"


def is_stated(dataset: Dataset, keyword: str) -> bool:
    """Whether an element is there and not empty."""
    element = _element(dataset, keyword)
    return element is not None and element.value not in (None, b"", "", [])


def required_number(dataset: Dataset, keyword: str) -> int:
    """Return the one whole number of an element.

    Raises
    ------
    CorruptScanError
        If it is missing, empty, not a whole number or not a single one.
    """
    number = whole_number(dataset, keyword)
    if number is None:
        how = "is missing" if _element(dataset, keyword) is None else "is empty"
        raise CorruptScanError(f"{named(keyword)} {how}; export the image again")
    return number


def whole_number(dataset: Dataset, keyword: str) -> int | None:
    """Return the one whole number of an element; None if it is missing or empty.

    Raises
    ------
    CorruptScanError
        If it is not a whole number or not a single one.
    """
    numbers = decimals(dataset, keyword)
    if not numbers:
        return None
    if len(numbers) > 1:
        raise CorruptScanError(
            f"{named(keyword)} has {len(numbers)} values; it needs one: export the image again"
        )
    (number,) = numbers
    if number is None or not number.is_integer():
        raise CorruptScanError(f"{named(keyword)} is no whole number; export the image again")
    return int(number)


def decimals(dataset: Dataset, keyword: str) -> list[float | None]:
    """Return the numbers of an element, None in place of each that is empty or no number.

    A missing or wholly empty element has none. Text in place of a number, such as a decimal comma,
    is not guessed at.
    """
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return []
    if not isinstance(element, RawDataElement):
        values = element.value
        several = isinstance(values, MultiValue | list | tuple)
        return [_decimal(str(each)) for each in (values if several else [values])]
    kind = _BINARY.get(_representation(element))
    if kind is None:
        text = element.value.decode("latin-1").rstrip("\0 ")
        return [_decimal(part) for part in text.split("\\", _MAX_VALUES)] if text else []
    order = "<" if element.is_little_endian else ">"
    size = struct.calcsize(kind)
    if len(element.value) % size:
        return [None]
    count = min(len(element.value) // size, _MAX_VALUES)
    return [float(each) for each in struct.unpack_from(f"{order}{count}{kind}", element.value)]


def rescale_number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first number of an element; None if it is missing or empty.

    Raises
    ------
    CorruptScanError
        If there is something else in its place.
    """
    numbers = decimals(dataset, keyword)
    if not numbers:
        return None
    if numbers[0] is None:
        raise CorruptScanError(
            f"{named(keyword)} is no number (a decimal comma is none); export the image again"
        )
    return numbers[0]


def unsigned_words(dataset: Dataset, keyword: str) -> list[int] | None:
    """Return an element of 16-bit words as unsigned numbers, whatever sign it was written with.

    Returns None if the element is missing or of another kind.
    """
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return None
    if isinstance(element, RawDataElement):
        data = element.value
        if len(data) % 2:
            return None
        order = "<" if element.is_little_endian else ">"
        count = min(len(data) // 2, _MAX_VALUES)
        return list(struct.unpack_from(f"{order}{count}H", data))
    values = element.value
    try:
        several = isinstance(values, MultiValue | list | tuple)
        return [int(each) & 0xFFFF for each in (values if several else [values])]
    except (TypeError, ValueError):
        return None


def items(dataset: Dataset, keyword: str) -> Sequence[Dataset]:
    """Return the items of a sequence; none if it is missing or empty.

    Raises
    ------
    CorruptScanError
        If the element is no sequence, or cannot be parsed as one.
    """
    if keyword not in dataset:
        return []
    try:
        value = dataset[keyword].value
    except Exception:
        # Whatever a parser raises on damaged items; its message may quote them.
        value = None
    if value is None or value == "" or value == b"":
        return []
    if not isinstance(value, Sequence) or not all(isinstance(each, Dataset) for each in value):
        raise CorruptScanError(f"{named(keyword)} is no sequence of items; export the image again")
    return value


def texts(dataset: Dataset, keyword: str) -> list[str]:
    """Return the values of a text element without the blanks around them; none if it has none."""
    element = _element(dataset, keyword)
    if element is None or element.value is None:
        return []
    if not isinstance(element, RawDataElement):
        values = element.value
        several = isinstance(values, MultiValue | list | tuple)
        parts = [str(each) for each in (values if several else [values])]
    else:
        parts = _decoded(element, dataset).split("\\", _MAX_VALUES)
    found = [part.strip("\0 \t\r\n") for part in parts]
    return found if any(found) else []


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value of a text element; an empty text if there is none."""
    values = texts(dataset, keyword)
    return values[0] if values else ""


def _decoded(element: RawDataElement, dataset: Dataset) -> str:
    data = element.value or b""
    if _representation(element) in {"CS", "UI", "DS", "IS", "AS", "DA", "TM"}:
        return data.decode("latin-1")
    try:
        value = dataset[element.tag].value
    except Exception:
        # An unknown character set; ASCII is the same in nearly all of them.
        return data.decode("latin-1")
    several = isinstance(value, MultiValue | list | tuple)
    return "\\".join(map(str, value)) if several else str(value or "")


def _element(dataset: Dataset, keyword: str) -> Any:
    tag = tag_for_keyword(keyword)
    return None if tag is None else dataset.get_item(tag)


def _representation(element: RawDataElement) -> str:
    if element.VR is not None and element.VR != "UN":
        return str(element.VR)
    found = dictionary_VR(element.tag)
    return _AMBIGUOUS.get(found, found)


def _decimal(value: str) -> float | None:
    value = value.strip("\0 ")
    return float(value) if _DECIMAL.fullmatch(value) else None
