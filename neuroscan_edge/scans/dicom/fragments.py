"""Which fragments of encapsulated pixel data make up which frame (PS3.5, A.4).

Offset tables in real files are zero, shifted, short or beyond the data. What the fragments hold is
more reliable: a compressed frame begins with a signature that cannot occur inside one. So a table
is used only where the fragments leave a choice, and only if it can be right.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from neuroscan_edge.errors import CorruptScanError

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_HEADER_BYTES = 8


@dataclass(frozen=True, slots=True)
class Fragment:
    """One item of the pixel data.

    Parameters
    ----------
    offset : int
        Of its item tag, in bytes after the basic offset table.
    start, end : int
        Of its value in the pixel data.
    """

    offset: int
    start: int
    end: int


class EncapsulatedFrames:
    """The frames of encapsulated pixel data.

    Parameters
    ----------
    data : bytes
        Value of the Pixel Data element: items, the first of them the basic offset table.
    declared : int or None
        Number of frames by the header; None if it states none.
    begins_frame, ends_frame : callable
        Whether bytes begin, or may end, as a compressed frame does.
    extended_offsets : sequence of int
        Extended Offset Table; empty if there is none.

    Raises
    ------
    CorruptScanError
        If there is no item, or nothing tells which fragments belong together.
    """

    def __init__(
        self,
        data: bytes,
        declared: int | None,
        begins_frame: Callable[[bytes], bool],
        ends_frame: Callable[[bytes], bool],
        extended_offsets: Sequence[int] = (),
    ) -> None:
        self._data = data
        found = _walk(data)
        if not found:
            raise CorruptScanError(
                "the pixel data holds no fragment where the transfer syntax says that it is "
                "compressed; export the image again"
            )
        table, fragments = _split(data, found, begins_frame)
        values = [data[each.start : each.end] for each in fragments]
        pieces = [
            _Piece(each, begins_frame(value), ends_frame(value))
            for each, value in zip(fragments, values, strict=True)
        ]
        self._frames = _grouped(pieces, declared, (table, tuple(extended_offsets)))

    def __len__(self) -> int:
        """Return how many frames the fragments hold."""
        return len(self._frames)

    def __getitem__(self, index: int) -> bytes:
        """Return one compressed frame."""
        return b"".join(self._data[each.start : each.end] for each in self._frames[index])


def _walk(data: bytes) -> list[Fragment]:
    """List the items up to the delimiter, to what is no item or to the end of the data."""
    found = []
    at = 0
    while data[at : at + 4] == _ITEM and at + _HEADER_BYTES <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        start = at + _HEADER_BYTES
        # A file that is cut ends inside an item.
        end = min(start + length, len(data))
        found.append(Fragment(at, start, end))
        at = start + length
    return found


def _split(
    data: bytes, found: list[Fragment], begins_frame: Callable[[bytes], bool]
) -> tuple[tuple[int, ...], list[Fragment]]:
    """Tell the basic offset table from the fragments; some writers leave the table out."""
    first = found[0]
    if begins_frame(data[first.start : first.end]):
        return (), found
    words = (first.end - first.start) // 4
    table = struct.unpack_from(f"<{words}I", data, first.start)
    return table, [Fragment(each.offset - first.end, each.start, each.end) for each in found[1:]]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A fragment, and whether it begins or may end as a frame does."""

    fragment: Fragment
    begins: bool
    ends: bool


def _grouped(
    pieces: list[_Piece], declared: int | None, tables: Sequence[Sequence[int]]
) -> list[list[Fragment]]:
    """Put fragments together to frames."""
    fragments = [piece.fragment for piece in pieces]
    if any(_is_permuted(table, fragments, declared) for table in tables):
        raise CorruptScanError(
            "the offset table gives the frames in another order than the pixel data; "
            "export the image again"
        )
    if declared == len(fragments) and _is_one_each(pieces):
        return [[each] for each in fragments]
    holding = [piece for piece in pieces if piece.fragment.end > piece.fragment.start]
    starts = [index for index, piece in enumerate(holding) if piece.begins]
    if starts[:1] == [0] and _are_all(starts, holding, declared):
        return _cut([piece.fragment for piece in holding], starts)
    for table in tables:
        if _is_valid(table, fragments) and declared in (None, len(table)):
            offsets = set(table)
            at = [index for index, each in enumerate(fragments) if each.offset in offsets]
            return _cut(fragments, at)
    if declared in (None, 1) and len(starts) <= 1:
        return [[piece.fragment for piece in holding]] if holding else []
    if not holding:
        return []
    raise CorruptScanError(
        f"nothing tells which of the {len(fragments)} fragments belong to which of the "
        f"{declared} frames; export the image again"
    )


def _is_one_each(pieces: list[_Piece]) -> bool:
    """Whether as many fragments as frames are one of each.

    An empty or damaged fragment must not move the frames after it; one that goes on where the one
    before has not ended is no frame.
    """
    return all(
        piece.begins or before.ends for before, piece in zip(pieces, pieces[1:], strict=False)
    )


def _are_all(starts: list[int], holding: list[_Piece], declared: int | None) -> bool:
    """Whether frames found by their signatures are sure to be all that there are.

    More than declared are taken: each is whole, and the reader says so. Of fewer, one whose
    signature is damaged would be lost in the one before it, unless each has one fragment.
    """
    return declared is None or len(starts) >= declared or len(starts) == len(holding)


def _cut(fragments: list[Fragment], starts: list[int]) -> list[list[Fragment]]:
    ends = [*starts[1:], len(fragments)]
    return [fragments[start:end] for start, end in zip(starts, ends, strict=True)]


def _is_valid(table: Sequence[int], fragments: list[Fragment]) -> bool:
    """Whether a table names item after item, the first of all first."""
    offsets = {each.offset for each in fragments}
    ascending = all(low < high for low, high in zip(table, table[1:], strict=False))
    return bool(table) and table[0] == 0 and ascending and offsets.issuperset(table)


def _is_permuted(table: Sequence[int], fragments: list[Fragment], declared: int | None) -> bool:
    """Whether a table names an item for each frame, each once, but in another order."""
    offsets = {each.offset for each in fragments}
    ordered = sorted(table)
    return (
        len(table) > 1
        and declared in (None, len(table))
        and ordered != list(table)
        and len(set(table)) == len(table)
        and ordered[0] == 0
        and offsets.issuperset(table)
    )
