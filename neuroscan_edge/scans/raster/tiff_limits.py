"""Bounds on a TIFF's directories, before any library follows them.

A few kilobytes can chain directories by the million, hold tens of thousands of entries in each, and
let every entry name the whole file as its value: what a reader then spends has no relation to the
size of the file. EXIF is built alike.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError

MOST_ENTRIES = 1 << 16
"""Entries of all directories together."""

MOST_VALUE_BYTES = 1 << 24
"""Bytes that all entries together name as their values, pixels not among them."""

MOST_STRIPS = 1 << 16
"""Strips or tiles of one page."""

# By the first four bytes: what counts a directory's entries.
_VERSIONS = {b"II*\0": "H", b"MM\0*": "H", b"II+\0": "Q", b"MM\0+": "Q"}

# By field type, TIFF 6.0 and BigTIFF; a reader passes over entries of others.
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_UNIT_BYTES |= {16: 8, 17: 8, 18: 8}
_STRIP_TAGS = frozenset({273, 279, 324, 325})


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a directory of the chain lies, and which of its entries cannot be read.

    Parameters
    ----------
    offset : int
        In the file.
    unreadable : frozenset of int
        Tags whose field type is unknown, or whose value lies beyond the file.
    """

    offset: int
    unreadable: frozenset[int]


@dataclass(frozen=True, slots=True)
class Chain:
    """The directories of a TIFF.

    Parameters
    ----------
    directories : tuple of Directory
        In order, each once.
    broken : bool
        Whether the last of them names one that is not in the file.
    """

    directories: tuple[Directory, ...]
    broken: bool


@dataclass(frozen=True, slots=True)
class _Layout:
    """How directories are written: classic TIFF or BigTIFF, in one byte order."""

    first: str
    first_at: int
    count: str
    entry: str
    following: str
    inline_bytes: int


def _layouts(data: bytes) -> Iterator[_Layout]:
    """Yield how a reader may take the header: some look for BigTIFF's 43 in one byte only."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 16:
        return
    if 43 in data[2:4]:
        yield _Layout(f"{order}Q", 8, f"{order}Q", f"{order}HHQQ", f"{order}Q", 8)
    if data[2] != 43:
        yield _Layout(f"{order}I", 4, f"{order}H", f"{order}HHII", f"{order}I", 4)


def check_directories(data: bytes, most_pages: int) -> Chain:
    """Refuse a TIFF whose directories would cost more than any real one's.

    A chain that leads back ends where it does.

    Parameters
    ----------
    data : bytes
        The file, or an EXIF block without its prefix.
    most_pages : int
        Directories allowed in the chain.

    Returns
    -------
    Chain
        Of the layout that the header names; empty where it is none of a TIFF.

    Raises
    ------
    ScanTooLargeError
        If there are more pages.
    CorruptScanError
        If entries, their values or the strips exceed the bounds.
    """
    chain = Chain((), broken=False)
    for layout in _layouts(data):
        found = _checked_chain(data, layout, most_pages)
        if _VERSIONS.get(bytes(data[:4])) == layout.count[1:]:
            chain = found
    return chain


def _checked_chain(data: bytes, layout: _Layout, most_pages: int) -> Chain:
    entries = value_bytes = 0
    found: dict[int, Directory] = {}
    (place,) = struct.unpack_from(layout.first, data, layout.first_at)
    while place and place not in found:
        if place + struct.calcsize(layout.count) > len(data):
            return Chain(tuple(found.values()), broken=True)
        if len(found) == most_pages:
            raise ScanTooLargeError(
                f"the TIFF has more than {most_pages} pages, the limit: split the file"
            )
        (count,) = struct.unpack_from(layout.count, data, place)
        start = place + struct.calcsize(layout.count)
        entries += count
        if entries > MOST_ENTRIES:
            raise CorruptScanError(
                f"the image's directories hold {entries} entries or more, the limit is "
                f"{MOST_ENTRIES}; export the slice again"
            )
        size, unreadable = _check_values(data, start, count, layout)
        value_bytes += size
        if value_bytes > MOST_VALUE_BYTES:
            raise CorruptScanError(
                f"the image's directories name {value_bytes} bytes of values or more, the limit is "
                f"{MOST_VALUE_BYTES}; export the slice again"
            )
        found[place] = Directory(place, unreadable)
        end = start + count * struct.calcsize(layout.entry)
        if end + struct.calcsize(layout.following) > len(data):
            # A directory that is cut itself is its own fault, not one of what follows.
            return Chain(tuple(found.values()), broken=end <= len(data))
        (place,) = struct.unpack_from(layout.following, data, end)
    return Chain(tuple(found.values()), broken=False)


def _check_values(
    data: bytes, start: int, count: int, layout: _Layout
) -> tuple[int, frozenset[int]]:
    """Return the bytes that a directory's entries name, and the tags that cannot be read."""
    size = struct.calcsize(layout.entry)
    whole = min(count, (len(data) - start) // size)
    total = 0
    unreadable = set()
    for tag, kind, number, offset in struct.iter_unpack(
        layout.entry, data[start : start + whole * size]
    ):
        if tag in _STRIP_TAGS and number > MOST_STRIPS:
            raise CorruptScanError(
                f"a page of the image has {number} strips, the limit is {MOST_STRIPS}; "
                "export the slice again"
            )
        stated = number * _UNIT_BYTES.get(kind, 0)
        if stated > layout.inline_bytes:
            total += min(stated, max(len(data) - offset, 0))
        if not stated or (stated > layout.inline_bytes and offset + stated > len(data)):
            unreadable.add(tag)
    return total, frozenset(unreadable)
