import io
import tracemalloc
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import Limits, Provenance
from neuroscan_edge.scans.raster.orientation import upright
from neuroscan_edge.scans.raster.reader import read_raster
from neuroscan_edge.scans.raster.signature import has_signature
from support.scan_cases import (
    ORIENTATIONS,
    address_space,
    declared_bmp,
    declared_jpeg,
    declared_png,
    declared_tiff,
    decoded,
    encoded,
    exif,
    noise,
    png_chunk,
    png_file,
    png_header,
    tiff_file,
)

HALF_GREY_LEVEL = 0.5 + 1e-9
ONE_GREY_LEVEL = 1
# What JPEG at its best quality may add to a flat patch.
JPEG_GREY_LEVELS = 2
HEADROOM_BYTES = 200 << 20
SMALL_BYTES = 4 << 20
# IEND, and the two checksums of the last data chunk.
PNG_TRAILER_BYTES = 12 + 4 + 4

GREY = noise((37, 53))
GREY_16 = noise((37, 53), np.uint16)
RGB = noise((37, 53, 3))
RGB_16 = noise((37, 53, 3), np.uint16)
RGBA = noise((37, 53, 4))
RGBA_16 = noise((37, 53, 4), np.uint16)
LUMA = cv2.cvtColor(RGB, cv2.COLOR_RGB2GRAY)


def read(data, **limits):
    return decoded(read_raster(data, "slice", Limits(**limits)))


def read_one(data, **limits):
    (scan,) = read(data, **limits)
    assert scan.pixels.dtype == np.uint8
    assert scan.pixels.ndim == 2
    assert scan.pixels.flags.c_contiguous
    return scan.pixels


def windowed(values):
    """The percentile rule, exactly."""
    values = values.astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / (high - low) * 255, 0, 255)


def shaded(grey, alpha):
    return np.floor(grey.astype(np.float64) * alpha / np.iinfo(alpha.dtype).max + 0.5)


def luma_over_black(rgba):
    grey = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY)
    return shaded(grey, rgba[..., 3])


def palette_image(entries=16):
    indices = noise((37, 53), high=entries)
    palette = noise((256, 3))
    image = Image.frombytes("P", (53, 37), indices.tobytes())
    image.putpalette(palette.tobytes())
    return image, palette[indices]


LOSSLESS_8_BIT = {
    "PNG grey": encoded(GREY, "PNG"),
    "PNG grey by hand": png_file(GREY, "grey"),
    "TIFF grey": encoded(GREY, "TIFF"),
    "TIFF grey, LZW": encoded(GREY, "TIFF", compression="tiff_lzw"),
    "TIFF grey, deflate": encoded(GREY, "TIFF", compression="tiff_adobe_deflate"),
    "TIFF grey, big-endian": tiff_file([GREY], order=">"),
    "BMP grey": encoded(GREY, "BMP"),
    "WebP grey": encoded(GREY, "WEBP", lossless=True),
    "PNG grey as RGB": encoded(np.dstack([GREY] * 3), "PNG"),
    "BMP grey as RGB": encoded(np.dstack([GREY] * 3), "BMP"),
}

COLOUR_8_BIT = {
    "PNG": encoded(RGB, "PNG"),
    "TIFF": encoded(RGB, "TIFF"),
    "TIFF, LZW": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "TIFF, by hand": tiff_file([RGB]),
    "BMP": encoded(RGB, "BMP"),
    "WebP": encoded(RGB, "WEBP", lossless=True),
}

ALPHA_8_BIT = {
    "PNG": encoded(RGBA, "PNG"),
    "TIFF": encoded(RGBA, "TIFF"),
    "WebP": encoded(RGBA, "WEBP", lossless=True, exact=True),
}

GREY_16_BIT = {
    "PNG": encoded(GREY_16, "PNG"),
    "PNG by hand": png_file(GREY_16, "grey"),
    "TIFF": encoded(GREY_16, "TIFF"),
    "TIFF, LZW": encoded(GREY_16, "TIFF", compression="tiff_lzw"),
    "TIFF, little-endian": tiff_file([GREY_16]),
    "TIFF, big-endian": tiff_file([GREY_16], order=">"),
}

