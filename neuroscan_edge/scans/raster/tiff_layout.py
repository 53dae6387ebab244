"""What a page of a TIFF says of its samples, and which of the many layouts become grey.

A layout that is not read is refused by name. Whatever a page leaves open is not guessed: readers
differ there, and a wrong guess is a wrong picture. Section numbers are those of TIFF 6.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from tifffile import TiffPage

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.scan import Limits

MAX_BYTES_PER_PIXEL = 16
"""Decoded samples of a page, in all: `Limits.image_pixels` times this many bytes."""

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOUR_MAP = 284, 292, 293, 317, 320
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, INK_SET = 322, 323, 324, 325, 332
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, CHROMA_SUBSAMPLING = 338, 339, 347, 530
LUMA_COEFFICIENTS, REFERENCE_BLACK_WHITE, IMAGE_DEPTH = 529, 532, 32997
_DECIDING = frozenset(
    {WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, STRIP_OFFSETS, SAMPLES}
    | {ROWS_PER_STRIP, STRIP_BYTES, PLANAR, T4_OPTIONS, T6_OPTIONS, PREDICTOR, COLOUR_MAP}
    | {TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES, INK_SET, EXTRA_SAMPLES, SAMPLE_FORMAT}
    | {JPEG_TABLES, CHROMA_SUBSAMPLING, LUMA_COEFFICIENTS, REFERENCE_BLACK_WHITE, IMAGE_DEPTH}
)
"""Without one of these that the page has, its default would make another picture."""

UNCOMPRESSED, JPEG = 1, 7
CCITT = frozenset({2, 3, 4, 32771})
LIBTIFF_BYTES = frozenset({5, 8, 32773, 32946, 34925, 50000})
"""LZW, deflate by both numbers, PackBits, LZMA, Zstandard: bytes in, bytes out."""

JPEG_2000 = frozenset({33004, 33005, 34712})
WEBP = frozenset({34927, 50001})
IMAGECODECS: Mapping[int, str] = {
    22610: "jpegxr",
    34887: "lerc",
    34933: "png",
    34934: "jpegxr",
    50002: "jpegxl",
    52546: "jpegxl",
}
"""Compressions that the extra ``tiff`` reads, and how imagecodecs calls them."""

_COMPRESSIONS: Mapping[int, str] = {
    2: "CCITT run lengths", 3: "CCITT fax group 3", 4: "CCITT fax group 4", 5: "LZW",
    6: "old-style JPEG", 7: "JPEG", 8: "deflate", 9: "JBIG", 10: "JBIG", 22610: "JPEG XR",
    32766: "NeXT", 32771: "CCITT run lengths in words", 32773: "PackBits", 32809: "ThunderScan",
    32908: "PixarFilm", 32909: "PixarLog", 32946: "deflate", 33003: "JPEG 2000 of YCbCr",
    33004: "JPEG 2000", 33005: "JPEG 2000", 33007: "JPEG", 34661: "JBIG", 34676: "SGI log",
    34677: "SGI log", 34712: "JPEG 2000", 34715: "JBIG2", 34887: "LERC", 34892: "lossy DNG JPEG",
    34925: "LZMA", 34926: "Zstandard by its old number", 34927: "WebP", 34933: "PNG",
    34934: "JPEG XR", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip

_PHOTOMETRICS: Mapping[int, str] = {
    4: "a transparency mask",
    8: "CIE L*a*b* colour",
    9: "ICC L*a*b* colour",
    10: "ITU L*a*b* colour",
    32803: "a colour filter array",
    32844: "CIE log luminance",
    32845: "CIE log luminance and chromaticity",
    34892: "linear raw samples",
    51177: "a depth map",
    52527: "a semantic mask",
}

_UNSIGNED, _SIGNED, _FLOAT, _VOID = 1, 2, 3, 4
_SAMPLE_FORMATS = {5: "complex integer", 6: "complex floating-point"}
_ASSOCIATED, _UNASSOCIATED = 1, 2
_CMYK_INKS = 1
# ITU-R BT.601, and chroma around 128 with no head or foot room (TIFF 6.0, sections 20 and 21).
_LUMA = (0.299, 0.587, 0.114)
_FULL_RANGE = (0, 255, 128, 255, 128, 255)
_WITH_PREDICTOR = frozenset({5, 8, 32946, 34925, 50000})


class Colour(Enum):
    """What the samples of a pixel are."""

    GREY = "grey"
    RGB = "RGB"
    PALETTE = "palette"
    CMYK = "CMYK"
    YCBCR = "YCbCr"

    @property
    def samples(self) -> int:
        """Samples of a pixel, extra ones not among them."""
        return {"RGB": 3, "CMYK": 4, "YCbCr": 3}.get(self.value, 1)


@dataclass(frozen=True, slots=True)
class Alpha:
    """Which sample is the opacity.

    Parameters
    ----------
    sample : int
        Its place among the samples of a pixel.
    associated : bool
        Whether the others are multiplied by it already (section 18).
    """

    sample: int
    associated: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page's samples lie in the file and what they mean.

    Parameters
    ----------
    width, length : int
        Of the image, in pixels.
    samples : int
        Of a pixel, extra ones included.
    bits : int
        Of a sample.
    kind : {"u", "i", "f"}
        Unsigned, signed or floating point.
    byte_order : {"<", ">"}
        Of the file.
    colour : Colour
        What the first samples are.
    white_is_zero : bool
        Whether grey runs from white to black.
    alpha : Alpha or None
        The opacity, if one of the extra samples is.
    separate : bool
        Whether each sample has a plane of its own.
    compression, predictor : int
        As the tags have them; a predictor that the compression does not use is 1.
    reversed_bits : bool
        Whether the first pixel lies in the lowest bit of a byte.
    block : tuple of int
        Rows and columns of a strip or tile.
    tiled : bool
        Whether there are tiles, all of one size.
    chroma_step : tuple of int
        Columns and rows of luma for one sample of chroma, where it is YCbCr.
    """

    width: int
    length: int
    samples: int
    bits: int
    kind: str
    byte_order: str
    colour: Colour
    white_is_zero: bool
    alpha: Alpha | None
    separate: bool
    compression: int
    predictor: int
    reversed_bits: bool
    block: tuple[int, int]
    tiled: bool
    chroma_step: tuple[int, int]

    @property
    def dtype(self) -> np.dtype[Any]:
        """What a decoded sample is held in, in the machine's byte order."""
        return np.dtype(f"{self.kind}{max(1 << (self.bits - 1).bit_length(), 8) // 8}")

    @property
    def planes(self) -> int:
        """Planes that have strips or tiles of their own."""
        return self.samples if self.separate else 1

    @property
    def needed(self) -> int:
        """Planes that the grey is made of: the first so many."""
        if not self.separate:
            return 1
        wanted = self.colour.samples
        return wanted if self.alpha is None else max(wanted, self.alpha.sample + 1)

    @property
    def in_units(self) -> bool:
        """Whether luma and chroma lie in units of some pixels (section 21)."""
        return self.chroma_step != (1, 1) and is_bytes(self.compression)

    def stored_rows(self, rows: int) -> int:
        """Return how many rows of bytes hold so many rows of pixels."""
        return -(-rows // self.chroma_step[1]) if self.in_units else rows

    def row_bytes(self, columns: int) -> int:
        """Return the bytes of such a row of so many columns, in one plane."""
        if self.in_units:
            across, down = self.chroma_step
            return -(-columns // across) * (across * down + 2)
        return -(-columns * (self.samples // self.planes) * self.bits // 8)

    @property
    def grid(self) -> tuple[int, int]:
        """Strips or tiles of a plane, down and across."""
        rows, columns = self.block
        return -(-self.length // rows), -(-self.width // columns)


def page_layout(
    page: TiffPage, unreadable: frozenset[int], byte_order: str, limits: Limits
) -> Layout:
    """Decide how a page is read.

    Parameters
    ----------
    page : TiffPage
        Its tags.
    unreadable : frozenset of int
        Tags that it has and whose values are lost.
    byte_order : {"<", ">"}
        Of the file.
    limits : Limits
        Refusals made here, before pixels are allocated.

    Raises
    ------
    CorruptScanError
        If tags are missing, damaged or contradict each other.
    ScanTooLargeError
        If it declares more than the limits allow.
    UnsupportedScanError
        If it is sound, but of a layout that is not read; the message names it.
    """
    lost = sorted(_DECIDING & unreadable)
    if lost:
        raise CorruptScanError(
            f"the value of TIFF tag {lost[0]} cannot be read: the file is damaged or cut; "
            "export the slice again"
        )
    tags = _Tags(page)
    width, length = tags.whole(WIDTH, 0), tags.whole(LENGTH, 0)
    if width < 1 or length < 1:
        raise CorruptScanError(f"the image is {width}x{length} pixels; it needs at least 1x1")
    if width * length > limits.image_pixels:
        raise ScanTooLargeError(
            f"the image is {width}x{length} pixels; the limit is {limits.image_pixels} "
            "in all: crop or downsample it"
        )
    if tags.whole(IMAGE_DEPTH, 1) > 1:
        raise _unsupported("several slices in one page (ImageDepth)", "each slice as a page")
    samples = tags.whole(SAMPLES, 1)
    bits, kind = _sample_type(tags, samples)
    compression = _compression(tags)
    colour = _colour(tags)
    alpha = _alpha(tags, colour, samples)
    tiled = TILE_WIDTH in tags
    layout = Layout(
        width=width,
        length=length,
        samples=samples,
        bits=bits,
        kind=kind,
        byte_order=byte_order,
        colour=colour,
        white_is_zero=tags.whole(PHOTOMETRIC) == 0,
        alpha=alpha,
        separate=samples > 1 and tags.choice(PLANAR, 1, (1, 2)) == 2,
        compression=compression,
        predictor=_predictor(tags, compression, bits, kind),
        reversed_bits=tags.choice(FILL_ORDER, 1, (1, 2)) == 2,
        block=_block(tags, width, length, tiled),
        tiled=tiled,
        chroma_step=_chroma_step(tags) if colour is Colour.YCBCR else (1, 1),
    )
    _check_combination(layout)
    most = limits.image_pixels * MAX_BYTES_PER_PIXEL
    for what, pixels, held in (
        ("page", width * length, layout.needed if layout.separate else samples),
        ("strip or tile", layout.block[0] * layout.block[1], samples // layout.planes),
    ):
        if pixels * held * layout.dtype.itemsize > most:
            raise ScanTooLargeError(
                f"a {what} of the TIFF has {pixels} pixels of {held} samples of {bits} bits; the "
                f"limit is {most} bytes in all: export it as greyscale"
            )
    return layout


class _Tags:
    """The tags of a page, each checked for its type."""

    def __init__(self, page: TiffPage) -> None:
        self._page = page

    def __contains__(self, code: int) -> bool:
        return code in self._page.tags

    def all(self, code: int) -> tuple[Any, ...]:
        """Return every value of a tag, none if it is missing."""
        value = self._page.tags.valueof(code)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, tuple | bytes) else (value,)

    def wholes(self, code: int) -> tuple[int, ...]:
        """Return every value of a tag of whole numbers, 0 or more."""
        values = self.all(code)
        if not all(isinstance(value, int) and value >= 0 for value in values):
            raise _damaged(code)
        return tuple(int(value) for value in values)

    def whole(self, code: int, default: int | None = None) -> int:
        """Return the first value of a tag of whole numbers."""
        values = self.wholes(code)
        if values:
            return values[0]
        if default is None:
            raise CorruptScanError(
                f"the page has no TIFF tag {code}, which says what its samples are; "
                "export the slice again"
            )
        return default

    def choice(self, code: int, default: int, allowed: tuple[int, ...]) -> int:
        value = self.whole(code, default)
        if value not in allowed:
            raise _damaged(code)
        return value

    def common(self, code: int, default: int, samples: int) -> int:
        """Return the value that all samples share."""
        values = set(self.wholes(code)[:samples]) or {default}
        if len(values) > 1:
            raise _unsupported("samples of different types in one pixel", "it as greyscale")
        return values.pop()

    def ratios(self, code: int) -> tuple[float, ...]:
        """Return the values of a tag of rationals or numbers."""
        values = self.all(code)
        kind = self._page.tags.get(code)
        # Numerators and denominators in turn.
        if kind is not None and kind.dtype in {5, 10}:
            pairs = zip(values[::2], values[1::2], strict=False)
            return tuple(above / below if below else 0.0 for above, below in pairs)
        if not all(isinstance(value, int | float) for value in values):
            raise _damaged(code)
        return values


def _sample_type(tags: _Tags, samples: int) -> tuple[int, str]:
    if not 1 <= samples <= 1 << 16:
        raise _damaged(SAMPLES)
    bits = tags.common(BITS, 1, samples)
    sample_format = tags.common(SAMPLE_FORMAT, _UNSIGNED, samples)
    if name := _SAMPLE_FORMATS.get(sample_format):
        raise _unsupported(f"{name} samples", "the magnitude as greyscale")
    if sample_format in {_UNSIGNED, _VOID}:
        readable = {*range(1, 17), 32, 64}
    else:
        readable = {_SIGNED: {8, 16, 32, 64}, _FLOAT: {16, 32, 64}}.get(sample_format, set())
    kind = {_SIGNED: "i", _FLOAT: "f"}.get(sample_format, "u")
    if not readable:
        raise _damaged(SAMPLE_FORMAT)
    if bits not in readable:
        word = {"u": "unsigned", "i": "signed", "f": "floating-point"}[kind]
        raise _unsupported(f"{word} samples of {bits} bits", "it with 8 or 16 bits")
    return bits, kind


def _compression(tags: _Tags) -> int:
    compression = tags.whole(COMPRESSION, UNCOMPRESSED)
    known = {UNCOMPRESSED, JPEG} | CCITT | LIBTIFF_BYTES | JPEG_2000 | WEBP | set(IMAGECODECS)
    if compression not in known:
        raise _unsupported(compression_name(compression) + " compression", "it uncompressed")
    return compression


def compression_name(compression: int) -> str:
    """Name a compression; one without a name by its number."""
    return _COMPRESSIONS.get(compression, f"number {compression}")


def _colour(tags: _Tags) -> Colour:
    photometric = tags.whole(PHOTOMETRIC)
    if name := _PHOTOMETRICS.get(photometric):
        raise _unsupported(name, "it as greyscale")
    if photometric in {0, 1}:
        return Colour.GREY
    if photometric == 2:
        return Colour.RGB
    if photometric == 3:
        return Colour.PALETTE
    if photometric == 5:
        if tags.whole(INK_SET, _CMYK_INKS) != _CMYK_INKS:
            raise _unsupported("inks other than CMYK", "it as greyscale")
        return Colour.CMYK
    if photometric == 6:
        return Colour.YCBCR
    raise _unsupported(f"photometric interpretation {photometric}", "it as greyscale")


def _alpha(tags: _Tags, colour: Colour, samples: int) -> Alpha | None:
    own = colour.samples
    if samples < own:
        raise CorruptScanError(
            f"the page has {samples} samples a pixel, {colour.value} needs {own}; "
            "export the slice again"
        )
    extra = tags.wholes(EXTRA_SAMPLES)[: samples - own]
    for index, kind in enumerate(extra):
        if kind in {_ASSOCIATED, _UNASSOCIATED}:
            return Alpha(own + index, kind == _ASSOCIATED)
    if colour is Colour.GREY and samples > own:
        # One of several channels or slices, or an opacity: a picture either way, perhaps wrong.
        raise _unsupported(
            f"grey of {samples} samples a pixel whose meaning is not stated", "each as a page"
        )
    return None


def _predictor(tags: _Tags, compression: int, bits: int, kind: str) -> int:
    predictor = tags.whole(PREDICTOR, 1)
    if predictor == 1 or not is_bytes(compression):
        # Compressions of pictures have none: readers pass over the tag.
        return 1
    if compression not in _WITH_PREDICTOR:
        raise _unsupported(
            f"a predictor with {compression_name(compression)} compression"
            if compression != UNCOMPRESSED
            else "a predictor without compression",
            "it without predictor",
        )
    fits = {2: bits in {8, 16, 32, 64}, 3: kind == "f"}.get(predictor, False)
    if not fits:
        raise _unsupported(f"predictor {predictor} with {bits} bits a sample", "it without one")
    return predictor


def is_bytes(compression: int) -> bool:
    """Whether blocks decode to bytes that hold samples, rather than to samples."""
    return compression == UNCOMPRESSED or compression in LIBTIFF_BYTES


def _block(tags: _Tags, width: int, length: int, tiled: bool) -> tuple[int, int]:
    if not tiled:
        # Without the tag, or with 2^32 - 1, it is one strip.
        rows = tags.whole(ROWS_PER_STRIP, length)
        if not rows:
            raise _damaged(ROWS_PER_STRIP)
        return min(rows, length), width
    rows, columns = tags.whole(TILE_LENGTH, 0), tags.whole(TILE_WIDTH, 0)
    if not rows or not columns:
        raise _damaged(TILE_LENGTH if columns else TILE_WIDTH)
    return rows, columns


def _chroma_step(tags: _Tags) -> tuple[int, int]:
    across, down = tags.wholes(CHROMA_SUBSAMPLING) or (2, 2)
    if across not in {1, 2, 4} or down not in {1, 2, 4}:
        raise _damaged(CHROMA_SUBSAMPLING)
    if not _close(tags.ratios(LUMA_COEFFICIENTS), _LUMA, 1e-3):
        raise _unsupported("YCbCr by other coefficients than BT.601", "it as greyscale")
    if not _close(tags.ratios(REFERENCE_BLACK_WHITE), _FULL_RANGE, 0.5):
        raise _unsupported("YCbCr with head and foot room", "it as greyscale")
    return across, down


def _close(values: tuple[float, ...], wanted: tuple[float, ...], within: float) -> bool:
    """Whether a tag is missing or says what is the default anyway."""
    pairs = zip(values, wanted, strict=False)
    return not values or (
        len(values) == len(wanted) and all(abs(each - want) <= within for each, want in pairs)
    )


def _check_combination(layout: Layout) -> None:
    bits, colour, name = layout.bits, layout.colour, compression_name(layout.compression)
    what = f"{colour.value} samples of {bits} bits"
    if colour is not Colour.GREY and layout.kind == "i":
        raise _unsupported(f"signed {what}", "it as greyscale")
    if (colour is Colour.CMYK and bits not in {8, 16}) or (colour is Colour.YCBCR and bits != 8):
        raise _unsupported(what, "it as greyscale")
    if colour is Colour.PALETTE and (layout.kind != "u" or bits > 16):
        raise _unsupported(f"palette indices of {bits} bits", "it as greyscale")
    if layout.alpha and (layout.kind != "u" or bits > 16):
        raise _unsupported(f"opacity beside {what}", "it without opacity")
    if layout.alpha and layout.alpha.associated and layout.white_is_zero:
        raise _unsupported("grey from white to black multiplied by its opacity", "it without one")
    if layout.compression in CCITT and (bits != 1 or layout.samples // layout.planes != 1):
        raise CorruptScanError(
            f"the page has {layout.samples} samples of {bits} bits, {name} is for 1 bit; "
            "export the slice again"
        )
    if colour is Colour.YCBCR and layout.chroma_step != (1, 1):
        # Within a JPEG the stream itself says so.
        if layout.separate or layout.predictor != 1:
            raise _unsupported("YCbCr with fewer samples of chroma in this form", "it as greyscale")
        if not is_bytes(layout.compression) and layout.compression != JPEG:
            raise _unsupported(f"YCbCr with fewer samples of chroma in {name}", "it as greyscale")
    if layout.kind == "i" and layout.compression in WEBP | {JPEG}:
        raise _unsupported(f"signed samples in {name}", "it uncompressed")


def _unsupported(what: str, instead: str) -> UnsupportedScanError:
    return UnsupportedScanError(f"the TIFF has {what}, which is not read; export {instead}")


def _damaged(code: int) -> ScanError:
    return CorruptScanError(f"the value of TIFF tag {code} is damaged; export the slice again")
