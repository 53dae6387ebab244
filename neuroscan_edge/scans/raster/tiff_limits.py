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

# By field type, TIFF 6.0 and BigTIFF; a reader passes over entries of others.
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_UNIT_BYTES |= {16: 8, 17: 8, 18: 8}
_STRIP_TAGS = frozenset({273, 279, 324, 325})


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


def check_directories(data: bytes, most_pages: int) -> None:
    """Refuse a TIFF whose directories would cost more than any real one's.

    A chain that is broken, or leads back, ends where it does: whoever reads the page says so.

    Parameters
    ----------
    data : bytes
        The file, or an EXIF block without its prefix.
    most_pages : int
        Directories allowed in the chain.

    Raises
    ------
    ScanTooLargeError
        If there are more pages.
    CorruptScanError
        If entries, their values or the strips exceed the bounds.
    """
    for layout in _layouts(data):
        _check_chain(data, layout, most_pages)


def _check_chain(data: bytes, layout: _Layout, most_pages: int) -> None:
    entries = value_bytes = 0
    seen: set[int] = set()
    (place,) = struct.unpack_from(layout.first, data, layout.first_at)
    while place and place not in seen and place + struct.calcsize(layout.count) <= len(data):
        seen.add(place)
        if len(seen) > most_pages:
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
        value_bytes += _value_bytes(data, start, count, layout)
        if value_bytes > MOST_VALUE_BYTES:
            raise CorruptScanError(
                f"the image's directories name {value_bytes} bytes of values or more, the limit is "
                f"{MOST_VALUE_BYTES}; export the slice again"
            )
        end = start + count * struct.calcsize(layout.entry)
        if end + struct.calcsize(layout.following) > len(data):
            return
        (place,) = struct.unpack_from(layout.following, data, end)


def _value_bytes(data: bytes, start: int, count: int, layout: _Layout) -> int:
    size = struct.calcsize(layout.entry)
    whole = min(count, (len(data) - start) // size)
    total = 0
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
    return total
