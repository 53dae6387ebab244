"""Windows that cannot be applied, or that do not meet the data: the percentile rule, and a word."""

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.scans.quality import examine
from neuroscan_edge.spec import Finding
from support.dicom_cases import group, multi_frame
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.phantoms import air, head
from support.scan_cases import decoded, dicom_bytes, dicom_dataset, voi_lut

HEAD = head(64, 1000)
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}
UNUSABLE = (Finding.WINDOW_UNUSABLE,)


def read_one(data):
    (scan,) = decoded(read_dicom(data, "slice.dcm", Limits()))
    return scan


def with_text(values=HEAD, syntax=ExplicitVRLittleEndian, **texts):
    """A file whose decimal strings are any text, past the checks of the writer."""
    dataset = dicom_dataset(values.astype(np.uint16), **TWELVE_BITS)
    for keyword, value in texts.items():
        data = value.encode()
        dataset.add_new(keyword, "LO" if syntax == ExplicitVRLittleEndian else "DS", "7777")
        dataset[keyword]._value = data.decode() + " " * (len(data) % 2)
    written = dicom_bytes(dataset, syntax)
    return written


# Centre and width as they stand in the file.
TEXTS = {
    "decimal comma": ("512,5", "1024,0"),
    "decimal comma in the width": ("512", "1024,0"),
    "thousands": ("1,024", "2,048"),
    "words": ("WIDE", "BRAIN"),
    "a word for the width": ("500", "AUTO"),
    "infinite": ("inf", "inf"),
    "not a number": ("nan", "1000"),
    "underscores": ("5_00", "1_000"),
    "hexadecimal": ("0x1F4", "0x3E8"),
    "two signs": ("--500", "1000"),
    "spaces within": ("5 00", "1 000"),
    "slash for backslash": ("500/40", "1000/80"),
    "width 0": ("500", "0"),
    "both 0": ("0", "0"),
    "negative width": ("500", "-1000"),
    "width below 1": ("500", "0.5"),
    "centre alone": ("500", ""),
    "width alone": ("", "1000"),
    "only separators": ("\\", "\\"),
    "parts that do not meet": ("500\\", "\\1000"),
}


@pytest.mark.parametrize(("centre", "width"), TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=lambda uid: uid.keyword
)
def test_window_that_is_none(centre, width, syntax):
    scan = read_one(with_text(syntax=syntax, WindowCenter=centre, WindowWidth=width))
    assert_rounded(scan.pixels, by_percentile(HEAD))
    assert scan.findings == UNUSABLE
    assert Finding.WINDOW_UNUSABLE in examine(scan)
    assert not Finding.WINDOW_UNUSABLE.rejects


@pytest.mark.parametrize("blank", ["", " ", "  "])
def test_empty_windows_say_nothing(blank):
    scan = read_one(with_text(WindowCenter=blank, WindowWidth=blank))
    assert_rounded(scan.pixels, by_percentile(HEAD))
    assert scan.findings == ()


READABLE = {
    "padded": (" 500 ", "1000 "),
    "exponent": ("5e2", "1.0E+03"),
    "no digit before the point": ("500", "1000."),
    "first of two": ("500\\40", "1000\\80"),
    "second, where the first is none": ("100\\500", "0\\1000"),
    "second, where the first is text": ("x\\500", "9\\1000"),
}


@pytest.mark.parametrize(("centre", "width"), READABLE.values(), ids=READABLE)
def test_window_that_is_one(centre, width):
    scan = read_one(with_text(WindowCenter=centre, WindowWidth=width))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == ()


@pytest.mark.parametrize(
    ("centre", "width"), [("500\\40", "1000"), ("500", "1000\\80"), ("500\\40\\1", "1000\\80")]
)
def test_of_unequal_counts_the_first_pair_is_applied_and_doubted(centre, width):
    scan = read_one(with_text(WindowCenter=centre, WindowWidth=width))
    assert_rounded(scan.pixels, windowed(HEAD, 500, 1000))
    assert scan.findings == (Finding.CONTRADICTORY_HEADER,)


# Windows, and values, that have nothing to do with each other.
STRAY = {
    "far too wide": (8191.5, 16383, "LINEAR"),
    "of another scale": (32768, 65536, "LINEAR_EXACT"),
    "all white": (-5000, 300, "LINEAR"),
    "all black": (40000, 100, "LINEAR"),
    "a threshold": (500, 1, "LINEAR"),
    "nearly a threshold": (500, 0.01, "LINEAR_EXACT"),
    "a sigmoid far below": (-9000, 100, "SIGMOID"),
    "a sigmoid far too wide": (500, 60000, "SIGMOID"),
}


