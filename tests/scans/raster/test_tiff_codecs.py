"""Compressions of TIFF: each decodes to what another reader decodes, and to no more than that."""

import io
import struct
import sys
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError, UnsupportedScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.raster import tiff_codecs
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import address_space, decoded, encoded
from support.tiff_writing import (
    COMPRESS,
    DEFLATE,
    LZW,
    RGB,
    YCBCR,
    Page,
    Storage,
    written,
)

HALF_GREY_LEVEL = 0.5 + 1e-6
ONE_GREY_LEVEL = 1
# Two decoders of one lossy stream may round apart, and so may what follows.
LOSSY_GREY_LEVELS = 3
HEADROOM_BYTES = 200 << 20
JPEG, JPEG_2000, WEBP, PNG, JPEG_XR, JPEG_XL, LERC = 7, 34712, 50001, 34933, 34934, 50002, 34887

SIDE = 96
_ROWS, _COLUMNS = np.mgrid[:SIDE, :SIDE]
SMOOTH = np.sin(_ROWS / 9.0) * np.cos(_COLUMNS / 13.0) * 0.45 + 0.5
GREY = np.round(SMOOTH * 255).astype(np.uint8)
WIDE = np.round(SMOOTH * 65535).astype(np.uint16)
COLOUR = np.dstack([GREY, GREY.T, 255 - GREY])
# No level of which JPEG leaves the range, so that nothing is clipped.
MILD = COLOUR // 3 + 85
WIDE_COLOUR = np.dstack([WIDE, WIDE.T, 65535 - WIDE])


def read(data, **limits):
    return decoded(read_raster(data, "slice", Limits(**limits)))


def read_one(data, **limits):
    (scan,) = read(data, **limits)
    return scan.pixels


def saved(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, metadata=None, **options)
    return buffer.getvalue()


def windowed(values):
    low, high = np.percentile(values.astype(np.float64), (0.5, 99.5))
    return np.clip((values - low) / (high - low) * 255, 0, 255)


def luma(rgb):
    return cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY)


BLOCKS = {"strips": {"rowsperstrip": 16}, "tiles": {"tile": (32, 48)}, "one strip": {}}
# By what each is called in tifffile, and whether it is lossless.
LOSSLESS = {
    "JPEG 2000": ("jpeg2000", {"level": 0, "reversible": True}),
    "JPEG 2000, bare": ("jpeg2000", {"level": 0, "reversible": True, "codecformat": "j2k"}),
    "PNG": ("png", {}),
    "JPEG XR": ("jpegxr", {"level": 100}),
    "JPEG XL": ("jpegxl", {"lossless": True}),
}


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize(("name", "options"), LOSSLESS.values(), ids=LOSSLESS.keys())
@pytest.mark.parametrize("samples", [GREY, WIDE, COLOUR, WIDE_COLOUR], ids=["8", "16", "RGB", "48"])
def test_lossless_pictures(samples, name, options, blocks):
    how = {"compression": name, "compressionargs": options, **blocks}
    data = saved(samples, photometric="rgb" if samples.ndim == 3 else "minisblack", **how)
    stored = tifffile.imread(io.BytesIO(data))
    assert np.array_equal(stored, samples)
    grey = luma(samples) if samples.ndim == 3 else samples
    expected = grey if samples.dtype == np.uint8 else windowed(grey)
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
def test_lerc(dtype):
    values = (SMOOTH * 200).astype(dtype)
    data = saved(values, photometric="minisblack", compression="lerc", rowsperstrip=16)
    expected = values if dtype == np.uint8 else windowed(values)
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("bits", [9, 12])
def test_jpeg_2000_of_fewer_bits(bits):
    values = WIDE >> (16 - bits)
    stream = imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits, reversible=True)
    page = Page(values[..., None], bits)
    data = written([page], Storage(block=(SIDE,), compression=JPEG_2000), blocks=[stream])
    assert np.abs(read_one(data) - windowed(values)).max() <= HALF_GREY_LEVEL
    # Bits that the stream does not have would be another picture.
    wrong = written([Page(values[..., None], 16)], Storage(compression=JPEG_2000), blocks=[stream])
    with pytest.raises(CorruptScanError):
        read(wrong)


