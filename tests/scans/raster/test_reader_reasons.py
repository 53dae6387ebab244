"""A raster file that is not read is called what it is, and nothing else is said of it."""

import re

import imagecodecs
import numpy as np
import pytest

from neuroscan_edge.errors import CorruptScanError, ScanError, UnsupportedScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.raster.reader import read_raster
from support.corpus.hostile_raster import raster_cases
from support.corpus.hostile_tiff import tiff_cases
from support.scan_cases import decoded, encoded

_RAMP = np.add.outer(np.arange(64), np.arange(80))
GREY = _RAMP.astype(np.uint8)
WIDE = (_RAMP * 400).astype(np.uint16)
RGB = np.dstack([GREY, GREY[::-1], 255 - GREY])
JPEG = encoded(GREY, "JPEG")


def frame_marker(marker):
    """A JPEG whose frame is of another process."""
    return JPEG.replace(b"\xff\xc0", bytes([0xFF, marker]), 1)


def components(count):
    at = JPEG.index(b"\xff\xc0") + 9
    return JPEG[:at] + bytes([count]) + JPEG[at + 1 :]


NAMED = {
    "12-bit JPEG": (
        imagecodecs.jpeg_encode(WIDE >> 4, bitspersample=12),
        "a JPEG with 12 bits a sample",
    ),
    "12-bit JPEG in colour": (
        imagecodecs.jpeg_encode(np.dstack([WIDE >> 4] * 3), bitspersample=12),
        "a JPEG with 12 bits a sample",
    ),
    "lossless JPEG of 16 bits": (
        imagecodecs.ljpeg_encode(WIDE, bitspersample=16),
        "a lossless JPEG with 16 bits a sample",
    ),
    "lossless JPEG of 12 bits": (
        imagecodecs.ljpeg_encode(WIDE >> 4, bitspersample=12),
        "a lossless JPEG with 12 bits a sample",
    ),
    "JPEG-LS": (imagecodecs.jpegls_encode(GREY), "JPEG-LS with 8 bits a sample"),
    "JPEG-LS of 16 bits": (imagecodecs.jpegls_encode(WIDE), "JPEG-LS with 16 bits a sample"),
    "JPEG-LS in colour": (imagecodecs.jpegls_encode(RGB), "JPEG-LS with 8 bits a sample"),
    "hierarchical JPEG": (frame_marker(0xC5), "a hierarchical JPEG"),
    "JPEG of 2 components": (components(2), "a JPEG with 2 components"),
    "JPEG 2000": (imagecodecs.jpeg2k_encode(GREY, codecformat="jp2"), "JPEG 2000"),
    "JPEG 2000 codestream": (imagecodecs.jpeg2k_encode(GREY, codecformat="j2k"), "JPEG 2000"),
    "JPEG XL": (imagecodecs.jpegxl_encode(GREY), "JPEG XL"),
    "JPEG XL in boxes": (imagecodecs.jpegxl_encode(GREY, usecontainer=True), "JPEG XL"),
    "JPEG XR": (imagecodecs.jpegxr_encode(GREY), "JPEG XR"),
    "AVIF": (imagecodecs.avif_encode(RGB), "AVIF"),
    "GIF": (encoded(GREY, "GIF"), "GIF"),
    "PDF": (b"%PDF-1.7\n" + bytes(200), "PDF"),
    "OpenEXR": (b"v/1\x01" + bytes(200), "OpenEXR"),
    "NRRD": (b"NRRD0005\n" + bytes(200), "NRRD"),
    "HDF5, as of MINC": (b"\x89HDF\r\n\x1a\n" + bytes(200), "HDF5"),
}


def read(data):
    return decoded(read_raster(data, "slice", Limits()))


@pytest.mark.parametrize(("data", "name"), NAMED.values(), ids=NAMED.keys())
def test_a_sound_file_of_another_kind_is_named(data, name):
    with pytest.raises(UnsupportedScanError, match=f"^{re.escape(name)} is not read; export"):
        read(data)


@pytest.mark.parametrize("samples", [GREY, RGB], ids=["grey", "RGB"])
def test_lossless_jpeg_of_8_bits_is_read_where_the_library_can(samples):
    data = imagecodecs.jpeg_encode(samples, lossless=True)
    try:
        (scan,) = read(data)
    except UnsupportedScanError as error:
        assert "a lossless JPEG with 8 bits a sample" in str(error)
    else:
        assert samples.ndim == 3 or np.array_equal(scan.pixels, samples)


DAMAGED = {
    "PNG": encoded(GREY, "PNG")[:20] + b"\xff" * 30,
    "JPEG": JPEG[:30] + bytes(50),
    "BMP": encoded(GREY, "BMP")[:-500],
    "WebP": encoded(RGB, "WEBP")[:40],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_called_by_its_format(name):
    with pytest.raises(CorruptScanError, match=f"the {name} is (damaged|truncated)"):
        read(DAMAGED[name])


def test_what_is_no_image_is_not_called_damaged():
    with pytest.raises(CorruptScanError, match="the content is none of PNG, JPEG, TIFF"):
        read(b"three slices" * 20)


CASES = [*raster_cases(), *tiff_cases()]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_no_exception_stands_for_a_reason(case, tmp_path):
    data = case.make(tmp_path).read_bytes()
    try:
        slices = list(read_raster(data, "slice", Limits(image_pixels=1 << 20)))
    except ScanError as error:
        reasons = [str(error)]
    else:
        reasons = [str(each.error) for each in slices if hasattr(each, "error")]
    for reason in reasons:
        assert not re.search(r"[A-Za-z](Error|Exception)\b|Traceback", reason), reason
        assert re.search(r"; |: ", reason), f"{reason} does not say what to do"