COLOUR_16_BIT = {
    "PNG": png_file(RGB_16, "rgb"),
    "TIFF": tiff_file([RGB_16]),
    "TIFF, big-endian": tiff_file([RGB_16], order=">"),
}


@pytest.mark.parametrize("data", LOSSLESS_8_BIT.values(), ids=LOSSLESS_8_BIT.keys())
def test_8_bit_grey_is_taken_as_it_is(data):
    assert np.array_equal(read_one(data), GREY)


@pytest.mark.parametrize("data", COLOUR_8_BIT.values(), ids=COLOUR_8_BIT.keys())
def test_8_bit_colour_becomes_luma(data):
    assert np.array_equal(read_one(data), LUMA)


@pytest.mark.parametrize("data", ALPHA_8_BIT.values(), ids=ALPHA_8_BIT.keys())
def test_8_bit_alpha_is_over_black(data):
    assert np.array_equal(read_one(data), luma_over_black(RGBA))


def test_16_bit_bitmap_is_8_bit_colour():
    # 5-6-5 bits: 16 bits a pixel, not 16 a channel.
    packed = np.full((4, 6), 0x39E7, np.uint16)
    packed[1:3, 2:4] = 0x7BEF
    masks = np.array([0xF800, 0x07E0, 0x001F], np.uint32).tobytes()
    core = np.array([40, 6, 4], np.uint32).tobytes() + np.array([1, 16], np.uint16).tobytes()
    core += np.array([3, packed.nbytes, 2835, 2835, 0, 0], np.uint32).tobytes()
    start = 14 + len(core) + len(masks)
    sizes = np.array([start + packed.nbytes, 0, start], np.uint32).tobytes()
    data = b"BM" + sizes + core + masks + packed.tobytes()
    with Image.open(io.BytesIO(data)) as image:
        rgb = np.asarray(image.convert("RGB"))
    assert set(np.unique(rgb)) < set(range(50, 140))
    assert np.array_equal(read_one(data), cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize("data", GREY_16_BIT.values(), ids=GREY_16_BIT.keys())
def test_16_bit_grey_is_windowed(data):
    assert np.abs(read_one(data) - windowed(GREY_16)).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("data", COLOUR_16_BIT.values(), ids=COLOUR_16_BIT.keys())
def test_16_bit_colour_becomes_luma_first(data):
    expected = windowed(cv2.cvtColor(RGB_16, cv2.COLOR_RGB2GRAY))
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


def test_16_bit_colour_keeps_more_than_8_bits():
    samples = np.dstack([noise((37, 53), np.uint16, high=200) + 30000] * 3)
    for data in (png_file(samples, "rgb"), tiff_file([samples])):
        assert np.abs(read_one(data) - windowed(samples[..., 0])).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize(
    "data", [png_file(RGBA_16, "rgba"), tiff_file([RGBA_16])], ids=["PNG", "TIFF"]
)
def test_16_bit_alpha_is_over_black(data):
    expected = windowed(luma_over_black(RGBA_16))
    assert np.abs(read_one(data) - expected).max() <= HALF_GREY_LEVEL


def test_16_bit_grey_with_alpha():
    samples = noise((37, 53, 2), np.uint16)
    expected = windowed(shaded(samples[..., 0], samples[..., 1]))
    actual = read_one(png_file(samples, "grey+alpha"))
    assert np.abs(actual - expected).max() <= HALF_GREY_LEVEL


def test_12_bit_values_in_16_bits_are_not_black():
    values = noise((64, 64), np.uint16, high=4096)
    pixels = read_one(encoded(values, "PNG"))
    assert np.abs(pixels - windowed(values)).max() <= HALF_GREY_LEVEL
    assert pixels.mean() > 100


def test_8_bit_grey_with_alpha():
    samples = noise((37, 53, 2))
    expected = shaded(samples[..., 0], samples[..., 1])
    by_pillow = encoded(Image.frombytes("LA", (53, 37), samples.tobytes()), "PNG")
    for data in (by_pillow, png_file(samples, "grey+alpha")):
        assert np.array_equal(read_one(data), expected)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_palette(file_format):
    image, rgb = palette_image()
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    assert np.array_equal(read_one(encoded(image, file_format)), expected)


def test_palette_with_a_transparent_entry():
    image, rgb = palette_image()
    expected = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    expected[np.asarray(image) == 5] = 0
    assert np.count_nonzero(expected == 0) > 0
    assert np.array_equal(read_one(encoded(image, "PNG", transparency=5)), expected)


def test_palette_with_half_transparent_entries():
    image, rgb = palette_image()
    alphas = noise((16,))
    expected = luma_over_black(np.dstack([rgb, alphas[np.asarray(image)]]))
    data = encoded(image, "PNG", transparency=alphas.tobytes())
    assert np.array_equal(read_one(data), expected)


def test_grey_with_a_transparent_level():
    levels = noise((37, 53), high=8) * 30 + 10
    expected = np.where(levels == 100, 0, levels)
    assert (levels == 100).any()
    data = encoded(Image.fromarray(levels), "PNG", transparency=100)
    assert np.array_equal(read_one(data), expected)


def test_rgb_with_a_transparent_colour():
    rgb = np.full((6, 7, 3), 200, np.uint8)
    rgb[2:4, 3:5] = (10, 250, 30)
    expected = np.full((6, 7), 200)
    expected[2:4, 3:5] = 0
    data = encoded(Image.fromarray(rgb), "PNG", transparency=(10, 250, 30))
    assert np.array_equal(read_one(data), expected)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "BMP"])
