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
_ADOBE = 0xEE
_START_OF_IMAGE, _END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_CODESTREAM = b"\xff\x4f\xff\x51"
_SIGNED = 0x80
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
        Of one sample.
    samples : int
        Of one pixel.
    """

    rows: int
    columns: int
    bits_allocated: int
    samples: int = 1


def begins_jpeg(data: bytes) -> bool:
    """Whether bytes begin as a JPEG or JPEG-LS stream does; its coded data never does."""
    return data[:2] == _START_OF_IMAGE and data[2:3] == b"\xff"


def begins_jpeg_2000(data: bytes) -> bool:
    """Whether bytes begin as a JPEG 2000 codestream or file does; its coded data never does."""
    return data[:4] == _CODESTREAM or data[:12] == _JP2_SIGNATURE


def codestream(data: bytes) -> bytes:
    """Return a JPEG 2000 codestream without the file format that some writers put around it."""
    if data[:12] != _JP2_SIGNATURE:
        return data
    at = data.find(_CODESTREAM, data.find(b"jp2c"))
    return data[at:] if at > 0 else data


def ends_image(data: bytes) -> bool:
    """Whether bytes end as a JPEG, JPEG-LS or JPEG 2000 stream does, or do not say."""
    return data.rstrip(b"\0").endswith(_END_OF_IMAGE)


def holds_rgb(stream: bytes) -> bool:
    """Whether a JPEG of three components holds red, green and blue by its own word.

    Decoders take one that does not say for luminance and chroma.
    """
    for marker, body, _ in segments(stream):
        if marker == _ADOBE and body[:5] == b"Adobe" and len(body) > 11:
            return body[11] == 0
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            return body[6:15:3] in {b"RGB", b"rgb"}
    return False


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


def check_jpeg_2000(stream: bytes, declared: Declared) -> tuple[int, bool]:
    """Compare a JPEG 2000 codestream with the header.

    Returns its bits a sample and whether samples are signed.

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
        raise CorruptScanError(
            "the size or step in the JPEG 2000 codestream's header is damaged; "
            "export the image again"
        )
    _compare(bottom - top, right - left, components, (depth & 0x7F) + 1, declared)
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > _MOST_TILES:
        raise UnsupportedScanError(
            f"the JPEG 2000 frame has {tiles} tiles; the limit is {_MOST_TILES}: "
            "export the image uncompressed"
        )
    return (depth & 0x7F) + 1, bool(depth & _SIGNED)


def _compare(rows: int, columns: int, components: int, precision: int, declared: Declared) -> None:
    if (rows, columns) != (declared.rows, declared.columns):
        raise CorruptScanError(
            f"the compressed frame is {columns}x{rows} pixels, the header declares "
            f"{declared.columns}x{declared.rows}; export the image again"
        )
    if components != declared.samples or precision > declared.bits_allocated:
        raise CorruptScanError(
            f"the compressed frame has {components} components of {precision} bits, the header "
            f"declares {declared.samples} of at most {declared.bits_allocated}; "
            "export the image again"
        )
