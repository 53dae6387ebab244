"""Every layout of a TIFF page: the right grey, computed apart, or a refusal that names it."""

import io
import itertools

import cv2
import numpy as np
import pytest
import tifffile

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError, UnsupportedScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import decoded
from support.tiff_writing import (
    ASSOCIATED,
    BLACK_IS_ZERO,
    CMYK,
    COMPRESS,
    DEFLATE,
    DIFFERENCES,
    FLOAT_DIFFERENCES,
    LZW,
    NO_COMPRESSION,
    PACKBITS,
    PALETTE,
    RGB,
    UNASSOCIATED,
    UNSPECIFIED,
    VOID,
    WHITE_IS_ZERO,
    YCBCR,
    Page,
    Storage,
    written,
)

HALF_GREY_LEVEL = 0.5 + 1e-6
ONE_GREY_LEVEL = 1
SHAPE = (29, 37)
RNG = np.random.default_rng(2026)
LUMA = np.array([0.299, 0.587, 0.114])
# More than 24 of 255 levels between the channels of most pixels.
COLOURED = True

STORAGES = [
    Storage(),
    Storage(order=">"),
    Storage(big=True),
    Storage(block=(16, 16)),
    Storage(block=(29,)),
    Storage(block=(1,)),
    Storage(block=(100,)),
    Storage(block=(16, 48), order=">"),
    Storage(separate=True),
    Storage(separate=True, order=">"),
    Storage(separate=True, block=(16, 16)),
    Storage(separate=True, block=(7,), compression=LZW),
    Storage(separate=True, block=(16, 32), compression=DEFLATE, order=">", big=True),
    Storage(fill_order=2),
    Storage(fill_order=2, compression=LZW),
    *(Storage(compression=number) for number in (*COMPRESS, PACKBITS)),
    *(Storage(compression=number, block=(16, 16), order=">") for number in (*COMPRESS, PACKBITS)),
]
WITH_DIFFERENCES = [
    Storage(compression=compression, predictor=predictor, **how)
    for predictor in (DIFFERENCES, FLOAT_DIFFERENCES)
    for compression in COMPRESS
    if compression != NO_COMPRESSION
    for how in ({}, {"order": ">", "block": (16, 16)}, {"separate": True, "big": True})
]

GREY_TYPES = {
    **{f"{bits} bits": (np.uint8 if bits <= 8 else np.uint16, bits) for bits in range(1, 17)},
    "32 bits": (np.uint32, 32),
    "64 bits": (np.uint64, 64),
    **{f"signed, {8 << i} bits": (np.dtype(f"i{1 << i}"), 8 << i) for i in range(4)},
    **{f"float, {16 << i} bits": (np.dtype(f"f{2 << i}"), 16 << i) for i in range(3)},
}


def drawn(dtype, bits, samples=1):
    """Values over the whole range of a type, the ends of it among them."""
    dtype = np.dtype(dtype)
    shape = (*SHAPE, samples)
    if dtype.kind == "f":
        return RNG.normal(-3.5, 900, shape).astype(dtype)
    least, most = (
        (0, (1 << bits) - 1) if dtype.kind == "u" else (-1 << bits - 1, (1 << bits - 1) - 1)
    )
    values = RNG.integers(least, most, shape, dtype, endpoint=True)
    values[0, :2] = [[least], [most]]
    return values


def windowed(values):
    """The percentile rule, in integers as long as a float64 would not tell them apart."""
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        least = int(values.min())
        values = np.array([int(value) - least for value in values.ravel()], float).reshape(SHAPE)
    values = values.astype(np.float64)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / (high - low) * 255, 0, 255)


def expected_grey(values, bits, white_is_zero=False):
    if bits <= 8:
        least = -(1 << bits - 1) if values.dtype.kind == "i" else 0
        grey = (values.astype(int) - least) * 255 / ((1 << bits) - 1)
    else:
        grey = windowed(values)
    return 255 - grey if white_is_zero else grey


def read(data, **limits):
    return decoded(read_raster(data, "slice", Limits(**limits)))


def read_one(data, **limits):
    (scan,) = read(data, **limits)
    assert scan.pixels.dtype == np.uint8
    assert scan.pixels.flags.c_contiguous
    return scan