def test_1_bit(file_format):
    bits = noise((37, 53), high=2).astype(bool)
    data = encoded(Image.fromarray(bits), file_format)
    assert np.array_equal(read_one(data), np.where(bits, 255, 0))


def test_grey_jpeg_is_its_luminance_plane():
    data = encoded(GREY, "JPEG", quality=90)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "L"
        assert np.array_equal(read_one(data), np.asarray(image))


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("subsampling", [0, 2], ids=["4:4:4", "4:2:0"])
def test_colour_jpeg_is_its_luminance_plane(progressive, subsampling):
    # Saturated: decoding to colour and weighing it back would clip on the way.
    rgb = noise((80, 96, 3), high=2) * np.uint8(255)
    data = encoded(rgb, "JPEG", quality=92, subsampling=subsampling, progressive=progressive)
    with Image.open(io.BytesIO(data)) as image:
        image.draft("YCbCr", image.size)
        assert image.mode == "YCbCr"
        expected = np.asarray(image)[..., 0]
    assert np.array_equal(read_one(data), expected)


def test_grey_jpeg_stored_as_colour_is_the_same():
    options = {"quality": 90, "subsampling": 0}
    as_grey = encoded(GREY, "JPEG", quality=90)
    as_colour = encoded(np.dstack([GREY] * 3), "JPEG", **options)
    assert np.array_equal(read_one(as_grey), read_one(as_colour))


def test_jpeg_that_stores_rgb():
    data = encoded(RGB, "JPEG", quality=95, keep_rgb=True)
    with Image.open(io.BytesIO(data)) as image:
        expected = cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2GRAY)
    assert np.abs(read_one(data).astype(int) - expected).max() <= ONE_GREY_LEVEL


