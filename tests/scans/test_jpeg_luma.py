"""The luminance of JPEGs without colour: the bytes of decoding it alone, or nothing at all."""

import io

import numpy as np
import pytest
from cases import encoded, noise
from PIL import Image

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits, jpeg_luma, raster
from neuroscan_edge.scans.colour import is_coloured_jpeg
from neuroscan_edge.scans.jpeg_luma import colourless_luma
from neuroscan_edge.scans.raster import _DECODER_ERRORS as DECODER_ERRORS
from neuroscan_edge.scans.raster import read_raster

WIDTH, HEIGHT = 121, 90
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


GREYS = {
    "4:2:0": written(),
    "4:2:2": written(subsampling=1),
    "4:4:4": written(subsampling=0),
    "coarse": written(quality=20),
    "fine": written(quality=99),
    "restart markers": written(restart_marker_blocks=3),
    "extremes": written(np.repeat(255 * (LEVELS[..., None] > 60).astype(np.uint8), 3, axis=2)),
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
    "four channels": encoded(Image.fromarray(GREY).convert("CMYK"), "JPEG"),
    "no JPEG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "nothing": b"",
}


@pytest.mark.parametrize("data", GREYS.values(), ids=GREYS.keys())
def test_it_is_what_decoding_the_luminance_alone_gives(data):
    np.testing.assert_array_equal(colourless_luma(data, WIDTH, HEIGHT), luma_alone(data))


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS.keys())
def test_where_anything_is_unsure_there_is_none(data):
    assert colourless_luma(data, WIDTH, HEIGHT) is None


def test_a_single_block_in_colour_is_seen():
    spot = GREY.copy()
    spot[:8, :8, 2] = np.maximum(spot[:8, :8, 2], 12) - 12
    assert colourless_luma(written(spot, subsampling=0, quality=95), WIDTH, HEIGHT) is None


def test_another_size_than_the_header_says_or_a_huge_one_is_left_to_pillow(monkeypatch):
    data = written()
    assert colourless_luma(data, WIDTH + 1, HEIGHT) is None
    monkeypatch.setattr(jpeg_luma, "_MOST_PIXELS", WIDTH * HEIGHT - 1)
    assert colourless_luma(data, WIDTH, HEIGHT) is None


def refuse(*given):
    raise jpeg_luma.cv2.error("out of memory")


@pytest.mark.parametrize("decode", [lambda *given: None, refuse], ids=["nothing", "an error"])
def test_what_opencv_does_not_decode_pillow_does(monkeypatch, decode):
    data = written()
    (expected,) = read_raster(data, "a.jpg", Limits())
    monkeypatch.setattr(jpeg_luma.cv2, "imdecode", decode)
    assert colourless_luma(data, WIDTH, HEIGHT) is None
    (found,) = read_raster(data, "a.jpg", Limits())
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.facts == expected.facts and not found.facts.colour


def test_a_grey_file_is_decoded_once(monkeypatch):
    monkeypatch.setattr(raster, "is_coloured_jpeg", lambda data: pytest.fail("decoded again"))
    (scan,) = read_raster(written(), "a.jpg", Limits())
    np.testing.assert_array_equal(scan.pixels, luma_alone(written()))


def test_it_is_turned_upright_as_any_other():
    exif = Image.Exif()
    exif[0x0112] = 6
    (scan,) = read_raster(written(exif=exif), "a.jpg", Limits())
    np.testing.assert_array_equal(scan.pixels, np.rot90(luma_alone(written()), -1))


def test_a_cut_file_is_refused_though_its_end_was_put_back():
    """Cut within an embedded thumbnail, it ends as a whole file does."""
    thumbnail = written(GREY[:16, :16])
    body = b"Exif\0\0" + thumbnail
    marker = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    whole = written()[:2] + marker + written()[2:]
    assert colourless_luma(whole, WIDTH, HEIGHT) is not None
    cut = whole[: 2 + len(marker)]
    assert cut.endswith(b"\xff\xd9") and colourless_luma(cut, WIDTH, HEIGHT) is None
    with pytest.raises(CorruptScanError):
        list(read_raster(cut, "a.jpg", Limits()))


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
                mode, (width, height) = image.mode, image.size
        except DECODER_ERRORS:
            continue
        if mode != "RGB" or width * height > 1 << 20:
            continue
        # What OpenCV does not write would be this.
        left_behind = np.full((height, width, 3), 77, np.uint8)
        del left_behind
        luma = colourless_luma(data, width, height)
        if luma is not None:
            compared += 1
            np.testing.assert_array_equal(luma, luma_alone(data))
            assert not is_coloured_jpeg(data)
    assert compared > 250