@pytest.mark.parametrize("signed", [np.int8, np.int16])
def test_signed_jpeg_2000(signed):
    values = (np.round((SMOOTH - 0.5) * 200)).astype(signed)
    stream = imagecodecs.jpeg2k_encode(values, level=0, reversible=True)
    page = Page(values[..., None], values.itemsize * 8)
    data = written([page], Storage(block=(SIDE,), compression=JPEG_2000), blocks=[stream])
    expected = values.astype(int) + 128 if signed == np.int8 else windowed(values)
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("samples", [COLOUR, np.dstack([COLOUR, GREY])], ids=["RGB", "RGBA"])
def test_webp(samples, lossless):
    alpha = samples.shape[2] == 4
    data = saved(
        samples, photometric="rgb", compression="webp", rowsperstrip=32,
        compressionargs={"lossless": lossless, "level": 95},
        extrasamples=["unassalpha"] if alpha else None,
    )  # fmt: skip
    stored = tifffile.imread(io.BytesIO(data))
    expected = luma(stored[..., :3]).astype(float)
    if alpha:
        expected = expected * stored[..., 3] / 255
    assert np.abs(read_one(data) - expected).max() <= ONE_GREY_LEVEL


@pytest.mark.parametrize("blocks", BLOCKS.values(), ids=BLOCKS.keys())
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "rgb", "ycbcr", "separated"])
def test_jpeg(photometric, blocks):
    samples = {"rgb": COLOUR, "ycbcr": MILD, "separated": np.dstack([COLOUR, GREY])}
    samples = samples.get(photometric, GREY)
    how = {"compression": "jpeg", "compressionargs": {"level": 92}, **blocks}
    if blocks.get("tile"):
        how["tile"] = (32, 48)
    data = saved(samples, photometric=photometric, **how)
    # What is stored, by another decoder; it makes RGB of YCbCr.
    stored = tifffile.imread(io.BytesIO(data)).astype(np.float64)
    if photometric == "separated":
        light = 1 - stored / 255
        stored = light[..., :3] * light[..., 3:] * 255
    grey = stored @ [0.299, 0.587, 0.114] if stored.ndim == 3 else stored
    expected = 255 - grey if photometric == "miniswhite" else grey
    assert np.abs(read_one(data) - expected).max() <= LOSSY_GREY_LEVELS


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "411"])
def test_jpeg_of_ycbcr_is_its_luminance_as_stored(subsampling):
    stream = imagecodecs.jpeg_encode(
        COLOUR, level=90, colorspace="RGB", outcolorspace="YCBCR", subsampling=subsampling
    )
    with Image.open(io.BytesIO(stream)) as image:
        image.draft("L", image.size)
        expected = np.asarray(image)
    across, down = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "411": (4, 1)}[subsampling]
    page = Page(COLOUR, 8, YCBCR, tags={530: ("H", [across, down])})
    data = written([page], Storage(block=(SIDE,), compression=JPEG), blocks=[stream])
    (scan,) = read(data)
    assert np.array_equal(scan.pixels, expected)
    assert scan.facts.colour


def test_jpeg_tables_that_are_stored_once():
    options = {"compression": "jpeg", "quality": 90}
    for image in (
        Image.fromarray(GREY),
        Image.fromarray(COLOUR),
        Image.fromarray(COLOUR).convert("YCbCr"),
    ):
        data = encoded(image, "TIFF", **options)
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            assert file.pages[0].jpegtables
            stored = file.pages[0].asarray().astype(np.float64)
        expected = stored @ [0.299, 0.587, 0.114] if stored.ndim == 3 else stored
        assert np.abs(read_one(data) - expected).max() <= LOSSY_GREY_LEVELS


def test_jpeg_of_separate_planes():
    planes = np.moveaxis(COLOUR, 2, 0)
    data = saved(
        planes, photometric="rgb", planarconfig="separate", compression="jpeg",
        compressionargs={"level": 95},
    )  # fmt: skip
    stored = np.moveaxis(tifffile.imread(io.BytesIO(data)), 0, 2)
    assert np.abs(read_one(data) - luma(stored).astype(int)).max() <= LOSSY_GREY_LEVELS


