"""What a JPEG's headers tell of its chroma, above all that it is zero everywhere, and of the rest.

A grey slice that is stored as YCbCr, with Huffman tables made for it, has chroma tables of one
symbol: "no difference" for DC (ITU T.81, F.1.2.1) and "end of block" for AC (F.1.2.2). Whatever the
data after the headers are, such a table can only say zero.
"""

from dataclasses import dataclass

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.jpeg.markers import Frame, segments

_SEQUENTIAL = frozenset({0xC0, 0xC1})
_OTHER_FRAMES = frozenset({0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)})
_TABLES, _SCAN, _ADOBE = 0xC4, 0xDA, 0xEE
# JFIF's, quantisation, restart interval, comment.
_ONLY_FOR_DECODING = frozenset({0xE0, 0xDB, 0xDD, 0xFE})
_YCBCR = (1, 2, 3)
"""Component numbers of JFIF; with others, libraries differ in what they take for colour."""

_ONLY_ZERO = b"\0"


@dataclass(frozen=True, slots=True)
class ChromaHeaders:
    """What is sure from the headers; 0 and False say nothing.

    Parameters
    ----------
    only_scan_at : int
        Where the data of the first scan begin, if the image is YCbCr, sequential, and all in that
        scan; else 0.
    no_chroma : bool
        Whether it is grey besides, whatever those data are.
    rows, columns : int
        Size in pixels.
    nothing_else : bool
        Whether all else is for decoding: no EXIF, which may turn it, no further images.
    """

    only_scan_at: int = 0
    no_chroma: bool = False
    rows: int = 0
    columns: int = 0
    nothing_else: bool = False


_NOTHING = ChromaHeaders()


def chroma_headers(stream: bytes) -> ChromaHeaders:
    """Read the headers of a JPEG.

    Parameters
    ----------
    stream : bytes
        The whole file.
    """
    tables: dict[int, bytes] = {}
    frame: Frame | None = None
    nothing_else = True
    try:
        for marker, body, end in segments(stream):
            if marker == _TABLES:
                tables |= _huffman_tables(body)
            elif marker in _SEQUENTIAL:
                frame = Frame.parse(body) if tuple(body[6::3]) == _YCBCR else None
            elif marker in _OTHER_FRAMES or (marker == _ADOBE and _is_adobe_rgb(body)):
                # Progressive: later scans bring tables of their own.
                return _NOTHING
            elif marker == _SCAN and frame is not None and _has_all_components(body):
                no_chroma = _codes_only_zero(body, tables)
                return ChromaHeaders(end, no_chroma, frame.rows, frame.columns, nothing_else)
            else:
                nothing_else = nothing_else and marker in _ONLY_FOR_DECODING
    except CorruptScanError:
        # Decoders pass over more than this does.
        return _NOTHING
    return _NOTHING


def codes_no_chroma(stream: bytes) -> bool:
    """Whether the headers prove a JPEG grey; False says nothing of it."""
    return chroma_headers(stream).no_chroma


def _has_all_components(body: bytes) -> bool:
    return len(body) == 1 + 2 * len(_YCBCR) + 3 and tuple(body[1:7:2]) == _YCBCR


def _codes_only_zero(body: bytes, tables: dict[int, bytes]) -> bool:
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