def check(page, storage, expected, coloured=None, within=HALF_GREY_LEVEL):
    scan = read_one(written([page], storage))
    assert scan.pixels.shape == expected.shape, storage
    assert np.abs(scan.pixels - expected).max() <= within, storage
    if coloured is not None:
        assert scan.facts.colour is coloured, storage


def fits(storage, dtype, samples):
    bits = np.dtype(dtype).itemsize * 8
    return (samples > 1 or not storage.separate) and (
        storage.predictor == 1
        or (storage.predictor == DIFFERENCES and bits in {8, 16, 32, 64})
        or (storage.predictor == FLOAT_DIFFERENCES and np.dtype(dtype).kind == "f")
    )


@pytest.mark.parametrize("photometric", [BLACK_IS_ZERO, WHITE_IS_ZERO])
@pytest.mark.parametrize(("dtype", "bits"), GREY_TYPES.values(), ids=GREY_TYPES.keys())
def test_grey_of_every_type(dtype, bits, photometric):
    values = drawn(dtype, bits)
    expected = expected_grey(values[..., 0], bits, photometric == WHITE_IS_ZERO)
    whole = bits in {8, 16, 32, 64}
    for storage in [*STORAGES, *(WITH_DIFFERENCES if whole else [])]:
        if fits(storage, dtype, 1):
            check(Page(values, bits, photometric), storage, expected, coloured=False)


@pytest.mark.parametrize("extra", [None, (UNSPECIFIED,), (UNSPECIFIED, UNSPECIFIED)], ids=repr)
@pytest.mark.parametrize(
    ("dtype", "bits"),
    [(np.uint8, 1), (np.uint8, 4), (np.uint8, 8), (np.uint16, 10), (np.uint16, 12)]
    + [(np.uint16, 16), (np.uint32, 32), (np.uint64, 64)]
    + [(np.float16, 16), (np.float32, 32), (np.float64, 64)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_rgb_of_every_type(dtype, bits, extra):
    """Samples of no stated meaning are passed over, whatever they hold."""
    values = drawn(dtype, bits, 3 + len(extra or ()))
    rgb = values[..., :3]
    if bits <= 8:
        eight = np.round(rgb * (255.0 / ((1 << bits) - 1))).astype(np.uint8)
        expected = cv2.cvtColor(np.ascontiguousarray(eight), cv2.COLOR_RGB2GRAY)
    elif dtype == np.uint16:
        expected = windowed(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))
    else:
        expected = windowed(rgb.astype(np.float64) @ LUMA)
    for storage in [*STORAGES, *(WITH_DIFFERENCES if bits in {8, 16, 32, 64} else [])]:
        if fits(storage, dtype, 3):
            check(Page(values, bits, RGB, extra), storage, expected, COLOURED)


@pytest.mark.parametrize("bits", [8, 10, 12, 16, 32])
def test_grey_in_three_channels_is_grey(bits):
    dtype = np.dtype(f"u{1 << max(bits - 1, 7).bit_length() - 3}")
    # Half of the range: colour is judged as it would be seen.
    values = np.repeat(drawn(dtype, bits) // 2, 3, axis=2)
    for storage in (Storage(), Storage(separate=True)):
        assert not read_one(written([Page(values, bits, RGB)], storage)).facts.colour
        tinted = values.copy()
        tinted[:10, :, 0] //= 3
        assert read_one(written([Page(tinted, bits, RGB)], storage)).facts.colour


ALPHAS = {
    "unassociated": (UNASSOCIATED,),
    "associated": (ASSOCIATED,),
    "after one of no meaning": (UNSPECIFIED, UNASSOCIATED),
    "twice": (UNASSOCIATED, ASSOCIATED),
}


@pytest.mark.parametrize("extra", ALPHAS.values(), ids=ALPHAS.keys())
@pytest.mark.parametrize("photometric", [BLACK_IS_ZERO, WHITE_IS_ZERO, RGB])
@pytest.mark.parametrize("bits", [2, 8, 10, 16])
def test_opacity_is_over_black(bits, photometric, extra):
    own = 3 if photometric == RGB else 1
    dtype = np.uint8 if bits <= 8 else np.uint16
    values = drawn(dtype, bits, own + len(extra))
    kind = next(each for each in extra if each != UNSPECIFIED)
    alpha = values[..., own + extra.index(kind)]
    most = (1 << bits) - 1
    page = Page(values, bits, photometric, extra)
    if kind == ASSOCIATED and photometric == WHITE_IS_ZERO:
        with pytest.raises(UnsupportedScanError, match="from white to black"):
            read(written([page], Storage()))
        return
    shown = values[..., :own].astype(np.float64)
    shown = shown @ LUMA if own == 3 else shown[..., 0]
    shown = most - shown if photometric == WHITE_IS_ZERO else shown
    if kind == UNASSOCIATED:
        shown = shown * alpha / most
    expected = shown * 255 / most if bits <= 8 else windowed(shown)
    for storage in STORAGES:
        check(page, storage, expected, within=ONE_GREY_LEVEL)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
@pytest.mark.parametrize("eight_bit_map", [False, True], ids=["map of 16 bits", "map of 8 bits"])
def test_palette(bits, eight_bit_map):
    entries = 1 << bits
    indices = drawn(np.uint8 if bits <= 8 else np.uint16, bits)
    colours = RNG.integers(0, 256, (3, entries))
    colours[0, 0] = 255
    stored = colours if eight_bit_map else colours * 257
    tag = {320: ("H", stored.ravel().tolist())}
    expected = cv2.cvtColor(colours.T.astype(np.uint8)[indices[..., 0]], cv2.COLOR_RGB2GRAY)
    for storage in STORAGES:
        if not storage.separate:
            check(Page(indices, bits, PALETTE, tags=tag), storage, expected)
    short = {320: ("H", stored.ravel().tolist()[:-1])}
    with pytest.raises(CorruptScanError, match="palette"):
        read(written([Page(indices, bits, PALETTE, tags=short)], Storage()))


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint16, 16)])
def test_cmyk(dtype, bits):
    values = drawn(dtype, bits, 4)
    most = float((1 << bits) - 1)
    light = 1 - values / most
    rgb = light[..., :3] * light[..., 3:]
    expected = rgb @ LUMA * 255 if bits == 8 else windowed(rgb @ LUMA)
    for storage in STORAGES:
        check(Page(values, bits, CMYK), storage, expected, COLOURED, within=ONE_GREY_LEVEL)


