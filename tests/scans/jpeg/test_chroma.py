import io

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.scans.jpeg.chroma import codes_no_chroma
from neuroscan_edge.scans.raster import colour
from neuroscan_edge.scans.raster.colour import is_coloured_jpeg
from neuroscan_edge.scans.raster.reader import _DECODER_ERRORS as DECODER_ERRORS
from support.scan_cases import encoded, noise

SIDE = 120
LEVELS = noise((SIDE, SIDE)) // 3 + np.arange(SIDE, dtype=np.uint8)
GREY = np.repeat(LEVELS[..., None], 3, axis=2)
COLOURED = GREY.copy()
COLOURED[30:90, 20:100, 0] = 230


def written(rgb, **options):
    return encoded(rgb, "JPEG", **{"optimize": True, **options})


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def with_adobe_marker(data, transform):
    body = b"Adobe\0\x64\0\0\0\0" + transform
    # In place of JFIF's marker, which decoders believe first.
    start = 4 + int.from_bytes(data[4:6], "big")
    return data[:2] + b"\xff\xee" + (len(body) + 2).to_bytes(2, "big") + body + data[start:]


PROVED = {
    "4:2:0": written(GREY),
    "4:4:4": written(GREY, subsampling=0),
    "of high quality": written(GREY, quality=98),
    "Adobe's YCbCr": with_adobe_marker(written(GREY), b"\1"),
    "damaged data": written(GREY)[:-400] + bytes(range(200)) + written(GREY)[-200:],
}
NOT_PROVED = {
    "common tables": encoded(GREY, "JPEG"),
    "one channel": written(LEVELS),
    "progressive": written(GREY, progressive=True),
    "Adobe's RGB": with_adobe_marker(written(GREY), b"\0"),
    "a short Adobe marker": with_adobe_marker(written(GREY), b""),
    "four channels": encoded(Image.fromarray(GREY).convert("CMYK"), "JPEG", optimize=True),
    "in colour": written(COLOURED),
    "channels as they are": written(GREY, keep_rgb=True),
    "no scan": written(GREY)[:300],
    "no JPEG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "nothing": b"",
}


@pytest.mark.parametrize("data", PROVED.values(), ids=PROVED.keys())
def test_headers_prove_a_grey_slice(data):
    assert codes_no_chroma(data)
    pixels = decoded(data)
    assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("data", NOT_PROVED.values(), ids=NOT_PROVED.keys())
def test_other_headers_prove_nothing(data):
    assert not codes_no_chroma(data)


def test_only_one_symbol_of_zero_proves():
    data = written(GREY)
    chroma_dc = b"\x01" + b"\x01" + bytes(15) + b"\0"
    at = data.index(chroma_dc)
    assert not codes_no_chroma(data[: at + 17] + b"\1" + data[at + 18 :])


def test_a_table_that_is_given_again_counts_as_it_was_last():
    data = written(GREY)
    other = written(COLOURED)
    scan = data.index(b"\xff\xda")
    tables = other[other.index(b"\xff\xc4") : other.index(b"\xff\xda")]
    assert not codes_no_chroma(data[:scan] + tables + data[scan:])


def test_what_looks_like_a_marker_to_nobody_hides_no_tables():
    data = written(COLOURED)
    scan, first = data.index(b"\xff\xda"), data.index(b"\xff\xc4")
    tables = data[first:scan]
    only_zero = b"".join(bytes([number, 1]) + bytes(15) + b"\0" for number in (0x01, 0x11))
    shown = b"\xff\xc4" + (2 + len(only_zero)).to_bytes(2, "big") + only_zero
    hidden = b"\xff\x00" + (2 + len(tables)).to_bytes(2, "big") + tables
    made = data[:scan] + shown + hidden + data[scan:]
    np.testing.assert_array_equal(decoded(made), decoded(data))
    assert not codes_no_chroma(made)


def test_changed_headers_never_prove_what_a_decoder_sees_in_colour():
    rng = np.random.default_rng(5)
    proved = seen = 0
    for number in range(600):
        data = bytearray(written(GREY if number % 2 else COLOURED, quality=60))
        end = data.index(b"\xff\xda") + 14
        data[rng.integers(2, end)] = rng.integers(256)
        try:
            pixels = decoded(bytes(data))
        except DECODER_ERRORS:
            # Most changes break the file; enough must not, see below.
            continue
        seen += 1
        if codes_no_chroma(bytes(data)):
            proved += 1
            assert (pixels == pixels[..., :1]).all()
    assert proved > 100
    assert seen > proved + 100


def test_what_headers_prove_is_not_decoded(monkeypatch):
    monkeypatch.setattr(colour, "_eighth", lambda data: pytest.fail("decoded"))
    assert not is_coloured_jpeg(written(GREY))


def test_what_opencv_does_not_decode_pillow_does(monkeypatch):
    monkeypatch.setattr(colour.cv2, "imdecode", lambda *given: None)
    assert is_coloured_jpeg(encoded(COLOURED, "JPEG"))
    assert not is_coloured_jpeg(encoded(GREY, "JPEG"))


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_opencv_and_pillow_see_the_same_eighth(monkeypatch, options):
    data = encoded(COLOURED, "JPEG", **options)
    fast = colour._eighth(data)
    monkeypatch.setattr(colour.cv2, "imdecode", lambda *given: None)
    np.testing.assert_array_equal(fast[..., ::-1], colour._eighth(data))
