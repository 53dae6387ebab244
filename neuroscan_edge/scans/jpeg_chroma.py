"""Telling from a JPEG's headers that its chroma is zero everywhere.

A grey slice that is stored as YCbCr, with Huffman tables made for it, has chroma tables of one
symbol: "no difference" for DC (ITU T.81, F.1.2.1) and "end of block" for AC (F.1.2.2). Whatever the
data after the headers are, such a table can only say zero.
"""

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.jpeg_markers import segments

_SEQUENTIAL = frozenset({0xC0, 0xC1})
_OTHER_FRAMES = frozenset({0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_TABLES, _SCAN, _ADOBE = 0xC4, 0xDA, 0xEE
_YCBCR = (1, 2, 3)
"""Component numbers of JFIF; with others, libraries differ in what they take for colour."""

_ONLY_ZERO = b"\0"


def codes_no_chroma(stream: bytes) -> bool:
    """Whether the headers prove a JPEG grey; False says nothing of it.

    Parameters
    ----------
    stream : bytes
        The whole file.
    """
    tables: dict[int, bytes] = {}
    ycbcr = False
    try:
        for marker, body, _ in segments(stream):
            if marker == _TABLES:
                tables |= _huffman_tables(body)
            elif marker in _SEQUENTIAL:
                ycbcr = tuple(body[6::3]) == _YCBCR
            elif marker in _OTHER_FRAMES or (marker == _ADOBE and _is_adobe_rgb(body)):
                # Progressive: later scans bring tables of their own.
                return False
            elif marker == _SCAN:
                return ycbcr and _scans_no_chroma(body, tables)
    except CorruptScanError:
        # Decoders pass over more than this does.
        return False
    return False


def _scans_no_chroma(body: bytes, tables: dict[int, bytes]) -> bool:
    """Judge a start-of-scan segment; only one with all components is the only scan."""
    if len(body) != 1 + 2 * len(_YCBCR) + 3 or tuple(body[1:7:2]) != _YCBCR:
        return False
    wanted = [number for chosen in body[4:7:2] for number in (chosen >> 4, 0x10 | chosen & 0xF)]
    return all(tables.get(number) == _ONLY_ZERO for number in wanted)


def _huffman_tables(body: bytes) -> dict[int, bytes]:
    """Return symbols by class and number, as a DHT segment has them (B.2.4.2)."""
    tables = {}
    while len(body) > 16:
        symbols = 17 + sum(body[1:17])
        tables[body[0]] = body[17:symbols]
        body = body[symbols:]
    return tables


def _is_adobe_rgb(body: bytes) -> bool:
    # Adobe TN 5116: the transform follows version and flags; 0 is none.
    return body[:5] == b"Adobe" and body[11:12] in {b"", b"\0"}
