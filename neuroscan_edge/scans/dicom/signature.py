"""Recognising DICOM files by how they begin, without importing pydicom."""

import struct
from pathlib import Path

from neuroscan_edge.scans.raster import signature as raster_signature

SUFFIXES = frozenset({".dcm", ".dicom"})
HEAD_BYTES = 512
"""What is read of a file to recognise it."""

_VALUE_REPRESENTATIONS = frozenset(
    b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR "
    b"US UT UV".split()
)
# They have two reserved bytes and a length of four.
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_FIRST_GROUPS = frozenset({0x0002, 0x0008})
# Group length to SOP Instance UID: no data set of an image begins behind them.
_LAST_FIRST_ELEMENT = 0x0018
_ELEMENTS_WANTED = 2
_LONGEST_VALUE = 1024
_DIRECTORY_CLASS = b"1.2.840.10008.1.3.10\0"
# (0002,0002) UI, Media Storage SOP Class UID.
_CLASS_ELEMENT = b"\x02\x00\x02\x00UI"


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file is read as DICOM rather than as a raster image.

    Parameters
    ----------
    path : Path
        Its name decides only where the content does not.
    head : bytes
        Its first `HEAD_BYTES`, if it has as many.
    """
    # A DICOM file may begin as a TIFF does (PS3.10, 7.1): its own prefix decides first.
    if has_signature(head):
        return True
    if raster_signature.has_signature(head):
        return False
    return path.suffix.lower() in SUFFIXES or starts_as_data_set(head)


def has_signature(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are a DICOM preamble and prefix (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def starts_as_data_set(head: bytes) -> bool:
    """Whether a file without the prefix begins as a DICOM data set does.

    Wanted are two whole elements in ascending order, the first one of the first that a data set
    or its meta information has: explicit little or big endian, or implicit little endian.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` of the file, if it has as many.
    """
    return (
        _elements(head, "<", explicit=True)
        or _elements(head, ">", explicit=True)
        or _elements(head, "<", explicit=False)
    )


def is_directory(head: bytes) -> bool:
    """Whether a file is a DICOMDIR: not an image, but the list of a medium's files.

    Parameters
    ----------
    head : bytes
        The first `HEAD_BYTES` of the file, if it has as many.
    """
    at = head.find(_CLASS_ELEMENT, 132)
    return has_signature(head) and at > 0 and head[at + 8 :].startswith(_DIRECTORY_CLASS[:-1])


def _elements(head: bytes, order: str, *, explicit: bool) -> bool:
    at, found, last = 0, 0, (0, -1)
    while found < _ELEMENTS_WANTED and at + 12 <= len(head):
        tag = struct.unpack_from(order + "HH", head, at)
        if tag <= last or (not found and not _may_be_first(tag)):
            return False
        if not explicit:
            (length,) = struct.unpack_from(order + "I", head, at + 4)
            header = 8
        elif (representation := head[at + 4 : at + 6]) not in _VALUE_REPRESENTATIONS:
            return False
        elif representation in _LONG:
            (length,) = struct.unpack_from(order + "I", head, at + 8)
            header = 12
        else:
            (length,) = struct.unpack_from(order + "H", head, at + 6)
            header = 8
        if length % 2 or length > _LONGEST_VALUE:
            return False
        at, found, last = at + header + length, found + 1, tag
    return found == _ELEMENTS_WANTED


def _may_be_first(tag: tuple[int, ...]) -> bool:
    return tag[0] in _FIRST_GROUPS and tag[1] <= _LAST_FIRST_ELEMENT
