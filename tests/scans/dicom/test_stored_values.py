"""Bits Stored, High Bit and sign that contradict the pixels: the right grey, and a word of it."""

import numpy as np
import pytest
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.spec import Finding
from support.dicom_cases import encapsulated_frames, lossless_jpeg
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.phantoms import air, head
from support.scan_cases import decoded, dicom_bytes, dicom_dataset, noise

DOUBTED = (Finding.CONTRADICTORY_HEADER,)
SIDE = 64
HEAD = head(SIDE, 1000)
BRIGHT = head(SIDE, 3000)
SIGNED = head(SIDE, 1500) - 500
SEEDS = range(4)


def read_one(data):
    (scan,) = decoded(read_dicom(data, "slice.dcm", Limits()))
    return scan


def words(values, bits=16):
    return (values & ((1 << bits) - 1)).astype(f"u{bits // 8}")


def header(stored, high=None, signed=False, **elements):
    return {
        "BitsStored": stored,
        "HighBit": stored - 1 if high is None else high,
        "PixelRepresentation": int(signed),
        **elements,
    }


def window(centre, width):
    return {"WindowCenter": str(centre), "WindowWidth": str(width)}


def native(coded, syntax=ExplicitVRLittleEndian, **elements):
    return dicom_bytes(dicom_dataset(coded, **elements), syntax)


def run_length(coded, **elements):
    # As if the header were right: the encoder would refuse the other.
    plain = dicom_dataset(coded)
    plain.file_meta = Dataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    compress(plain, RLELossless, generate_instance_uid=False)
    dataset = dicom_dataset(coded, **elements)
    dataset.PixelData = plain.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset, RLELossless)


def jpeg_2000(samples, precision, **elements):
    """(H, W) signed or unsigned as its codestream says it, under any header."""
    frame = encode_array(samples, bits_stored=precision)
    return encapsulated_frames(
        dicom_dataset(samples.view(f"u{samples.itemsize}"), **elements),
        [bytes(frame)],
        JPEG2000Lossless,
    )


def jpeg_ls(coded, precision, **elements):
    plain = dicom_dataset(coded, BitsStored=precision, HighBit=precision - 1)
    plain.file_meta = Dataset()
    plain.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    compress(plain, JPEGLSLossless, generate_instance_uid=False)
    dataset = dicom_dataset(coded, **elements)
    dataset.PixelData = plain.PixelData
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset, JPEGLSLossless)


def jpeg_lossless(coded, precision, **elements):
    frame = lossless_jpeg(coded, precision)
    return encapsulated_frames(dicom_dataset(coded, **elements), [frame], JPEGLosslessSV1)


CODINGS = {
    "explicit": lambda coded, **elements: native(coded, **elements),
    "implicit": lambda coded, **elements: native(coded, ImplicitVRLittleEndian, **elements),
    "run length": run_length,
    "JPEG 2000": lambda coded, **elements: jpeg_2000(coded, 16, **elements),
    "JPEG-LS": lambda coded, **elements: jpeg_ls(coded, 16, **elements),
    "lossless JPEG": lambda coded, **elements: jpeg_lossless(coded, 16, **elements),
}
every_coding = pytest.mark.parametrize("write", CODINGS.values(), ids=CODINGS)


@every_coding
@pytest.mark.parametrize("stored", [10, 11])
@pytest.mark.parametrize("seed", SEEDS)
def test_values_that_need_more_bits_than_stored(write, stored, seed):
    values = head(SIDE, 3000, seed)
    scan = read_one(write(words(values), **header(stored)))
    assert_rounded(scan.pixels, by_percentile(values))
    assert scan.findings == DOUBTED


@every_coding
def test_signed_values_that_need_more_bits_than_stored(write):
    values = head(SIDE, 3000) - 1000
    scan = read_one(write(words(values), **header(10, signed=True)))
    assert_rounded(scan.pixels, by_percentile(values))
    assert scan.findings == DOUBTED


