"""Strips and tiles of a TIFF, decoded.

Each compression has exactly one decoder, whatever else is installed, so that the same file gives
the same pixels everywhere. No decoder takes memory by what the compressed data say of themselves:
what they must decode to is known before, and a stream that declares another size is refused.
"""

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from neuroscan_edge.errors import (
    CorruptScanError,
    MissingDependencyError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.jpeg import lossless as jpeg_lossless
from neuroscan_edge.scans.jpeg.markers import Frame, segments
from neuroscan_edge.scans.limits import check_jpeg_scans
from neuroscan_edge.scans.raster.tiff_layout import (
    CCITT,
    IMAGECODECS,
    JPEG,
    JPEG_2000,
    UNCOMPRESSED,
    WEBP,
    Colour,
    Layout,
    compression_name,
)
from neuroscan_edge.system.optional import require

EXTRA = "tiff"
"""The extra that installs the decoders that few files need."""

MAX_TOGETHER_BYTES = 1 << 26
"""Strips or tiles decoded by one call: to open a decoder for each would cost more than decoding."""

MAX_BLOCK_BYTES = 1 << 27
"""A compressed strip or tile; Pillow takes no more."""

MAX_TILES = 1 << 12
"""Tiles within a JPEG 2000 stream: OpenJPEG takes some kilobytes for each."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_TAG = struct.Struct("<HHII")
_SHORT, _LONG = 3, 4

_START, _END, _APP0, _ADOBE = b"\xff\xd8", b"\xff\xd9", 0xE0, 0xEE
_NO_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
_LOSSLESS, _DECODED = 0xC3, frozenset({0xC0, 0xC1, 0xC2})

_CODESTREAM = b"\xff\x4f\xff\x51"
_JP2 = b"\x00\x00\x00\x0cjP  "
_SIZ = struct.Struct(">HH8IH")

_Samples = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Block:
    """A strip or tile as it lies in the file.

    Parameters
    ----------
    data : bytes
        Compressed or not.
    rows, columns : int
        What it decodes to, in pixels.
    """

    data: bytes
    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Codec:
    """How the blocks of a page are decoded.

    Parameters
    ----------
    layout : Layout
        Of the page.
    options : tuple of (int, int)
        Tags that a CCITT decoder needs, and their values.
    tables : bytes
        JPEG tables that all blocks share.
    """

    layout: Layout
    options: tuple[tuple[int, int], ...] = ()
    tables: bytes = b""

    @property
    def samples(self) -> int:
        """Samples of a pixel in one block."""
        return self.layout.samples // self.layout.planes

    def as_bytes(self, blocks: Sequence[Block]) -> Iterator[_Samples]:
        """Yield blocks of one plane in order, each (stored rows, bytes of a row) uint8.

        Raises
        ------
        CorruptScanError
            If one is damaged or holds too little.
        """
        layout = self.layout
        stored = [replace(each, rows=layout.stored_rows(each.rows)) for each in blocks]
        blocks = self._in_order(stored)
        if layout.compression == UNCOMPRESSED:
            for block in blocks:
                yield self._uncompressed(block)
        else:
            for together in self._grouped(blocks):
                size = layout.row_bytes(together[0].columns)
                decoded = _by_libtiff(together, size, layout.compression, bits=8)
                yield from _divided(decoded, together)

    def as_samples(self, blocks: Sequence[Block]) -> Iterator[_Samples]:
        """Yield blocks of one plane in order, each (rows, columns, samples) of the layout's dtype.

        Raises
        ------
        CorruptScanError
            If one is damaged, or its stream declares something else than the page.
        UnsupportedScanError
            If its stream is of a variant that is not read, or its decoder is not installed.
        """
        compression = self.layout.compression
        if compression in CCITT:
            for together in self._grouped(self._in_order(blocks)):
                columns = together[0].columns
                decoded = _by_libtiff(together, columns, compression, bits=1, options=self.options)
                yield from (each[..., None] for each in _divided(decoded, together))
            return
        for block in blocks:
            if compression == JPEG:
                samples = self._jpeg(block)
            elif compression in JPEG_2000:
                samples = self._jpeg_2000(block)
            elif compression in WEBP:
                samples = self._webp(block)
            else:
                samples = self._by_imagecodecs(block)
            wanted = (block.rows, block.columns, self.samples)
            samples = samples[..., None] if samples.ndim == 2 else samples
            if samples.shape != wanted:
                raise CorruptScanError(
                    f"a strip or tile of the TIFF decodes to {_shape(samples.shape)}, the page "
                    f"declares {_shape(wanted)}; export the slice again"
                )
            yield samples

    def _in_order(self, blocks: Sequence[Block]) -> Sequence[Block]:
        """Return blocks whose bytes begin with their highest bit."""
        if not self.layout.reversed_bits:
            return blocks
        return [replace(each, data=each.data.translate(_REVERSED)) for each in blocks]

    def _uncompressed(self, block: Block) -> _Samples:
        size = self.layout.row_bytes(block.columns)
        if len(block.data) < block.rows * size:
            raise CorruptScanError(
                f"a strip or tile of the TIFF holds {len(block.data)} of {block.rows * size} "
                "bytes: it is truncated; export the slice again"
            )
        return np.frombuffer(block.data, np.uint8, block.rows * size).reshape(block.rows, size)

    def _grouped(self, blocks: Sequence[Block]) -> Iterator[Sequence[Block]]:
        size = max(blocks[0].rows * self.layout.row_bytes(blocks[0].columns), 1)
        if size > MAX_BLOCK_BYTES:
            raise ScanTooLargeError(
                f"a compressed strip or tile of the TIFF has {size} bytes; the limit is "
                f"{MAX_BLOCK_BYTES}: export it as greyscale, or uncompressed"
            )
        count = max(MAX_TOGETHER_BYTES // size, 1)
        for first in range(0, len(blocks), count):
            yield blocks[first : first + count]

    def _jpeg(self, block: Block) -> _Samples:
        stream = _with_tables(block.data, self.tables)
        check_jpeg_scans(stream)
        marker, frame = _jpeg_frame(stream)
        # The stream of a last strip may go on below the image.
        if frame.columns != block.columns or frame.rows < block.rows:
            raise CorruptScanError(
                f"a JPEG within the TIFF is {frame.columns}x{frame.rows} pixels, the page declares "
                f"{block.columns}x{block.rows}; export the slice again"
            )
        layout = self.layout
        if frame.rows * frame.columns > 2 * layout.block[0] * layout.block[1]:
            raise CorruptScanError(
                f"a JPEG within the TIFF has {frame.rows} rows, its strip has {block.rows}; "
                "export the slice again"
            )
        if frame.components != self.samples or frame.precision != layout.bits:
            raise CorruptScanError(
                f"a JPEG within the TIFF has {frame.components} samples of {frame.precision} bits, "
                f"the page declares {self.samples} of {layout.bits}; export the slice again"
            )
        if marker == _LOSSLESS and self.samples == 1:
            samples = jpeg_lossless.decode(stream).astype(layout.dtype)
        elif marker in _DECODED and layout.bits == 12:
            samples = self._jpeg_12(stream, frame)
        elif marker in _DECODED and layout.bits == 8 and self.samples in {1, 3, 4}:
            samples = _jpeg_8(stream, self.samples, layout.colour)
        else:
            raise UnsupportedScanError(
                f"the TIFF holds {_jpeg_name(marker)} JPEG of {self.samples} samples of "
                f"{layout.bits} bits, which is not read; export it uncompressed"
            )
        return samples[: block.rows]

    def _jpeg_12(self, stream: bytes, frame: Frame) -> _Samples:
        imagecodecs = _imagecodecs("JPEG of 12 bits")
        out = np.empty((frame.rows, frame.columns, self.samples), np.uint16)
        # Neither colours nor levels are converted: the page says what they are.
        space = {1: "GRAYSCALE", 3: "YCBCR" if self.layout.colour is Colour.YCBCR else "RGB"}
        name = space.get(self.samples, "CMYK")
        try:
            return np.asarray(
                imagecodecs.jpeg_decode(
                    stream, bitspersample=12, colorspace=name, outcolorspace=name,
                    out=out[..., 0] if self.samples == 1 else out,
                )
            )  # fmt: skip
        except Exception as error:
            raise _damaged(JPEG) from error

    def _jpeg_2000(self, block: Block) -> _Samples:
        # Imported only when needed, as few files are.
        from openjpeg.utils import decode

        stream = _codestream(block.data)
        _check_codestream(stream, block, self.samples, self.layout)
        try:
            # The bare codestream: a palette of its file format could multiply the memory it takes.
            decoded = np.asarray(decode(stream, 0))
        except Exception as error:
            raise _damaged(self.layout.compression) from error
        return np.asarray(decoded, self.layout.dtype)

    def _webp(self, block: Block) -> _Samples:
        mode = {3: "RGB", 4: "RGBA"}.get(self.samples)
        if mode is None or self.layout.bits != 8:
            raise CorruptScanError(
                f"the page declares {self.samples} samples of {self.layout.bits} bits, WebP is for "
                "3 or 4 of 8 bits; export the slice again"
            )
        try:
            with Image.open(io.BytesIO(block.data), formats=("WEBP",)) as image:
                if image.size != (block.columns, block.rows):
                    raise CorruptScanError(
                        f"a WebP within the TIFF is {image.width}x{image.height} pixels, the page "
                        f"declares {block.columns}x{block.rows}; export the slice again"
                    )
                return np.asarray(image.convert(mode))
        except CorruptScanError:
            raise
        except Exception as error:
            raise _damaged(self.layout.compression) from error

    def _by_imagecodecs(self, block: Block) -> _Samples:
        compression = self.layout.compression
        imagecodecs = _imagecodecs(f"{compression_name(compression)} compression")
        decode = getattr(imagecodecs, f"{IMAGECODECS[compression]}_decode")
        shape = (block.rows, block.columns)
        # A stream of another size than what it is to be written to is refused before it is decoded.
        out = np.empty(shape if self.samples == 1 else (*shape, self.samples), self.layout.dtype)
        try:
            return np.asarray(decode(block.data, out=out))
        except Exception as error:
            raise _damaged(compression) from error


def _imagecodecs(what: str) -> Any:
    try:
        return require("imagecodecs", extra=EXTRA, why=f"to read {what} in TIFF")
    except MissingDependencyError as error:
        raise UnsupportedScanError(str(error)) from error


def _damaged(compression: int) -> CorruptScanError:
    # The decoder's own message may quote what the file holds.
    return CorruptScanError(
        f"the {compression_name(compression)} data of the TIFF are damaged or cut; "
        "export the slice again"
    )


def _shape(shape: tuple[int, ...]) -> str:
    rows, columns, *rest = shape
    return f"{columns}x{rows} pixels of {rest[0] if rest else 1} samples"


def _divided(decoded: _Samples, blocks: Sequence[Block]) -> Iterator[_Samples]:
    at = 0
    for block in blocks:
        yield decoded[at : at + block.rows]
        at += block.rows


def _by_libtiff(
    blocks: Sequence[Block],
    columns: int,
    compression: int,
    bits: int,
    options: Sequence[tuple[int, int]] = (),
) -> _Samples:
    """Decode blocks as the strips of one grey image of bytes or bits.

    Pillow brings libtiff with it, whose decoders write no more than the size that they are told.

    Returns
    -------
    (rows of all blocks, columns) uint8
    """
    rows = sum(block.rows for block in blocks)
    counts = [len(block.data) for block in blocks]
    tags: dict[int, tuple[int, list[int]]] = {
        256: (_LONG, [columns]),
        257: (_LONG, [rows]),
        258: (_SHORT, [bits]),
        259: (_SHORT, [compression]),
        262: (_SHORT, [1]),
        273: (_LONG, counts),
        277: (_SHORT, [1]),
        278: (_LONG, [blocks[0].rows]),
        279: (_LONG, counts),
        **{tag: (_LONG, [value]) for tag, value in options},
    }
    after = 8 + 2 + _TAG.size * len(tags) + 4
    # One value lies in its entry, two lists of several lie between directory and data.
    data_at = after + (8 * len(blocks) if len(blocks) > 1 else 0)
    tags[273] = (_LONG, np.cumsum([data_at, *counts[:-1]]).tolist())
    entries, lists = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        if len(values) == 1:
            entries += _TAG.pack(tag, kind, 1, values[0])
        else:
            entries += _TAG.pack(tag, kind, len(values), after + len(lists))
            lists += struct.pack(f"<{len(values)}I", *values)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + lists
    wrapped = b"".join([head, *(block.data for block in blocks)])
    try:
        with Image.open(io.BytesIO(wrapped), formats=("TIFF",)) as image:
            decoded = np.asarray(image).view(np.uint8)
            # Pillow makes 255 of a bit.
            return decoded & np.uint8(1) if bits == 1 else decoded
    except Exception as error:
        raise _damaged(compression) from error


def _with_tables(data: bytes, tables: bytes) -> bytes:
    """Return a JPEG of its own: the tables that are stored once come before each block's data."""
    if not data.startswith(_START):
        raise _damaged(JPEG)
    return _START + tables.removeprefix(_START).removesuffix(_END) + data[2:]


def _jpeg_frame(stream: bytes) -> tuple[int, Frame]:
    for marker, body, _ in segments(stream):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAMES:
            return marker, Frame.parse(body)
    raise _damaged(JPEG)


def _jpeg_name(marker: int) -> str:
    if marker == _LOSSLESS:
        return "lossless"
    return "lossy" if marker in _DECODED else "hierarchical or arithmetic-coded"


def _jpeg_8(stream: bytes, samples: int, colour: Colour) -> _Samples:
    """Decode to the samples that are stored, (H, W, samples) uint8, with no change of colours."""
    if samples > 1:
        stream = _as_stored(stream, samples, colour)
    try:
        with Image.open(io.BytesIO(stream), formats=("JPEG",)) as image:
            if samples == 3:
                # The marker put in says YCbCr, and that is asked for: nothing is converted.
                image.draft("YCbCr", image.size)
            image.load()
            if len(image.getbands()) != samples:
                raise _damaged(JPEG)
            decoded = np.asarray(image)
    except CorruptScanError:
        raise
    except Exception as error:
        raise _damaged(JPEG) from error
    # Pillow takes four samples for inverted inks.
    return 255 - decoded if samples == 4 else decoded


def _as_stored(stream: bytes, samples: int, colour: Colour) -> bytes:
    """Replace what a JPEG says of its colours by a marker under which none are converted."""
    transform = 1 if samples == 3 else 0
    marker_body = b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform)
    kept = [_START, _segment(_ADOBE, marker_body)]
    at = 2
    for marker, body, end in segments(stream):
        at = end
        if marker not in {_APP0, _ADOBE}:
            kept.append(_segment(marker, body))
            continue
        stated = _stated_colour(marker, body)
        if samples == 3 and stated not in {None, colour}:
            raise CorruptScanError(
                f"the page of the TIFF declares {colour.value}, the JPEG within it "
                f"{stated.value if stated else ''}; export the slice again"
            )
    return b"".join([*kept, stream[at:]])


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _stated_colour(marker: int, body: bytes) -> Colour | None:
    """Return what a JFIF or Adobe marker says of three samples, if it says anything."""
    if marker == _APP0:
        return Colour.YCBCR if body.startswith(b"JFIF\0") else None
    if body.startswith(b"Adobe") and len(body) >= 12:
        return {0: Colour.RGB, 1: Colour.YCBCR}.get(body[11])
    return None


