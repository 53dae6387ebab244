import io

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.raster.colour import CHROMA_LEVELS, COLOURED_SHARE, is_coloured
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import encoded, noise, png_file, tiff_file

SIDE = 200
SLICE = np.clip(noise((SIDE, SIDE)) // 4 + np.arange(SIDE, dtype=np.uint8) % 190, 0, 255)
GREY = np.repeat(SLICE.astype(np.uint8)[..., None], 3, axis=2)
COLOURED = GREY.copy()
COLOURED[50:110, 40:120, 0] = 230
TINTED = (GREY * np.array([1.0, 0.82, 0.6])).astype(np.uint8)
# 64 of 40,000 pixels, as a coloured mark is.
MARKED = GREY.copy()
MARKED[:8, :8] = (255, 0, 0)


def colour(data):
    (scan,) = read_raster(data, "slice", Limits())
    return scan.facts.colour


FORMATS = {
    "PNG": lambda rgb: encoded(rgb, "PNG"),
    "BMP": lambda rgb: encoded(rgb, "BMP"),
    "TIFF": lambda rgb: encoded(rgb, "TIFF"),
    "WebP": lambda rgb: encoded(rgb, "WEBP", lossless=True),
    "WebP lossy": lambda rgb: encoded(rgb, "WEBP", quality=60),
    "JPEG 4:2:0": lambda rgb: encoded(rgb, "JPEG", quality=75, subsampling=2),
    "JPEG 4:4:4": lambda rgb: encoded(rgb, "JPEG", quality=95, subsampling=0),
    "JPEG of low quality": lambda rgb: encoded(rgb, "JPEG", quality=10),
    "JPEG progressive": lambda rgb: encoded(rgb, "JPEG", progressive=True),
    "JPEG of CMYK": lambda rgb: encoded(Image.fromarray(rgb).convert("CMYK"), "JPEG"),
    "16-bit PNG": lambda rgb: png_file(rgb.astype(np.uint16) * 257, "rgb"),
    "16-bit TIFF": lambda rgb: tiff_file([rgb.astype(np.uint16) * 257]),
    "RGBA": lambda rgb: encoded(np.dstack([rgb, np.full((SIDE, SIDE), 255, np.uint8)]), "PNG"),
    "palette": lambda rgb: encoded(Image.fromarray(rgb).quantize(64), "PNG"),
}
every_format = pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())


@every_format
def test_grey_in_three_channels_is_not_in_colour(write):
    assert colour(write(GREY)) is False


@every_format
@pytest.mark.parametrize("rgb", [COLOURED, TINTED], ids=["a region", "a tint"])
def test_colour_is(write, rgb):
    assert colour(write(rgb)) is True


@pytest.mark.parametrize("name", ["PNG", "JPEG 4:2:0", "16-bit PNG"])
def test_a_small_mark_is_no_colour_image(name):
    assert colour(FORMATS[name](MARKED)) is False


@pytest.mark.parametrize("mode", ["L", "1", "I;16"])
def test_one_channel_is_never_in_colour(mode):
    image = Image.fromarray(SLICE.astype(np.uint16)) if mode == "I;16" else None
    image = image or Image.fromarray(SLICE.astype(np.uint8)).convert(mode)
    assert colour(encoded(image, "PNG")) is False


@pytest.mark.parametrize(
    ("spread", "coloured"), [(CHROMA_LEVELS, False), (CHROMA_LEVELS + 1, True)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_threshold_of_a_pixel(spread, coloured, dtype):
    scale = 257 if dtype == np.uint16 else 1
    rgb = np.full((20, 20, 3), 100 * scale, dtype)
    rgb[..., 2] += spread * scale
    assert is_coloured(rgb) is coloured


def test_share_of_an_image():
    rgb = np.zeros((100, 100, 3), np.uint8)
    pixels = round(COLOURED_SHARE * 100 * 100)
    rgb.reshape(-1, 3)[:pixels, 0] = 200
    assert is_coloured(rgb) is False
    rgb.reshape(-1, 3)[pixels, 0] = 200
    assert is_coloured(rgb) is True


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (3, 7), (700, 9)], ids=str)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_any_size(shape, file_format):
    rgb = np.zeros((*shape, 3), np.uint8)
    assert colour(encoded(rgb, file_format)) is False
    rgb[..., 0] = 220
    assert colour(encoded(rgb, file_format)) is True


def test_pixels_are_those_of_the_luminance_plane():
    data = FORMATS["JPEG 4:2:0"](COLOURED)
    (scan,) = read_raster(data, "slice", Limits())
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        assert np.array_equal(scan.pixels, np.asarray(image))
