import io

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.reader import read_dicom
from support.dicom_cases import item
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.scan_cases import dicom_bytes, dicom_dataset, dicom_file, noise, swapped, voi_lut

STORED_8 = noise((9, 14))
STORED_12 = noise((9, 14), np.uint16, high=4096)
SIGNED_12 = STORED_12.astype(np.int16) - 2048
ONE_GREY_LEVEL = 1


def read_one(data):
    (scan,) = read_dicom(data, "slice.dcm", Limits())
    return scan.pixels


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_every_number_of_stored_bits(bits, signed):
    values = noise((9, 14), np.uint16, high=1 << bits).astype(np.int64)
    values -= (1 << (bits - 1)) if signed else 0
    words = (values & ((1 << bits) - 1)).astype(np.uint16)
    data = dicom_file(words, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed))
    assert_rounded(read_one(data), by_percentile(values))


@pytest.mark.parametrize("high_bit", [11, 13, 15])
def test_stored_bits_below_the_high_bit(high_bit):
    below = noise((9, 14), np.uint16, high=1 << (high_bit - 11))
    words = (STORED_12 << (high_bit - 11)) | below
    data = dicom_file(words, BitsStored=12, HighBit=high_bit)
    assert_rounded(read_one(data), by_percentile(STORED_12))


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_32_bits(dtype):
    values = noise((9, 14), dtype, high=1 << 30)
    assert_rounded(read_one(dicom_file(values)), by_percentile(values))


def padded(stored, share=0.3):
    return np.random.default_rng(7).random(stored.shape) < share


def with_padding(values, padding, exact):
    exact = exact.copy()
    exact[padding] = 0
    return exact


PADDING = {
    "unsigned": (STORED_12.astype(np.int64), 4095, {}, False),
    "signed": (SIGNED_12.astype(np.int64), -2048, {}, True),
    "signed, written as unsigned": (SIGNED_12.astype(np.int64), -2048, {"as": 63488}, True),
}


def padding_file(values, mask, value, signed, *, limit=None, written=None, **elements):
    stored = np.where(mask, value, values).astype(np.int16 if signed else np.uint16)
    dataset = dicom_dataset(stored, **elements)
    number = value if written is None else written
    dataset.add_new("PixelPaddingValue", "SS" if number < 0 else "US", number)
    if limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", "SS" if limit < 0 else "US", limit)
    return stored, dicom_bytes(dataset)


@pytest.mark.parametrize(("values", "value", "how", "signed"), PADDING.values(), ids=PADDING.keys())
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_not_counted(values, value, how, signed, photometric):
    mask = padded(values)
    stored, data = padding_file(
        values,
        mask,
        value,
        signed,
        written=how.get("as"),
        PhotometricInterpretation=photometric,
    )
    padding = stored == value
    counted = stored[~padding].astype(np.float64)
    low, high = np.percentile(counted, (0.5, 99.5))
    exact = np.clip((stored - low) / (high - low) * 255, 0, 255)
    exact = 255 - exact if photometric == "MONOCHROME1" else exact
    assert_rounded(read_one(data), with_padding(stored, padding, exact))


@pytest.mark.parametrize(("value", "limit"), [(0, 99), (99, 0), (51, 51)])
def test_padding_range_holds_both_ends(value, limit):
    low, high = min(value, limit), max(value, limit)
    values = noise((40, 50), np.uint16, high=4096).astype(np.int64)
    values[::7] = np.arange(50) * 3
    stored, data = padding_file(values, np.zeros_like(values, bool), value, False, limit=limit)
    padding = (stored >= low) & (stored <= high)
    assert padding.any()
    assert not read_one(data)[padding].any()
    bounds = np.percentile(stored[~padding].astype(np.float64), (0.5, 99.5))
    exact = np.clip((stored - bounds[0]) / (bounds[1] - bounds[0]) * 255, 0, 255)
    assert_rounded(read_one(data), with_padding(stored, padding, exact))