def _codestream(data: bytes) -> bytes:
    """Return the JPEG 2000 codestream, out of its boxes if it is in a file format."""
    if not data.startswith(_JP2):
        return data
    at = 0
    while at + 16 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            head = 16
        end = len(data) if size == 0 else at + size
        if kind == b"jp2c":
            return data[at + head : end]
        if size < head:
            break
        at = end
    raise _damaged(min(JPEG_2000))


def _check_codestream(stream: bytes, block: Block, samples: int, layout: Layout) -> None:
    if stream[:4] != _CODESTREAM or len(stream) < 4 + _SIZ.size + 3 * samples:
        raise _damaged(layout.compression)
    fields = _SIZ.unpack_from(stream, 4)
    right, bottom, left, top, tile_width, tile_height, tile_left, tile_top, components = fields[2:]
    found = (bottom - top, right - left, components)
    if found != (block.rows, block.columns, samples):
        raise CorruptScanError(
            f"a JPEG 2000 stream within the TIFF is {_shape(found)}, the page declares "
            f"{_shape((block.rows, block.columns, samples))}; export the slice again"
        )
    if not tile_width or not tile_height:
        raise _damaged(layout.compression)
    tiles = -(-(right - tile_left) // tile_width) * -(-(bottom - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise UnsupportedScanError(
            f"a JPEG 2000 stream within the TIFF has {tiles} tiles; the limit is {MAX_TILES}: "
            "export it uncompressed"
        )
    about = stream[4 + _SIZ.size : 4 + _SIZ.size + 3 * samples]
    depths, steps = set(about[::3]), set(about[1::3]) | set(about[2::3])
    if steps != {1}:
        raise UnsupportedScanError(
            "the TIFF holds JPEG 2000 whose samples differ in size, which is not read; "
            "export it uncompressed"
        )
    signed = 0x80 if layout.kind == "i" else 0
    if depths != {signed | (layout.bits - 1)}:
        raise CorruptScanError(
            f"a JPEG 2000 stream within the TIFF is not of {layout.bits} bits as the page "
            "declares; export the slice again"
        )