def subsampled(values, across, down):
    """Pack (H, W, 3) in units of luma and chroma, as section 21 has them."""
    height, width, _ = values.shape
    padded = np.pad(values, [(0, -height % down), (0, -width % across), (0, 0)], mode="edge")
    out = bytearray()
    for top, left in itertools.product(
        range(0, padded.shape[0], down), range(0, padded.shape[1], across)
    ):
        unit = padded[top : top + down, left : left + across]
        out += unit[..., 0].tobytes() + unit[0, 0, 1:].tobytes()
    return bytes(out)


@pytest.mark.parametrize("across", [1, 2, 4])
@pytest.mark.parametrize("down", [1, 2, 4])
def test_ycbcr_is_its_luma(across, down):
    values = drawn(np.uint8, 8, 3)
    tags = {530: ("H", [across, down])}
    for storage in (Storage(), Storage(block=(29,), compression=LZW)):
        rows = 8 if storage.block == (8,) else 29
        strips = [subsampled(values[top : top + rows], across, down) for top in range(0, 29, rows)]
        blocks = [bytes(COMPRESS[storage.compression](strip)) for strip in strips]
        scan = read_one(written([Page(values, 8, YCBCR, tags=tags)], storage, blocks=blocks))
        assert np.array_equal(scan.pixels, values[..., 0])
        assert scan.facts.colour
    grey = values.copy()
    grey[..., 1:] = 128
    strips = [subsampled(grey[top : top + 8], across, down) for top in range(0, 29, 8)]
    assert not read_one(
        written([Page(grey, 8, YCBCR, tags=tags)], Storage(), blocks=strips)
    ).facts.colour


def test_ycbcr_has_fewer_samples_of_chroma_by_default():
    values = drawn(np.uint8, 8, 3)
    strips = [subsampled(values[top : top + 8], 2, 2) for top in range(0, 29, 8)]
    scan = read_one(written([Page(values, 8, YCBCR)], Storage(), blocks=strips))
    assert np.array_equal(scan.pixels, values[..., 0])