@pytest.mark.parametrize(
    ("ink", "expected"),
    [((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((0, 0, 0, 105), 150), ((0, 255, 255, 0), 76)],
    ids=["white", "black", "half", "red"],
)
def test_cmyk_jpeg(ink, expected):
    data = encoded(Image.new("CMYK", (16, 8), ink), "JPEG", quality=100)
    pixels = read_one(data)
    assert pixels.shape == (8, 16)
    assert np.abs(pixels.astype(int) - expected).max() <= JPEG_GREY_LEVELS


def test_pages_of_a_tiff_are_numbered():
    pages = [noise((10 + index, 20)) + np.uint8(index) for index in range(4)]
    scans = read(tiff_file(pages))
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2, 3]
    assert [scan.provenance.path for scan in scans] == ["slice"] * 4
    for page, scan in zip(pages, scans, strict=True):
        assert np.array_equal(scan.pixels, page)


def test_pages_of_a_tiff_written_by_pillow():
    pages = [GREY, GREY[::-1], GREY[:, ::-1]]
    first, *others = map(Image.fromarray, pages)
    data = encoded(first, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")
    assert [scan.pixels.tolist() for scan in read(data)] == [page.tolist() for page in pages]


def test_pages_of_different_kinds():
    rgb, floats = RGB, GREY.astype(np.float32)
    grey, wide, colour, real = (
        scan.pixels for scan in read(tiff_file([GREY, GREY_16, rgb, floats]))
    )
    assert np.array_equal(grey, GREY)
    assert np.abs(wide - windowed(GREY_16)).max() <= HALF_GREY_LEVEL
    assert np.array_equal(colour, LUMA)
    assert np.abs(real - windowed(floats)).max() <= HALF_GREY_LEVEL


def test_earlier_pages_are_given_before_a_bad_one():
    data = tiff_file([GREY, GREY])
    first, fault = read_raster(data[: -GREY.size // 2], "slice", Limits())
    assert np.array_equal(first.pixels, GREY)
    assert fault.provenance == Provenance("slice", 1)
    with pytest.raises(CorruptScanError):
        _ = fault.pixels


def test_every_page_of_16_bit_colour_is_read():
    first, second = read(tiff_file([RGB_16, RGB_16[::-1]]))
    expected = windowed(cv2.cvtColor(RGB_16, cv2.COLOR_RGB2GRAY))
    assert np.abs(first.pixels - expected).max() <= HALF_GREY_LEVEL
    assert np.abs(second.pixels - expected[::-1]).max() <= HALF_GREY_LEVEL


def test_limit_of_pages_is_inclusive():
    data = tiff_file([GREY] * 3)
    assert len(read(data, frames=3)) == 3
    frames = read_raster(data, "slice", Limits(frames=2))
    with pytest.raises(ScanTooLargeError, match="more than 2 pages"):
        next(frames)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_upright_is_pillows_transpose(orientation):
    image = Image.fromarray(GREY)
    image.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(upright(GREY, orientation), expected)


@pytest.mark.parametrize("orientation", [0, 9, -1, 65535, None, "1", (6, 6)], ids=repr)
def test_meaningless_orientation_is_ignored(orientation):
    assert np.array_equal(upright(GREY, orientation), GREY)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("PNG", {}),
        ("JPEG", {"quality": 90}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ],
    ids=["PNG", "JPEG", "WebP", "TIFF", "TIFF LZW"],
)
def test_orientation_in_a_file(file_format, options, orientation):
    data = encoded(GREY, file_format, exif=exif(orientation), **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("L"))
    assert expected.shape == (GREY.shape if orientation < 5 else GREY.shape[::-1])
    assert np.array_equal(read_one(data), expected)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize(
    "samples", [GREY, GREY_16, RGB, RGB_16, RGBA_16], ids=["L", "L16", "RGB", "RGB16", "RGBA16"]
)
def test_orientation_of_a_tiff_of_any_depth(samples, orientation):
    as_stored = read_one(tiff_file([samples]))
    turned = read_one(tiff_file([samples], [orientation]))
    assert np.array_equal(turned, upright(as_stored, orientation))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_of_a_16_bit_colour_png(orientation):
    tagged = png_file(RGB_16, "rgb", [(b"eXIf", exif(orientation).removeprefix(b"Exif\0\0"))])
    expected = upright(read_one(png_file(RGB_16, "rgb")), orientation)
    assert np.array_equal(read_one(tagged), expected)


def test_every_page_has_its_own_orientation():
    scans = read(tiff_file([GREY] * 3, [6, 1, 3]))
    expected = [np.rot90(GREY, -1), GREY, np.rot90(GREY, 2)]
    for scan, page in zip(scans, expected, strict=True):
        assert np.array_equal(scan.pixels, page)


@pytest.mark.parametrize("level", [0, 1, 128, 255])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_constant_8_bit_image_keeps_its_level(file_format, level):
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encoded(np.full((16, 24), level, np.uint8), file_format, **options)
    assert np.unique(read_one(data)).tolist() == [level]


@pytest.mark.parametrize("level", [0, 900, 65535])
def test_constant_16_bit_image_is_black(level):
    assert not read_one(encoded(np.full((16, 24), level, np.uint16), "PNG")).any()


def test_one_pixel():
    assert read_one(encoded(np.array([[77]], np.uint8), "PNG")).tolist() == [[77]]


def test_float_tiff_is_windowed():
    values = np.random.default_rng(5).normal(0, 1e-3, (37, 53)).astype(np.float32)
    for data in (tiff_file([values]), encoded(values, "TIFF")):
        assert np.abs(read_one(data) - windowed(values)).max() <= HALF_GREY_LEVEL


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["NaN", "Inf", "-Inf"])
def test_float_tiff_with_a_value_that_is_not_finite(value):
    values = np.ones((8, 8), np.float32)
    values[3, 4] = value
    with pytest.raises(CorruptScanError, match="not finite"):
        read(tiff_file([values]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32], ids=["8", "16", "float"])
def test_tiff_in_which_white_is_zero(dtype):
    dark_to_bright = np.arange(250, dtype=dtype)[None, :]
    pixels = read_one(tiff_file([dark_to_bright], white_is_zero=True))[0].astype(int)
    assert (np.diff(pixels) <= 0).all()
    assert pixels[0] == 255
    assert pixels[-1] < 10


def test_lab_colour_is_unsupported():
    with pytest.raises(UnsupportedScanError):
        read(encoded(Image.new("LAB", (8, 8)), "TIFF"))


DAMAGED_SOURCES = {
    "PNG": encoded(GREY, "PNG"),
    "PNG 16 bit": encoded(GREY_16, "PNG"),
    "PNG 16 bit colour": png_file(RGB_16, "rgb"),
    "JPEG": encoded(GREY, "JPEG", quality=90),
    "JPEG colour": encoded(RGB, "JPEG", quality=90),
    "JPEG progressive": encoded(GREY, "JPEG", quality=90, progressive=True),
    "TIFF": tiff_file([GREY]),
    "TIFF LZW": encoded(GREY, "TIFF", compression="tiff_lzw"),
    "TIFF 16 bit colour": tiff_file([RGB_16]),
    "BMP": encoded(GREY, "BMP"),
    "WebP": encoded(GREY, "WEBP", lossless=True),
}
CUTS = {
    "after 1 byte": lambda size: 1,
    "after 9 bytes": lambda size: 9,
    "after 30 bytes": lambda size: 30,
    "at a quarter": lambda size: size // 4,
    "at half": lambda size: size // 2,
    "at 90 %": lambda size: size * 9 // 10,
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS.keys())
@pytest.mark.parametrize("whole", DAMAGED_SOURCES.values(), ids=DAMAGED_SOURCES.keys())
def test_truncated_file_is_corrupt(whole, cut):
    assert read_one(whole).shape == GREY.shape
    with pytest.raises(ScanError) as caught:
        read(whole[: cut(len(whole))])
    assert isinstance(caught.value, CorruptScanError)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("lost_bytes", [1, 8, 40])
def test_png_cut_in_the_last_row_is_corrupt(lost_bytes):
    whole = png_file(GREY, "grey")
    with pytest.raises(CorruptScanError):
        read(whole[: -PNG_TRAILER_BYTES - lost_bytes])


NOT_IMAGES = {
    "one byte": b"\x89",
    "text": b"Exported on Monday. See the other folder.\n" * 20,
    "zeros": bytes(4096),
    "PNG signature alone": b"\x89PNG\r\n\x1a\n",
    "JPEG marker alone": b"\xff\xd8\xff",
    "TIFF magic alone": b"II*\x00",
    "TIFF with its directory beyond the end": b"II*\x00\xff\xff\xff\x7f",
    "BMP magic alone": b"BM",
    "WebP magic alone": b"RIFF\x04\x00\x00\x00WEBP",
}


@pytest.mark.parametrize("data", NOT_IMAGES.values(), ids=NOT_IMAGES.keys())
def test_content_that_is_no_image_is_corrupt(data):
    with pytest.raises(ScanError) as caught:
        read(data)
    assert caught.value.kind == "corrupt"


@pytest.mark.parametrize("file_format", ["GIF", "PPM", "ICO", "TGA", "JPEG2000"])
def test_other_format_is_refused(file_format):
    with pytest.raises(ScanError, match="PNG, JPEG, TIFF, BMP, WEBP"):
        read(encoded(Image.fromarray(GREY), file_format))


def test_gif_is_unsupported_not_corrupt():
    with pytest.raises(ScanError) as caught:
        read(encoded(GREY, "GIF"))
    assert isinstance(caught.value, UnsupportedScanError)
    assert caught.value.kind == "unsupported"


NO_PIXELS = {
    "PNG 0x5": declared_png(0, 5),
    "PNG 5x0": declared_png(5, 0),
    "PNG 0x0": declared_png(0, 0),
    "BMP 0x5": declared_bmp(0, 5),
    "JPEG 0x5": declared_jpeg(0, 5),
    "TIFF 0x5": declared_tiff(0, 5),
    "TIFF 5x0": declared_tiff(5, 0),
}


@pytest.mark.parametrize("data", NO_PIXELS.values(), ids=NO_PIXELS.keys())
def test_image_without_pixels_is_corrupt(data):
    with pytest.raises(ScanError) as caught:
        read(data)
    assert caught.value.kind == "corrupt"


# One row above the limit; above where Pillow warns; above where Pillow itself refuses.
TOO_LARGE = {
    f"{name} {width}x{height}": builder(width, height)
    for width, height in [(4096, 4097), (10000, 10000), (30000, 30000)]
    for name, builder in [
        ("PNG", declared_png),
        ("BMP", declared_bmp),
        ("JPEG", declared_jpeg),
        ("TIFF", declared_tiff),
    ]
}


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_declared_size_is_refused_before_allocation(data):
    assert len(data) < 1000
    tracemalloc.start()
    try:
        with (
            address_space(HEADROOM_BYTES),
            warnings.catch_warnings(),
            pytest.raises(ScanError) as caught,
        ):
            warnings.simplefilter("error")
            read(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(caught.value, ScanTooLargeError)
    assert caught.value.kind == "too-large"
    assert peak_bytes < SMALL_BYTES


def test_a_large_allocation_would_have_been_noticed():
    with address_space(HEADROOM_BYTES), pytest.raises(MemoryError):
        Image.new("L", (30000, 30000))


def tiff_with_huge_second_page(side):
    return tiff_file([GREY, np.zeros((1, 1), np.uint8)], declared=[None, (side, side)])


def test_second_page_too_large_is_refused():
    frames = read_raster(tiff_with_huge_second_page(30000), "slice", Limits())
    with address_space(HEADROOM_BYTES):
        assert np.array_equal(next(frames).pixels, GREY)
        with pytest.raises(ScanTooLargeError, match="30000x30000"):
            _ = next(frames).pixels


def test_raised_limit_still_ends_in_a_scan_error():
    # Pillow has a limit of its own, and judges later pages only when it decodes them.
    limits = Limits(image_pixels=500_000_000)
    frames = read_raster(tiff_with_huge_second_page(20000), "slice", limits)
    next(frames)
    with pytest.raises(ScanError):
        _ = next(frames).pixels


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "BMP", "WEBP"])
def test_limit_is_inclusive(file_format):
    data = encoded(noise((10, 12)), file_format)
    assert read_one(data, image_pixels=120).shape == (10, 12)
    with pytest.raises(ScanTooLargeError, match="12x10"):
        read(data, image_pixels=119)


def test_png_text_bomb_is_refused():
    bomb = b"Comment\0\0" + zlib.compress(bytes(64 << 20), 9)
    data = png_header(8, 8) + png_chunk(b"zTXt", bomb)
    with address_space(HEADROOM_BYTES), pytest.raises(CorruptScanError):
        read(data)


def test_every_format_is_known_by_its_first_bytes():
    for file_format in ("PNG", "JPEG", "TIFF", "BMP", "WEBP"):
        assert has_signature(encoded(GREY, file_format)[:132])
    assert has_signature(tiff_file([GREY], order=">")[:132])


@pytest.mark.parametrize(
    "head",
    [b"", b"RIFF\0\0\0\0WAVE", encoded(GREY, "GIF")[:132], b"Best regards", bytes(132)],
    ids=["empty", "WAVE", "GIF", "text", "zeros"],
)
def test_other_first_bytes_are_not_known(head):
    assert not has_signature(head)


def test_a_document_is_unsupported_and_named():
    with pytest.raises(UnsupportedScanError, match="PDF is not read"):
        read(b"%PDF-1.7\n" + bytes(200))


def tinted(share):
    """Grey but for a band in colour."""
    rgb = np.dstack([np.broadcast_to(np.arange(200, dtype=np.uint8), (200, 200))] * 3).copy()
    rgb[: round(share * 200), :, 0] = 200
    rgb[: round(share * 200), :, 2] = 80
    return rgb


COLOUR_FORMATS = {
    "PNG": lambda rgb: encoded(rgb, "PNG"),
    "JPEG": lambda rgb: encoded(rgb, "JPEG", quality=90),
    "JPEG, progressive": lambda rgb: encoded(rgb, "JPEG", progressive=True),
    "JPEG that stores RGB": lambda rgb: encoded(rgb, "JPEG", keep_rgb=True),
    "TIFF": lambda rgb: encoded(rgb, "TIFF"),
    "TIFF, 16 bit": lambda rgb: tiff_file([rgb.astype(np.uint16) * 257]),
    "BMP": lambda rgb: encoded(rgb, "BMP"),
    "WebP": lambda rgb: encoded(rgb, "WEBP", lossless=True),
    "palette": lambda rgb: encoded(Image.fromarray(rgb).quantize(256), "PNG"),
}


@pytest.mark.parametrize("encode", COLOUR_FORMATS.values(), ids=COLOUR_FORMATS.keys())
def test_colour_is_told_from_grey_in_three_channels(encode):
    told = {share: read(encode(tinted(share)))[0].facts.colour for share in (0, 0.2, 1)}
    assert told == {0: False, 0.2: True, 1: True}


def test_a_coloured_mark_is_no_colour_image():
    mark = tinted(0)
    mark[100:104, 20:60] = (255, 255, 0)
    assert not read(encoded(mark, "PNG"))[0].facts.colour
    faint = np.clip(tinted(0).astype(int) + (0, 0, 20), 0, 255).astype(np.uint8)
    assert not read(encoded(faint, "PNG"))[0].facts.colour


@pytest.mark.parametrize("shape", [(3, 3, 3), (7, 100, 3), (100, 7, 3), (1, 1, 3)])
def test_colour_of_a_small_jpeg(shape):
    assert read(encoded(np.full(shape, 90, np.uint8), "JPEG"))[0].facts.colour is False


def test_a_damaged_file_is_not_quoted():
    png = encoded(GREY, "PNG")
    quoting = png[:33] + b"\0\0\0\4Oyel" + png[41:]
    with pytest.raises(CorruptScanError) as caught:
        read(quoting)
    assert "Oyel" not in str(caught.value)
