"""The luminance of JPEGs without colour: the bytes of decoding it alone, or nothing at all."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.jpeg import luma as jpeg_luma
from neuroscan_edge.scans.jpeg.luma import colourless_luma
from neuroscan_edge.scans.raster import reader as raster
from neuroscan_edge.scans.raster.colour import is_coloured_jpeg
from neuroscan_edge.scans.raster.reader import _DECODER_ERRORS as DECODER_ERRORS
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import decoded, encoded, noise

WIDTH, HEIGHT = 121, 90
MOST_PIXELS = 1 << 20
LEVELS = noise((HEIGHT, WIDTH)) // 3 + np.arange(WIDTH, dtype=np.uint8)
GREY = np.repeat(LEVELS[..., None], 3, axis=2)
COLOURED = GREY.copy()
COLOURED[40:56, 60:80, 0] = 230


def written(rgb=GREY, **options):
    return encoded(rgb, "JPEG", **options)


def luma_alone(data):
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        return np.asarray(image)


def with_segment(data, marker, body):
    return data[:2] + bytes([0xFF, marker]) + (len(body) + 2).to_bytes(2, "big") + body + data[2:]


TURNED = Image.Exif()
TURNED[0x0112] = 6

GREYS = {
    "4:2:0": written(),
    "4:2:2": written(subsampling=1),
    "4:4:4": written(subsampling=0),
    "coarse": written(quality=20),
    "fine": written(quality=99),
    "restart markers": written(restart_marker_blocks=3),
    "with a comment": with_segment(written(), 0xFE, b"DOE^JOHN"),
    "extremes": written(np.repeat(255 * (LEVELS[..., None] > 60).astype(np.uint8), 3, axis=2)),
}
WITH_MORE = {
    "turned": written(exif=TURNED.tobytes()),
    "with a profile": written(icc_profile=bytes(64)),
    "with Adobe's marker": with_segment(written(), 0xEE, b"Adobe\0\x64\0\0\0\0\1"),
}
OTHERS = {
    "in colour": written(COLOURED),
    "proved grey": written(optimize=True),
    "progressive": written(progressive=True),
    "one channel": written(LEVELS),
    "channels as they are": written(keep_rgb=True),
    "cut": written()[:-300],
    "bytes after the end": written() + b"\0",
    "a second end": written()[:-2] + b"\xff\xd9\xff\xd9",
    "a comment within the scan": written()[:-60] + b"\xff\xfe\0\4ab" + written()[-60:],
    "several images": encoded(GREY, "MPO", save_all=True, append_images=[Image.fromarray(GREY)]),
    "four channels": encoded(Image.fromarray(GREY).convert("CMYK"), "JPEG"),
    "no JPEG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "nothing": b"",
}


@pytest.mark.parametrize("data", GREYS.values(), ids=GREYS.keys())
def test_it_is_what_decoding_the_luminance_alone_gives(data):
    np.testing.assert_array_equal(
        colourless_luma(data, MOST_PIXELS, nothing_else=True), luma_alone(data)
    )


@pytest.mark.parametrize("data", WITH_MORE.values(), ids=WITH_MORE.keys())
def test_one_that_holds_more_is_taken_only_with_that_in_mind(data):
    assert colourless_luma(data, MOST_PIXELS, nothing_else=True) is None
    found = colourless_luma(data, MOST_PIXELS, nothing_else=False)
    np.testing.assert_array_equal(found, luma_alone(data))
    assert colourless_luma(written(), MOST_PIXELS, nothing_else=False) is None


@pytest.mark.parametrize("data", WITH_MORE.values(), ids=WITH_MORE.keys())
def test_one_that_holds_more_is_decoded_once_all_the_same(data, monkeypatch):
    monkeypatch.setattr(raster, "is_coloured_jpeg", lambda data: pytest.fail("decoded again"))
    (scan,) = read_raster(data, "a.jpg", Limits())
    assert sorted(scan.pixels.shape) == [HEIGHT, WIDTH]


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS.keys())
def test_where_anything_is_unsure_there_is_none(data):
    assert colourless_luma(data, MOST_PIXELS, nothing_else=True) is None


def test_a_single_block_in_colour_is_seen():
    spot = GREY.copy()
    spot[:8, :8, 2] = np.maximum(spot[:8, :8, 2], 12) - 12
    assert (
        colourless_luma(written(spot, subsampling=0, quality=95), MOST_PIXELS, nothing_else=True)
        is None
    )


def test_a_large_one_is_left_to_pillow_which_refuses_what_is_too_large(monkeypatch):
    data = written()
    assert colourless_luma(data, WIDTH * HEIGHT, nothing_else=True) is not None
    assert colourless_luma(data, WIDTH * HEIGHT - 1, nothing_else=True) is None
    with pytest.raises(ScanTooLargeError):
        decoded(read_raster(data, "a.jpg", Limits(image_pixels=WIDTH * HEIGHT - 1)))
    monkeypatch.setattr(jpeg_luma, "_MOST_PIXELS", WIDTH * HEIGHT - 1)
    assert colourless_luma(data, MOST_PIXELS, nothing_else=True) is None


def test_another_size_than_the_header_says_is_left_to_pillow(monkeypatch):
    smaller = cv2.imdecode(np.frombuffer(written(), np.uint8), cv2.IMREAD_COLOR)[:-1]
    monkeypatch.setattr(jpeg_luma.cv2, "imdecode", lambda *given: smaller)
    assert colourless_luma(written(), MOST_PIXELS, nothing_else=True) is None


def refuse(*given):
    raise jpeg_luma.cv2.error("out of memory")


@pytest.mark.parametrize("decode", [lambda *given: None, refuse], ids=["nothing", "an error"])
def test_what_opencv_does_not_decode_pillow_does(monkeypatch, decode):
    data = written()
    (expected,) = read_raster(data, "a.jpg", Limits())
    monkeypatch.setattr(jpeg_luma.cv2, "imdecode", decode)
    assert colourless_luma(data, MOST_PIXELS, nothing_else=True) is None
    (found,) = read_raster(data, "a.jpg", Limits())
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.facts == expected.facts and not found.facts.colour


def test_a_grey_file_is_decoded_once(monkeypatch):
    expected = luma_alone(written())
    monkeypatch.setattr(raster.Image, "open", lambda *given, **more: pytest.fail("opened again"))
    (scan,) = read_raster(written(), "a.jpg", Limits())
    np.testing.assert_array_equal(scan.pixels, expected)


def test_it_is_turned_upright_as_any_other():
    (scan,) = read_raster(written(exif=TURNED.tobytes()), "a.jpg", Limits())
    np.testing.assert_array_equal(scan.pixels, np.rot90(luma_alone(written()), -1))


def test_a_cut_file_is_refused_though_its_end_was_put_back():
    """Cut within an embedded thumbnail, it ends as a whole file does."""
    thumbnail = written(GREY[:16, :16])
    body = b"JFXX\0\x10" + thumbnail
    whole = with_segment(written(), 0xE0, body)
    assert colourless_luma(whole, MOST_PIXELS, nothing_else=True) is not None
    cut = whole[: 2 + 4 + len(body)]
    assert (
        cut.endswith(b"\xff\xd9") and colourless_luma(cut, MOST_PIXELS, nothing_else=True) is None
    )
    with pytest.raises(CorruptScanError):
        decoded(read_raster(cut, "a.jpg", Limits()))


def changed(rng, data):
    """Change some bytes, cut some out or put a marker in; the end stays."""
    data = bytearray(data)
    scan = data.index(b"\xff\xda")
    kind, at = rng.integers(4), int(rng.integers(scan, len(data) - 2))
    if kind == 0:
        for _ in range(rng.integers(1, 5)):
            data[rng.integers(2, len(data) - 2)] = rng.integers(256)
    elif kind == 1:
        del data[at : min(at + int(rng.integers(1, 300)), len(data) - 2)]
    elif kind == 2:
        data[at:at] = bytes([0xFF, rng.choice([0xD0, 0xD5, 0xD9, 0xDA, 0xC4, 0xDD, 0xFE, 0x01])])
    else:
        data[rng.integers(2, scan + 14)] = rng.integers(256)
    return bytes(data)


def test_damaged_files_give_the_same_pixels_or_are_left_to_pillow():
    rng = np.random.default_rng(7)
    # Pillow hands 64 KB at a time to its decoder.
    large = written(np.repeat(noise((400, 400))[..., None], 3, axis=2), quality=95)
    assert len(large) > 1 << 16
    sources = [*GREYS.values(), large]
    compared = 0
    for number in range(1000):
        data = changed(rng, sources[number % len(sources)])
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                size = image.size if image.mode == "RGB" else (1, 1)
        except DECODER_ERRORS:
            size = 1, 1
        if size[0] * size[1] > MOST_PIXELS:
            continue
        # What OpenCV does not write would be this.
        left_behind = np.full((*size[::-1], 3), 77, np.uint8)
        del left_behind
        luma = colourless_luma(data, MOST_PIXELS, nothing_else=True)
        if luma is not None:
            compared += 1
            np.testing.assert_array_equal(luma, luma_alone(data))
            assert not is_coloured_jpeg(data)
    assert compared > 250