@pytest.mark.parametrize("base", [2**53, 2**63 - 200, 2**64 - 1025])
def test_large_integers_keep_their_order(base):
    values = (np.arange(29 * 37).reshape(*SHAPE, 1) % 1024).astype(np.uint64) + np.uint64(base)
    expected = windowed(values[..., 0])
    assert np.ptp(expected) == 255
    check(Page(values, 64), Storage(), expected)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e307])
def test_floats_of_any_size(scale):
    values = RNG.uniform(-1, 1, (*SHAPE, 1))
    check(Page(values * scale, 64), Storage(), windowed(values[..., 0]))
    rgb = RNG.uniform(-1, 1, (*SHAPE, 3))
    check(Page(rgb * scale, 64, RGB), Storage(), windowed(rgb @ LUMA))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(dtype, value):
    values = drawn(dtype, 0)
    values[3, 4] = value
    with pytest.raises(CorruptScanError, match="not finite"):
        read(written([Page(values, values.itemsize * 8)], Storage()))


def test_void_samples_are_unsigned():
    values = drawn(np.uint8, 8)
    page = Page(values, 8, tags={339: ("H", [VOID])})
    assert np.array_equal(read_one(written([page], Storage())).pixels, values[..., 0])


def grey_page(photometric=BLACK_IS_ZERO, bits=8, dtype=np.uint8, samples=1, extra=None, **tags):
    changes = {int(name[1:]): value for name, value in tags.items()}
    return Page(drawn(dtype, bits, samples), bits, photometric, extra, changes)