def test_padding_is_compared_before_rescale_and_black_under_a_window():
    mask = padded(STORED_12)
    stored, data = padding_file(
        STORED_12,
        mask,
        4000,
        False,
        RescaleSlope="2",
        RescaleIntercept="-50",
        WindowCenter="3000",
        WindowWidth="2000",
    )
    exact = windowed(stored * 2.0 - 50, 3000, 2000)
    assert_rounded(read_one(data), with_padding(stored, stored == 4000, exact))


def test_nothing_but_padding_is_black():
    _, data = padding_file(STORED_12, np.ones((9, 14), bool), 7, False)
    assert not read_one(data).any()


def test_padding_value_that_no_pixel_has_changes_nothing():
    _, data = padding_file(STORED_12, np.zeros((9, 14), bool), 60000, False)
    assert np.array_equal(read_one(data), read_one(dicom_file(STORED_12)))


def lut_file(kind, stored, table, first, bits, transfer_syntax, *, as_bytes, **elements):
    sequence = voi_lut(table, first, bits)
    if as_bytes:
        order = ">" if transfer_syntax == ExplicitVRBigEndian else "<"
        del sequence[0].LUTData
        sequence[0].add_new("LUTData", "OW", np.asarray(table, f"{order}u2").tobytes())
    dataset = dicom_dataset(stored, **{kind: sequence}, **elements)
    if transfer_syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.byteswap().tobytes()
    return dicom_bytes(dataset, transfer_syntax)


ENCODINGS = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", ENCODINGS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("as_bytes", [False, True], ids=["words", "bytes"])
def test_voi_lut_however_it_is_written(syntax, as_bytes):
    table = np.rint(65535 * np.linspace(0, 1, 4096) ** 0.5).astype(np.uint16)
    data = lut_file("VOILUTSequence", STORED_12, table, 0, 16, syntax, as_bytes=as_bytes)
    assert_rounded(read_one(data), table[STORED_12] * (255 / 65535))
    dataset = pydicom.dcmread(io.BytesIO(data))
    theirs = apply_voi_lut(STORED_12, dataset) * (255 / 65535)
    assert np.abs(read_one(data) - theirs).max() <= ONE_GREY_LEVEL / 2 + 1e-9