@pytest.mark.parametrize(("centre", "width", "function"), STRAY.values(), ids=STRAY)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_window_that_does_not_meet_the_data(centre, width, function, photometric):
    dataset = dicom_dataset(
        HEAD.astype(np.uint16),
        WindowCenter=str(centre),
        WindowWidth=str(width),
        VOILUTFunction=function,
        PhotometricInterpretation=photometric,
    )
    scan = read_one(dicom_bytes(dataset))
    exact = by_percentile(HEAD)
    assert_rounded(scan.pixels, 255 - exact if photometric == "MONOCHROME1" else exact)
    assert scan.findings == UNUSABLE


def test_window_that_does_not_meet_data_after_rescale():
    dataset = dicom_dataset(
        HEAD.astype(np.uint16),
        RescaleSlope="0.001",
        RescaleIntercept="0",
        WindowCenter="500",
        WindowWidth="1000",
    )
    scan = read_one(dicom_bytes(dataset))
    assert_rounded(scan.pixels, by_percentile(HEAD * 0.001))
    assert scan.findings == UNUSABLE


def test_window_is_judged_without_the_padding():
    values = HEAD.astype(np.int16)
    values[:, :30] = -2000
    dataset = dicom_dataset(values, WindowCenter="-2000", WindowWidth="50", PixelPaddingValue=0)
    del dataset.PixelPaddingValue
    dataset.add_new("PixelPaddingValue", "SS", -2000)
    scan = read_one(dicom_bytes(dataset))
    exact = by_percentile(values, values == -2000)
    exact[:, :30] = 0
    assert_rounded(scan.pixels, exact)
    assert scan.findings == UNUSABLE


SUITABLE = {
    "as wide as the data": (500, 1000),
    "twice as wide": (1000, 2000),
    "seven times as wide": (3500, 7000),
    "narrow, on the brain": (400, 200),
    "half of it white": (200, 300),
}


@pytest.mark.parametrize(("centre", "width"), SUITABLE.values(), ids=SUITABLE)
def test_window_that_meets_the_data_is_applied(centre, width):
    scan = read_one(with_text(WindowCenter=str(centre), WindowWidth=str(width)))
    assert_rounded(scan.pixels, windowed(HEAD, centre, width))
    assert scan.findings == ()


def test_slice_of_air_stays_black_in_the_window_of_its_series():
    """Stretched, its noise would look like something."""
    for side in (64, 96, 256):
        values = air(side)
        scan = read_one(with_text(values, WindowCenter="500", WindowWidth="1000"))
        assert_rounded(scan.pixels, windowed(values, 500, 1000))
        assert scan.findings == ()
        assert Finding.BLANK in examine(scan)


def test_voi_lut_that_does_not_meet_the_data():
    table = np.arange(4096, dtype=np.uint16)
    dataset = dicom_dataset(HEAD.astype(np.uint16), VOILUTSequence=voi_lut(table, 20000, 12))
    scan = read_one(dicom_bytes(dataset))
    assert_rounded(scan.pixels, by_percentile(HEAD))
    assert scan.findings == UNUSABLE


def test_each_frame_has_its_own_word():
    stored = np.stack([head(64, 1000, seed) for seed in range(2)]).astype(np.uint16)
    window = {"WindowCenter": "500", "WindowWidth": "1000"}
    stray = {"WindowCenter": "9000", "WindowWidth": "10"}
    per_frame = [group(FrameVOILUTSequence=window), group(FrameVOILUTSequence=stray)]
    first, second = read_dicom(dicom_bytes(multi_frame(stored, per_frame)), "x", Limits())
    assert_rounded(first.pixels, windowed(stored[0], 500, 1000))
    assert_rounded(second.pixels, by_percentile(stored[1]))
    assert (first.findings, second.findings) == ((), UNUSABLE)


@pytest.mark.parametrize("value", ["1,5", "x", "nan", "1_5", "1/2", "\\2"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_rescale_that_is_no_number_is_an_error_that_names_it(keyword, value):
    name = {"RescaleSlope": "Rescale Slope", "RescaleIntercept": "Rescale Intercept"}[keyword]
    with pytest.raises(CorruptScanError, match=name) as caught:
        read_one(with_text(**{keyword: value}))
    assert "Error" not in str(caught.value)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
def test_empty_rescale_is_none(keyword):
    assert_rounded(read_one(with_text(**{keyword: " "})).pixels, by_percentile(HEAD))
