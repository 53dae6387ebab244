"""What compressed frames declare of themselves, compared with the header before decoding.

Decoders take memory by the stream's own numbers.
"""

import struct
from dataclasses import dataclass

from neuroscan_edge.errors import CorruptScanError, UnsupportedScanError
from neuroscan_edge.scans.jpeg.markers import Frame, segments
from neuroscan_edge.scans.limits import check_jpeg_scans

_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
_JPEG_LS_FRAME, _JPEG_LS_PARAMETERS = 0xF7, 0xF8
_OVERSIZE = 4
_END_OF_IMAGE = b"\xff\xd9"
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIZ = struct.Struct(">HH8IH")
# OpenJPEG takes some kilobytes a tile, however small the tile is.
_MOST_TILES = 1 << 12


@dataclass(frozen=True, slots=True)
class Declared:
    """The size that the header declares.

    Parameters
    ----------
    rows, columns : int
        Of one frame.
    bits_allocated : int
        Of one pixel.
    """

    rows: int
    columns: int
    bits_allocated: int


def check_jpeg(stream: bytes, declared: Declared) -> int:
    """Compare a JPEG or JPEG-LS stream with the header; returns its bits a sample.

    Raises
    ------
    CorruptScanError
        If it is of another size, in colour or damaged, or has more scans than any encoder writes.
    """
    check_jpeg_scans(stream)
    for marker, body, _ in segments(stream):
        if marker == _JPEG_LS_PARAMETERS and body[:1] == bytes([_OVERSIZE]):
            raise CorruptScanError(
                "the compressed frame replaces its own size; export the image again"
            )
        if marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES):
            frame = Frame.parse(body)
            _compare(frame.rows, frame.columns, frame.components, frame.precision, declared)
            return frame.precision
    raise CorruptScanError("the compressed frame declares no size; export the image again")


def check_end(stream: bytes) -> None:
    """Require a JPEG-LS stream to end as it must.

    CharLS counts for seconds through the zeros that it reads beyond a cut.

    Raises
    ------
    CorruptScanError
        If there is no end-of-image marker.
    """
    if not stream.rstrip(b"\0").endswith(_END_OF_IMAGE):
        raise CorruptScanError("the compressed frame is cut; export the image again")


def check_jpeg_2000(stream: bytes, declared: Declared) -> None:
    """Compare a JPEG 2000 codestream with the header.

    Raises
    ------
    CorruptScanError
        If it is of another size, in colour or damaged.
    UnsupportedScanError
        If it is cut into more tiles than memory should be taken for.
    """
    if stream[:4] != _CODESTREAM or len(stream) < 4 + _SIZ.size + 3:
        raise CorruptScanError(
            "the compressed frame is no JPEG 2000 codestream; export the image again"
        )
    fields = _SIZ.unpack_from(stream, 4)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = fields[2:]
    depth, step_x, step_y = stream[4 + _SIZ.size : 4 + _SIZ.size + 3]
    if (step_x, step_y) != (1, 1) or not tile_width or not tile_height:
        raise CorruptScanError("the JPEG 2000 header is damaged; export the image again")
    _compare(bottom - top, right - left, components, (depth & 0x7F) + 1, declared)
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MOST_TILES:
        raise UnsupportedScanError(
            f"the JPEG 2000 frame has {tiles} tiles; the limit is {_MOST_TILES}: "
            "export the image uncompressed"
        )


def _compare(rows: int, columns: int, components: int, precision: int, declared: Declared) -> None:
    if (rows, columns) != (declared.rows, declared.columns):
        raise CorruptScanError(
            f"the compressed frame is {columns}x{rows} pixels, the header declares "
            f"{declared.columns}x{declared.rows}; export the image again"
        )
    if components != 1 or precision > declared.bits_allocated:
        raise CorruptScanError(
            f"the compressed frame has {components} components of {precision} bits, the header "
            f"declares 1 of at most {declared.bits_allocated}; export the image again"
        )