JUNK = {
    "the same in every pixel": np.full((SIDE, SIDE), 0xA, np.uint16),
    "random": noise((SIDE, SIDE), np.uint16, high=16),
    "one random bit": noise((SIDE, SIDE), np.uint16, high=2),
    "a bright half": np.repeat([[0, 9]], SIDE * SIDE // 2, axis=0).reshape(SIDE, SIDE).T % 16,
    "text": np.pad(noise((6, 20), np.uint16, high=2), ((4, SIDE - 10), (30, SIDE - 50))),
}


@every_coding
@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
@pytest.mark.parametrize("voi", [{}, window(500, 1000)], ids=["percentiles", "window"])
def test_junk_above_the_stored_bits_is_no_part_of_the_values(write, junk, voi):
    coded = words(HEAD) | (junk.astype(np.uint16) << 12)
    scan = read_one(write(coded, **header(12, **voi)))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000) if voi else by_percentile(HEAD))
    assert scan.findings == ()


@every_coding
def test_junk_above_signed_values(write):
    coded = (words(SIGNED) & 0xFFF) | (JUNK["random"] << 12)
    scan = read_one(write(coded, **header(12, signed=True, **window(100, 900))))
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == ()


@every_coding
@pytest.mark.parametrize("high", [13, 15])
def test_high_bit_above_right_aligned_values(write, high):
    scan = read_one(write(words(HEAD), **header(12, high, **window(500, 1000))))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == DOUBTED


@every_coding
def test_high_bit_above_signed_right_aligned_values(write):
    scan = read_one(write(words(SIGNED), **header(12, 15, signed=True, **window(100, 900))))
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == DOUBTED


@every_coding
@pytest.mark.parametrize("high", [3, 40, 255])
def test_high_bit_that_cannot_be(write, high):
    scan = read_one(write(words(HEAD), **header(12, high, **window(500, 1000))))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == DOUBTED


@every_coding
def test_left_aligned_values_as_their_high_bit_says(write):
    scan = read_one(write(words(HEAD << 4), **header(12, 15, **window(500, 1000))))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == ()


@every_coding
@pytest.mark.parametrize("values", [BRIGHT, SIGNED], ids=["unsigned", "signed"])
def test_left_aligned_values_under_a_low_high_bit(write, values):
    signed = bool(values.min() < 0)
    scan = read_one(write(words(values << 4), **header(12, signed=signed, **window(700, 1500))))
    assert_rounded(scan.pixels, windowed(values, 700, 1500))
    assert scan.findings == DOUBTED


@every_coding
def test_signed_values_under_an_unsigned_header(write):
    """Their sign is drawn up to the top of the word, which junk never is."""
    scan = read_one(write(words(SIGNED), **header(12, **window(100, 900))))
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == DOUBTED


@pytest.mark.parametrize("stored", [12, 16])
@pytest.mark.parametrize("precision", [12, 16])
def test_signed_codestream_under_an_unsigned_header(stored, precision):
    data = jpeg_2000(SIGNED.astype(np.int16), precision, **header(stored, **window(100, 900)))
    scan = read_one(data)
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == DOUBTED


def test_signed_codestream_without_a_negative_value_is_no_contradiction():
    scan = read_one(jpeg_2000(HEAD.astype(np.int16), 12, **header(12)))
    assert_rounded(scan.pixels, by_percentile(HEAD))
    assert scan.findings == ()


def test_signed_codestream_of_unsigned_words():
    """An encoder was told of a sign that is none: words from 32768 on came to be negative."""
    values = head(SIDE, 60000)
    data = jpeg_2000(words(values).view(np.int16), 16, **header(16))
    scan = read_one(data)
    assert_rounded(scan.pixels, by_percentile(values))
    assert scan.findings == DOUBTED


def test_unsigned_codestream_of_signed_words():
    data = jpeg_2000(words(SIGNED) & 0xFFF, 12, **header(12, signed=True, **window(100, 900)))
    scan = read_one(data)
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == DOUBTED


def test_unsigned_codestream_under_a_signed_header():
    data = jpeg_2000(words(BRIGHT), 12, **header(12, signed=True, **window(1500, 3000)))
    scan = read_one(data)
    assert_rounded(scan.pixels, windowed(BRIGHT, 1500, 3000))
    assert scan.findings == DOUBTED


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_fewer_bits_in_the_codestream_than_stored(signed):
    values = SIGNED if signed else HEAD
    dtype = np.int16 if signed else np.uint16
    data = jpeg_2000(values.astype(dtype), 12, **header(16, signed=signed, **window(100, 900)))
    scan = read_one(data)
    assert_rounded(scan.pixels, windowed(values, 100, 900))
    assert scan.findings == ()