@pytest.mark.parametrize("colour", [False, True])
def test_jpeg_of_12_bits(colour):
    values = WIDE_COLOUR >> 4 if colour else WIDE >> 4
    space = {"colorspace": "RGB", "outcolorspace": "RGB"} if colour else {}
    stream = imagecodecs.jpeg_encode(values, bitspersample=12, level=95, **space)
    page = Page(values if colour else values[..., None], 12, RGB if colour else 1)
    data = written([page], Storage(block=(SIDE,), compression=JPEG), blocks=[stream])
    expected = windowed(luma(values) if colour else values)
    assert np.abs(read_one(data) - expected).max() <= LOSSY_GREY_LEVELS


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_jpeg(bits):
    values = (WIDE >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    stream = imagecodecs.ljpeg_encode(values, bitspersample=bits)
    page = Page(values[..., None], bits)
    data = written([page], Storage(block=(SIDE,), compression=JPEG), blocks=[stream])
    expected = values if bits == 8 else windowed(values)
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


def jpeg_page(stream, photometric, samples, **tags):
    page = Page(samples, 8, photometric, tags={int(name[1:]): tag for name, tag in tags.items()})
    return written([page], Storage(block=(SIDE,), compression=JPEG), blocks=[stream])


def test_a_jpeg_that_contradicts_its_page_is_corrupt():
    as_ycbcr = encoded(COLOUR, "JPEG", quality=90, subsampling=0)
    as_rgb = encoded(COLOUR, "JPEG", quality=90, keep_rgb=True)
    with pytest.raises(CorruptScanError, match="declares RGB, the JPEG within it YCbCr"):
        read(jpeg_page(as_ycbcr, RGB, COLOUR))
    with pytest.raises(CorruptScanError, match="declares YCbCr, the JPEG within it RGB"):
        read(jpeg_page(as_rgb, YCBCR, COLOUR, t530=("H", [1, 1])))
    assert np.abs(read_one(jpeg_page(as_rgb, RGB, COLOUR)) - luma(COLOUR).astype(int)).max() <= 9
    with pytest.raises(CorruptScanError, match="has 3 samples of 8 bits, the page declares 1"):
        read(jpeg_page(as_ycbcr, 1, GREY[..., None]))
    with pytest.raises(CorruptScanError, match="96x96 pixels, the page declares 96x120"):
        read(
            jpeg_page(encoded(GREY, "JPEG"), 1, np.zeros((120, 96, 1), np.uint8), t278=("I", [120]))
        )


@pytest.mark.parametrize("compression", ["tiff_ccitt", "group3", "group4"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fax(compression, white_is_zero):
    bits = GREY > 120
    tags = {262: 0 if white_is_zero else 1}
    data = encoded(Image.fromarray(bits), "TIFF", compression=compression, tiffinfo=tags)
    assert tifffile.TiffFile(io.BytesIO(data)).pages[0].photometric == tags[262]
    assert np.array_equal(read_one(data), np.where(bits, 255, 0))


def test_fax_with_reversed_bits():
    bits = GREY > 120
    data = encoded(Image.fromarray(bits), "TIFF", compression="group4")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        ((place,), (size,)) = page.dataoffsets, page.databytecounts
        photometric = int(page.photometric)
    reverse = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    blocks = [data[place : place + size].translate(reverse)]
    shown = Page(bits[..., None].astype(np.uint8), 1, photometric)
    storage = Storage(block=(SIDE,), compression=4, fill_order=2)
    assert np.array_equal(
        read_one(written([shown], storage, blocks=blocks)), np.where(bits, 255, 0)
    )


def test_blocks_are_decoded_together_within_a_bound(monkeypatch):
    data = written([Page(GREY[..., None], 8)], Storage(block=(7,), compression=LZW))
    whole = read_one(data)
    monkeypatch.setattr(tiff_codecs, "MAX_TOGETHER_BYTES", 3 * 7 * SIDE)
    assert np.array_equal(read_one(data), whole)
    assert np.array_equal(whole, GREY)
    monkeypatch.setattr(tiff_codecs, "MAX_BLOCK_BYTES", 7 * SIDE - 1)
    with pytest.raises(ScanTooLargeError, match="a compressed strip or tile of the TIFF has 672"):
        read(data)


def test_no_more_is_decoded_than_the_page_declares():
    bomb = zlib.compress(GREY.tobytes() + bytes(500 << 20), 9)
    page = Page(GREY[..., None], 8)
    data = written([page], Storage(block=(SIDE,), compression=DEFLATE), blocks=[bomb])
    with address_space(HEADROOM_BYTES):
        assert np.array_equal(read_one(data), GREY)


HUGE = 1 << 15


def declared_jpeg():
    stream = encoded(GREY, "JPEG")
    at = stream.index(b"\xff\xc0") + 5
    return stream[:at] + struct.pack(">HH", HUGE, HUGE) + stream[at + 4 :]


def declared_jpeg_2000():
    stream = imagecodecs.jpeg2k_encode(GREY, level=0, codecformat="j2k")
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    return stream[:at] + struct.pack(">II", HUGE, HUGE) + stream[at + 8 :]


def declared_png():
    stream = encoded(GREY, "PNG")
    header = struct.pack(">II", HUGE, HUGE) + stream[24:29]
    return stream[:16] + header + struct.pack(">I", zlib.crc32(b"IHDR" + header)) + stream[33:]


def larger_jpeg_xl():
    return imagecodecs.jpegxl_encode(np.zeros((4000, 4000), np.uint8), lossless=True)


def larger_jpeg_xr():
    return imagecodecs.jpegxr_encode(np.zeros((4000, 4000), np.uint8))


def larger_lerc():
    return imagecodecs.lerc_encode(np.zeros((4000, 4000), np.uint8))


def larger_webp():
    return encoded(np.zeros((8000, 8000, 3), np.uint8), "WEBP", quality=10, method=0)


LARGER = {
    JPEG: declared_jpeg,
    JPEG_2000: declared_jpeg_2000,
    PNG: declared_png,
    JPEG_XL: larger_jpeg_xl,
    JPEG_XR: larger_jpeg_xr,
    LERC: larger_lerc,
    WEBP: larger_webp,
}


@pytest.mark.parametrize("compression", LARGER, ids=lambda number: LARGER[number].__name__)
def test_a_stream_of_another_size_is_refused_before_memory_is_taken(compression):
    colour = compression == WEBP
    page = Page(COLOUR, 8, RGB) if colour else Page(GREY[..., None], 8)
    stream = LARGER[compression]()
    data = written([page], Storage(block=(SIDE,), compression=compression), blocks=[stream])
    with address_space(HEADROOM_BYTES), pytest.raises(CorruptScanError):
        read(data)


def test_a_palette_within_jpeg_2000_is_not_applied():
    """It could make 255 samples of each."""
    stream = imagecodecs.jpeg2k_encode(GREY, level=0, codecformat="jp2", reversible=True)
    at = stream.index(b"jp2c") - 4
    junk = struct.pack(">I4s", 24, b"uuid") + b"\xff\x4f\xff\x51" + bytes(12)
    page = Page(GREY[..., None], 8)
    storage = Storage(block=(SIDE,), compression=JPEG_2000)
    data = written([page], storage, blocks=[stream[:at] + junk + stream[at:]])
    assert np.array_equal(read_one(data), GREY)


DAMAGED = [*(number for number in COMPRESS if number != 1), 32773, JPEG, JPEG_2000, WEBP, 4, PNG]


@pytest.mark.parametrize("compression", DAMAGED)
@pytest.mark.parametrize("noise", [bytes(64), b"\xff" * 64, b"\xff\xd8\xff" + bytes(61)])
def test_damaged_data_are_corrupt_and_not_quoted(compression, noise):
    bits = 1 if compression == 4 else 8
    samples = GREY[..., None] >> (8 - bits)
    page = Page(COLOUR, 8, RGB) if compression == WEBP else Page(samples, bits)
    data = written([page], Storage(block=(SIDE,), compression=compression), blocks=[noise])
    try:
        read(data)
    except CorruptScanError as error:
        assert "Error" not in str(error)
    else:
        # Fax decoders take any bits for a picture.
        assert compression == 4


@pytest.mark.parametrize(
    ("compression", "name"),
    [(PNG, "PNG"), (JPEG_XR, "JPEG XR"), (JPEG_XL, "JPEG XL"), (LERC, "LERC")],
)
def test_a_decoder_that_is_not_installed_is_named(compression, name, monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    data = written(
        [Page(GREY[..., None], 8)], Storage(block=(SIDE,), compression=compression), blocks=[b"\0"]
    )
    wanted = f"needed to read {name} compression in TIFF.*neuroscan-edge\\[tiff\\]"
    with pytest.raises(UnsupportedScanError, match=wanted):
        read(data)


def test_what_needs_no_extra_does_without(monkeypatch):
    """Whatever else is installed, one decoder is used."""
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    for compression in (*COMPRESS, 32773):
        data = written([Page(GREY[..., None], 8)], Storage(compression=compression))
        assert np.array_equal(read_one(data), GREY)