@pytest.mark.parametrize("syntax", ENCODINGS, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("as_bytes", [False, True], ids=["words", "bytes"])
def test_modality_lut_however_it_is_written(syntax, as_bytes):
    table = (np.arange(3000) * 7 % 4096).astype(np.uint16)
    data = lut_file("ModalityLUTSequence", STORED_12, table, 100, 16, syntax, as_bytes=as_bytes)
    index = np.clip(STORED_12.astype(int) - 100, 0, 2999)
    assert_rounded(read_one(data), by_percentile(table[index]))
    dataset = pydicom.dcmread(io.BytesIO(data))
    assert_rounded(read_one(data), by_percentile(apply_modality_lut(STORED_12, dataset)))


def test_modality_lut_comes_before_a_voi_lut():
    modality = np.arange(4096, dtype=np.uint16)[::-1]
    voi = (np.arange(4096) ** 2 >> 8).astype(np.uint16)
    data = dicom_file(
        STORED_12,
        ModalityLUTSequence=voi_lut(modality, 0, 16),
        VOILUTSequence=voi_lut(voi, 0, 16),
    )
    assert_rounded(read_one(data), voi[modality[STORED_12]] * (255 / 65535))


def test_modality_lut_comes_instead_of_rescale():
    table = np.arange(4096, dtype=np.uint16) // 2
    data = dicom_file(
        STORED_12,
        ModalityLUTSequence=voi_lut(table, 0, 16),
        RescaleSlope="-9",
        RescaleIntercept="3",
    )
    assert_rounded(read_one(data), by_percentile(table[STORED_12]))


def test_8_bit_lut_of_packed_bytes():
    table = np.arange(256, dtype=np.uint8)[::-1]
    packed = item(LUTDescriptor=[256, 0, 8])
    packed.add_new("LUTData", "OW", table.tobytes())
    data = dicom_file(STORED_8, VOILUTSequence=Sequence([packed]))
    assert_rounded(read_one(data), 255.0 - STORED_8)


def test_lut_of_65536_entries_is_written_as_0():
    stored = noise((9, 14), np.uint16)
    table = np.arange(65536, dtype=np.uint16)[::-1]
    sequence = voi_lut(table, 0, 16)
    sequence[0].LUTDescriptor = [0, 0, 16]
    data = lut_of_words(stored, sequence, table)
    assert_rounded(read_one(data), (65535.0 - stored) * (255 / 65535))


def lut_of_words(stored, sequence, table):
    # More words than the length of an explicit US element can say.
    del sequence[0].LUTData
    sequence[0].add_new("LUTData", "OW", table.tobytes())
    return dicom_file(stored, VOILUTSequence=sequence)


BAD_LUTS = {
    "shorter than it says": voi_lut([1, 2, 3], 0, 16),
    "no bits": voi_lut(range(4), 0, 16),
    "too many bits": voi_lut(range(4), 0, 16),
}
BAD_LUTS["shorter than it says"][0].LUTDescriptor = [4096, 0, 16]
BAD_LUTS["no bits"][0].LUTDescriptor = [4, 0, 0]
BAD_LUTS["too many bits"][0].LUTDescriptor = [4, 0, 60000]


@pytest.mark.parametrize("kind", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("sequence", BAD_LUTS.values(), ids=BAD_LUTS.keys())
def test_bad_lut_is_refused(kind, sequence):
    with pytest.raises(CorruptScanError):
        read_one(dicom_file(STORED_12, **{kind: sequence}))


@pytest.mark.parametrize(
    ("elements", "slope", "intercept"),
    [({"RescaleSlope": "-2"}, -2.0, 0.0), ({"RescaleIntercept": "-500"}, 1.0, -500.0)],
    ids=["slope alone", "intercept alone"],
)
def test_half_a_rescale(elements, slope, intercept):
    data = dicom_file(STORED_12, WindowCenter="0", WindowWidth="6000", **elements)
    assert_rounded(read_one(data), windowed(STORED_12 * slope + intercept, 0, 6000))


def test_empty_rescale_is_none():
    data = dicom_file(STORED_12, RescaleSlope="", RescaleIntercept="")
    assert np.array_equal(read_one(data), read_one(dicom_file(STORED_12)))


WINDOWS = [(2048, 4096), (1000, 600), (40.5, 1), (300, 2), (4095, 2), (1500, 90)]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), WINDOWS)
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (2, -1000)])
def test_windows_as_pydicom_applies_them(centre, width, function, slope, intercept):
    elements = {
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleSlope": str(slope),
        "RescaleIntercept": str(intercept),
        "WindowCenter": str(centre),
        "WindowWidth": str(width),
        "VOILUTFunction": function,
    }
    data = dicom_file(STORED_12, **elements)
    dataset = pydicom.dcmread(io.BytesIO(data))
    rescaled = apply_modality_lut(dataset.pixel_array, dataset)
    theirs = apply_voi_lut(rescaled, dataset)
    # Their output is the range of the rescaled values.
    low, high = intercept, 4095 * slope + intercept
    exact = (theirs - low) / (high - low) * 255
    assert np.abs(read_one(data) - exact).max() <= ONE_GREY_LEVEL / 2 + 1e-6


def test_function_may_be_padded_or_in_lower_case():
    whole = dicom_file(
        STORED_12, WindowCenter="1500", WindowWidth="90", VOILUTFunction="LINEAR_EXACT"
    )
    data = swapped(whole, b"LINEAR_EXACT", b"linear_exact")
    assert_rounded(read_one(data), windowed(STORED_12, 1500, 90, "LINEAR_EXACT"))