def test_fewer_bits_in_a_jpeg_ls_stream_than_stored():
    """The stream says of no sign: it is at the top of its own samples."""
    data = jpeg_ls(words(SIGNED) & 0xFFF, 12, **header(16, signed=True, **window(100, 900)))
    scan = read_one(data)
    assert_rounded(scan.pixels, windowed(SIGNED, 100, 900))
    assert scan.findings == DOUBTED


@every_coding
@pytest.mark.parametrize("values", [HEAD, BRIGHT, SIGNED], ids=["small", "large", "signed"])
def test_pixel_representation_missing(write, values):
    bits = 12 if values.min() >= 0 else 16
    elements = {**header(bits), "PixelRepresentation": None}
    scan = read_one(write(words(values), **elements))
    assert_rounded(scan.pixels, by_percentile(values))


def test_high_bit_missing():
    scan = read_one(native(words(HEAD), BitsStored=12, HighBit=None, **window(500, 1000)))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == ()


@every_coding
def test_padding_beyond_the_stored_bits_is_padding(write):
    coded = words(HEAD)
    coded[:, :20] = 0xF830
    elements = header(12, PixelPaddingValue=0xF830, **window(500, 1000))
    scan = read_one(write(coded, **elements))
    exact = windowed(HEAD, 500, 1000)
    exact[:, :20] = 0
    assert_rounded(scan.pixels, exact)
    assert scan.findings == ()


def test_noise_is_doubted_where_nothing_tells():
    values = noise((SIDE, SIDE), np.uint16, high=4096)
    assert read_one(native(values, **header(10))).findings == DOUBTED


def test_a_slice_of_air_with_an_overlay_is_read_as_its_header_says():
    values = air(SIDE)
    coded = words(values) | (JUNK["text"].astype(np.uint16) << 12)
    scan = read_one(native(coded, **header(12)))
    assert_rounded(scan.pixels, by_percentile(values))
    assert scan.findings == ()


@pytest.mark.parametrize(
    ("allocated", "stored"), [(8, 12), (16, 0), (16, 17), (12, 12), (24, 12), (64, 12)]
)
def test_bits_that_cannot_be_are_told(allocated, stored):
    with pytest.raises(CorruptScanError, match=f"{stored} bits of {allocated}"):
        read_one(native(words(HEAD), BitsAllocated=allocated, BitsStored=stored))


def test_right_headers_are_not_doubted():
    for values, elements in (
        (HEAD, header(10)),
        (BRIGHT, header(12)),
        (SIGNED, header(12, signed=True)),
        (SIGNED, header(16, signed=True)),
    ):
        for write in CODINGS.values():
            scan = read_one(write(words(values), **elements))
            assert_rounded(scan.pixels, by_percentile(values))
            doubted = DOUBTED if write is CODINGS["JPEG 2000"] and values is SIGNED else ()
            # Its codestream is unsigned here, under a signed header.
            assert scan.findings == doubted


@pytest.mark.parametrize("values", [HEAD, BRIGHT], ids=["1000", "3000"])
@pytest.mark.parametrize("frames", [None, "1"], ids=["undeclared", "declared"])
def test_two_bytes_a_pixel_under_8_bits_allocated_are_told(values, frames):
    elements = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    data = native(words(values), **elements, **({"NumberOfFrames": frames} if frames else {}))
    with pytest.raises(CorruptScanError, match=r"two bytes a pixel.*Bits Allocated"):
        read_one(data)


MASKS = {
    "of the bright": (HEAD > 600).astype(np.uint16),
    "of the dark": (HEAD < 200).astype(np.uint16),
    "of bits that leave a gap": (HEAD > 200).astype(np.uint16) * 9,
    "of the value's own bits": (HEAD >> 7).astype(np.uint16),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks_drawn_along_the_picture_are_no_part_of_the_values(mask):
    scan = read_one(native(words(HEAD) | (mask << 12), **header(12, **window(500, 1000))))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))


@pytest.mark.parametrize("stored", [10, 11])
def test_sharp_edges_between_values_that_need_more_bits(stored):
    values = np.zeros((SIDE, SIDE), np.int64)
    values[8:56, 8:56] = 2400
    values[12:52, 12:52] = 1300 + np.add.outer(np.arange(40), np.arange(40))
    values[30:40, 30:40] = 2900
    values[20:26, 16:30] = 400
    scan = read_one(native(words(values), **header(stored)))
    assert_rounded(scan.pixels, by_percentile(values))
    assert scan.findings == DOUBTED
