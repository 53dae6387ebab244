"""The marker segments that JPEG and JPEG-LS streams begin with, without decoding anything."""

from collections.abc import Iterator
from dataclasses import dataclass

from neuroscan_edge.errors import CorruptScanError

# TEM, RST0..RST7, SOI: they have no body.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True, slots=True)
class Frame:
    """What a start-of-frame segment declares.

    Parameters
    ----------
    precision : int
        Bits a sample.
    rows, columns : int
        Size in pixels.
    components : int
        1 for greyscale.
    """

    precision: int
    rows: int
    columns: int
    components: int

    @classmethod
    def parse(cls, body: bytes) -> "Frame":
        """Read the body of a start-of-frame segment.

        Raises
        ------
        CorruptScanError
            If it is cut or declares no pixels.
        """
        if len(body) < 6 or not 2 <= body[0] <= 16:
            raise CorruptScanError("the JPEG frame header is damaged; export the image again")
        rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        if not rows or not columns:
            raise CorruptScanError("the JPEG frame header is damaged; export the image again")
        return cls(body[0], rows, columns, body[5])


def segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Yield marker, body and the offset after the body, up to and with the first scan.

    Raises
    ------
    CorruptScanError
        If the stream does not begin as a JPEG does, or ends before a scan.
    """
    if stream[:2] != b"\xff\xd8":
        raise CorruptScanError("the compressed frame is no JPEG; export the image again")
    at = 2
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _BARE:
            at += 2
            continue
        if marker == 0x00:
            # No marker: decoders look for one in what would be its body.
            break
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if end > len(stream) or end < at + 4:
            break
        yield marker, stream[at + 4 : end], end
        if marker == 0xDA:
            return
        at = end
    raise CorruptScanError("the compressed frame ends before its scan; export the image again")