UNSUPPORTED = {
    "complex integers": (grey_page(t339=("H", [5])), "complex integer"),
    "complex floats": (grey_page(t339=("H", [6]), bits=64, dtype=np.uint64), "complex floating"),
    "24 bits": (grey_page(t258=("H", [24])), "unsigned samples of 24 bits"),
    "signed, 12 bits": (grey_page(t258=("H", [12]), t339=("H", [2])), "signed samples of 12"),
    "float, 24 bits": (grey_page(t258=("H", [24]), t339=("H", [3])), "floating-point samples"),
    "5, 6 and 5 bits": (grey_page(RGB, samples=3, t258=("H", [5, 6, 5])), "different types"),
    "a mask, not said so": (grey_page(8), "L\\*a\\*b\\*"),
    **{
        f"photometric {number}": (grey_page(number, samples=3), word)
        for number, word in [
            (8, "CIE L"), (9, "ICC L"), (10, "ITU L"), (32803, "filter array"),
            (32844, "log luminance"), (32845, "log luminance"), (34892, "raw"), (999, "999"),
        ]
    },
    "L*a*b* of 16 bits": (grey_page(8, 16, np.uint16, 3), "CIE L"),
    "two samples, unspecified": (grey_page(samples=2, extra=(UNSPECIFIED,)), "not stated"),
    "two samples, not described": (grey_page(samples=2), "2 samples a pixel"),
    "nine samples": (grey_page(samples=9), "9 samples a pixel"),
    "RGB, signed": (grey_page(RGB, 8, np.int8, 3), "signed RGB"),
    "CMYK, 4 bits": (grey_page(CMYK, 4, samples=4), "CMYK samples of 4 bits"),
    "inks, not CMYK": (grey_page(CMYK, samples=4, t332=("H", [2])), "inks other than CMYK"),
    "YCbCr, 16 bits": (grey_page(YCBCR, 16, np.uint16, 3), "YCbCr samples of 16 bits"),
    "YCbCr, BT.709": (
        grey_page(YCBCR, samples=3, t529=("I", [2125, 10000, 7154, 10000, 721, 10000])),
        "coefficients",
    ),
    "palette, 32 bits": (grey_page(PALETTE, 32, np.uint32), "palette"),
    "opacity of floats": (
        grey_page(bits=32, dtype=np.float32, samples=2, extra=(UNASSOCIATED,)),
        "opacity",
    ),
    "ImageDepth": (grey_page(t32997=("I", [5])), "ImageDepth"),
    "predictor without compression": (grey_page(t317=("H", [2])), "without compression"),
    **{
        f"compression {number}": (grey_page(t259=("H", [number])), word)
        for number, word in [
            (6, "old-style JPEG"), (9, "JBIG"), (32766, "NeXT"), (32809, "ThunderScan"),
            (33003, "JPEG 2000 of YCbCr"), (34661, "JBIG"), (34676, "SGI log"), (34715, "JBIG2"),
            (34926, "Zstandard by"), (54321, "number 54321"),
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize(("page", "named"), UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_is_not_read_is_named(page, named):
    with pytest.raises(UnsupportedScanError, match=named) as caught:
        read(written([page], Storage()))
    assert "is not read; export" in str(caught.value)


PREDICTED = {
    "differences of 12 bits": (12, np.uint16, 2, "predictor 2 with 12 bits"),
    "float differences of integers": (16, np.uint16, 3, "predictor 3 with 16 bits"),
    "unknown": (8, np.uint8, 34892, "predictor 34892"),
}


@pytest.mark.parametrize(
    ("bits", "dtype", "predictor", "named"), PREDICTED.values(), ids=PREDICTED.keys()
)
def test_predictors_that_do_not_fit_are_named(bits, dtype, predictor, named):
    page = Page(drawn(dtype, bits), bits, tags={317: ("H", [predictor])})
    with pytest.raises(UnsupportedScanError, match=named):
        read(written([page], Storage(compression=LZW)))


CORRUPT = {
    "no width": (grey_page(t256=None), "0x29 pixels"),
    "no length": (grey_page(t257=None), "37x0 pixels"),
    "no photometric": (grey_page(t262=None), "262"),
    "no samples": (grey_page(t277=("H", [0])), "277"),
    "RGB of one sample": (grey_page(RGB), "RGB needs 3"),
    "sample format 9": (grey_page(t339=("H", [9])), "339"),
    "planar configuration 3": (grey_page(RGB, samples=3, t284=("H", [3])), "284"),
    "fill order 3": (grey_page(t266=("H", [3])), "266"),
    "no rows a strip": (grey_page(t278=("I", [0])), "278"),
    "tiles without width": (grey_page(t322=("I", [0])), "322"),
    "fax of 8 bits": (grey_page(t259=("H", [4])), "is for 1 bit"),
    "chroma in thirds": (grey_page(YCBCR, samples=3, t530=("H", [3, 1])), "530"),
}


@pytest.mark.parametrize(("page", "named"), CORRUPT.values(), ids=CORRUPT.keys())
def test_what_contradicts_itself_is_corrupt(page, named):
    with pytest.raises(CorruptScanError, match=named):
        read(written([page], Storage()))


def test_a_value_beyond_the_file_is_not_replaced_by_a_default():
    """Without its bits a page would be one of 1 bit."""
    data = bytearray(written([grey_page(RGB, samples=3)], Storage()))
    at = data.index(b"\x02\x01\x03\x00\x03\x00\x00\x00") + 8
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    with pytest.raises(CorruptScanError, match="TIFF tag 258 cannot be read"):
        read(bytes(data))


def test_samples_are_bounded_as_pixels_are():
    page = grey_page(RGB, 64, np.float64, 3)
    pixels = SHAPE[0] * SHAPE[1]
    with pytest.raises(ScanTooLargeError, match="3 samples of 64 bits"):
        read(written([page], Storage()), image_pixels=pixels)
    assert read(written([page], Storage()), image_pixels=2 * pixels)
    with pytest.raises(ScanTooLargeError, match="strip or tile"):
        read(written([grey_page(t322=("I", [20000]), t323=("I", [20000]))], Storage()))


READABLE_BY_TIFFFILE = [
    (bits, dtype, storage)
    for bits, dtype in [(8, np.uint8), (12, np.uint16), (16, np.int16), (32, np.float32)]
    for storage in [*STORAGES, *WITH_DIFFERENCES]
    if fits(storage, dtype, 3) and not (storage.predictor != 1 and bits == 12)
]


def test_the_files_of_these_tests_are_sound():
    """What is written here means the same to another reader."""
    for bits, dtype, storage in READABLE_BY_TIFFFILE:
        values = drawn(dtype, bits, 3)
        found = tifffile.imread(io.BytesIO(written([Page(values, bits, RGB)], storage)))
        found = np.moveaxis(found, 0, 2) if storage.separate else found
        assert np.array_equal(found, values), storage
