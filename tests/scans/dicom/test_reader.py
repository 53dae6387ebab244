import contextlib
import io
import logging
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.greyscale import apply_window
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.scans.dicom.signature import has_signature
from neuroscan_edge.spec import Finding
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.scan_cases import (
    BIRTH_DATE,
    PATIENT_ID,
    PATIENT_NAME,
    PATIENT_WORDS,
    SERIES_UID,
    SOP_UID,
    STUDY_UID,
    address_space,
    declared_jpeg,
    decoded,
    dicom_bytes,
    dicom_dataset,
    dicom_file,
    encoded,
    noise,
    swapped,
    voi_lut,
)

HEADROOM_BYTES = 100 << 20
SMALL_BYTES = 8 << 20
INFLATED_BYTES = 64 << 20

STORED_8 = noise((9, 14))
STORED_12 = noise((9, 14), np.uint16, high=4096)
STORED_16 = noise((9, 14), np.uint16)
SIGNED_16 = (STORED_16.astype(np.int32) - 32768).astype(np.int16)


def read(data, **limits):
    return decoded(read_dicom(data, "slice.dcm", Limits(**limits)))


def read_one(data, **limits):
    (scan,) = read(data, **limits)
    assert scan.pixels.dtype == np.uint8
    assert scan.pixels.ndim == 2
    assert scan.pixels.flags.c_contiguous
    return scan.pixels


STORED = {
    "8 bit": (STORED_8, {}),
    "12 bit": (STORED_12, {"BitsStored": 12, "HighBit": 11}),
    "16 bit": (STORED_16, {}),
    "16 bit signed": (SIGNED_16, {}),
    "8 bit signed": (STORED_8.view(np.int8), {}),
}


@pytest.mark.parametrize(("stored", "elements"), STORED.values(), ids=STORED.keys())
def test_without_window_the_percentiles_decide(stored, elements):
    assert_rounded(read_one(dicom_file(stored, **elements)), by_percentile(stored))


@pytest.mark.parametrize(("stored", "elements"), STORED.values(), ids=STORED.keys())
def test_window_on_stored_values(stored, elements):
    centre, width = float(np.median(stored)), np.ptp(stored.astype(np.float64)) / 2
    data = dicom_file(stored, WindowCenter=f"{centre:.2f}", WindowWidth=f"{width:.2f}", **elements)
    assert_rounded(read_one(data), windowed(stored, centre, width))


def test_12_bit_signed_values():
    signed = STORED_12.astype(np.int16) - 2048
    stored = signed & 0x0FFF
    elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1}
    assert_rounded(read_one(dicom_file(stored, **elements)), by_percentile(signed))


def test_bits_above_the_stored_ones_are_not_pixels():
    # Old files keep overlays there (PS3.5 8.1.1, retired).
    overlaid = STORED_12 | (noise((9, 14), np.uint16, high=16) << 12).astype(np.uint16)
    data = dicom_file(overlaid, BitsStored=12, HighBit=11)
    assert_rounded(read_one(data), by_percentile(STORED_12))


@pytest.mark.parametrize(
    "transfer_syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        DeflatedExplicitVRLittleEndian,
    ],
    ids=lambda uid: uid.keyword,
)
def test_uncompressed_transfer_syntaxes(transfer_syntax):
    data = dicom_bytes(dicom_dataset(STORED_16), transfer_syntax)
    assert_rounded(read_one(data), by_percentile(STORED_16))


def test_big_endian():
    dataset = dicom_dataset(STORED_16, PixelData=STORED_16.astype(">u2").tobytes())
    assert_rounded(read_one(dicom_bytes(dataset, ExplicitVRBigEndian)), by_percentile(STORED_16))


def test_run_length_compression():
    dataset = dicom_dataset(STORED_16)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(RLELossless, generate_instance_uid=False)
    assert_rounded(read_one(dicom_bytes(dataset, RLELossless)), by_percentile(STORED_16))


def test_odd_number_of_pixels():
    stored = noise((3, 5))
    assert_rounded(read_one(dicom_file(stored)), by_percentile(stored))


def test_one_pixel():
    data = dicom_file(np.array([[40]], np.uint8), WindowCenter="40.5", WindowWidth="2")
    assert read_one(data).tolist() == [[128]]


@pytest.mark.parametrize(("slope", "intercept"), [("2.5", "-1024"), ("-1", "4095"), ("0.001", "0")])
def test_rescale_comes_before_the_window(slope, intercept):
    rescaled = STORED_12 * float(slope) + float(intercept)
    centre, width = float(np.mean(rescaled)), float(np.ptp(rescaled)) / 3
    function = "LINEAR_EXACT"
    data = dicom_file(
        STORED_12,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=f"{centre:.6f}",
        WindowWidth=f"{width:.6f}",
        VOILUTFunction=function,
    )
    expected = windowed(rescaled, float(f"{centre:.6f}"), float(f"{width:.6f}"), function)
    assert_rounded(read_one(data), expected)


@pytest.mark.parametrize(("slope", "intercept"), [("3", "-7"), ("-1", "4095")])
def test_rescale_comes_before_the_percentiles(slope, intercept):
    data = dicom_file(STORED_12, RescaleSlope=slope, RescaleIntercept=intercept)
    assert_rounded(read_one(data), by_percentile(STORED_12 * float(slope) + float(intercept)))


def test_modality_lut():
    table = (np.arange(256) * 7 % 256).astype(np.uint16)
    data = dicom_file(STORED_8, ModalityLUTSequence=voi_lut(table, 0, 16))
    assert_rounded(read_one(data), by_percentile(table[STORED_8]))


WINDOWS = [(2048, 4096), (1000, 600), (40.5, 1), (300, 1.5), (-50, 200), (4095, 2), (5000, 10)]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), WINDOWS)
def test_window_formula(centre, width, function):
    values = np.linspace(-100, 4200, 4301).reshape(23, 187)
    pixels = apply_window(values, float(centre), float(width), function)
    assert pixels.dtype == np.uint8
    assert_rounded(pixels, windowed(values, centre, width, function))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_function_of_a_file(function):
    data = dicom_file(STORED_12, WindowCenter="1500", WindowWidth="900", VOILUTFunction=function)
    assert_rounded(read_one(data), windowed(STORED_12, 1500, 900, function))


def test_window_function_defaults_to_linear():
    data = dicom_file(STORED_12, WindowCenter="1500", WindowWidth="90")
    assert_rounded(read_one(data), windowed(STORED_12, 1500, 90, "LINEAR"))
    assert np.abs(windowed(STORED_12, 1500, 90, "LINEAR_EXACT") - read_one(data)).max() > 0.51


def test_linear_and_exact_differ_by_hand():
    # PS3.3 C.11.2.1.2.1, note 3: centre 2048 and width 4096 take 0 to 0 and 4095 to 255.
    ends = np.array([[0.0, 4095.0]])
    assert apply_window(ends, 2048, 4096, "LINEAR").tolist() == [[0, 255]]
    # Note 3 again: a window of width 1 is a threshold.
    steps = np.array([[99.0, 99.5, 99.51, 100.0]])
    assert apply_window(steps, 100, 1, "LINEAR").tolist() == [[0, 0, 255, 255]]
    assert apply_window(steps, 100, 1, "LINEAR_EXACT").tolist() == [[0, 0, 3, 128]]


def test_sigmoid_far_from_its_centre():
    values = np.array([[-1e9, -1e5, 0.0, 1e5, 1e9]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert apply_window(values, 0, 1, "SIGMOID").tolist() == [[0, 0, 128, 255, 255]]


def test_first_of_several_windows():
    data = dicom_file(
        STORED_12,
        WindowCenter=["1500", "300", "40"],
        WindowWidth=["900", "100", "80"],
        WindowCenterWidthExplanation=["BRAIN", "OTHER", "THIRD"],
    )
    assert_rounded(read_one(data), windowed(STORED_12, 1500, 900))


@pytest.mark.parametrize(
    "elements",
    [{"WindowCenter": "1500"}, {"WindowWidth": "900"}, {"WindowCenter": "", "WindowWidth": ""}],
    ids=["centre alone", "width alone", "both empty"],
)
def test_half_a_window_is_none(elements):
    assert_rounded(read_one(dicom_file(STORED_12, **elements)), by_percentile(STORED_12))


LUTS = {
    "16 bit from 0": (STORED_12, 0, 16, 4096),
    "16 bit, shorter than the range": (STORED_12, 1000, 16, 500),
    "12 bit": (STORED_12, 0, 12, 4096),
    "10 bit from 100": (STORED_12, 100, 10, 3000),
    "from a negative value": (SIGNED_16, -2000, 16, 4000),
}


@pytest.mark.parametrize(("stored", "first", "bits", "size"), LUTS.values(), ids=LUTS.keys())
def test_voi_lut(stored, first, bits, size):
    top = (1 << bits) - 1
    table = np.rint(top * np.linspace(0, 1, size) ** 0.5).astype(np.uint16)
    data = dicom_file(stored, VOILUTSequence=voi_lut(table, first, bits))
    index = np.clip(stored.astype(np.int64) - first, 0, size - 1)
    assert_rounded(read_one(data), table[index] * (255 / top))


def test_first_of_several_voi_luts_and_before_any_window():
    table = np.arange(4096, dtype=np.uint16)[::-1] * 16
    luts = [*voi_lut(table, 0, 16), *voi_lut(np.zeros(4096, np.uint16), 0, 16)]
    data = dicom_file(STORED_12, VOILUTSequence=luts, WindowCenter="10", WindowWidth="20")
    assert_rounded(read_one(data), table[STORED_12] * (255 / 65535))


def test_voi_lut_comes_after_rescale():
    table = np.arange(4096, dtype=np.uint16) * 16
    data = dicom_file(
        STORED_12,
        RescaleSlope="0.5",
        RescaleIntercept="100",
        VOILUTSequence=voi_lut(table, 0, 16),
    )
    index = np.rint(STORED_12 * 0.5 + 100).astype(int)
    assert_rounded(read_one(data), table[index] * (255 / 65535))


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": "1500", "WindowWidth": "900"},
        {"RescaleSlope": "2", "RescaleIntercept": "-100"},
        {"VOILUTSequence": voi_lut(np.arange(4096, dtype=np.uint16) * 16, 0, 16)},
    ],
    ids=["percentiles", "window", "rescale", "VOI LUT"],
)
def test_monochrome1_is_inverted_last(elements):
    normal = read_one(dicom_file(STORED_12, **elements))
    inverted = read_one(dicom_file(STORED_12, PhotometricInterpretation="MONOCHROME1", **elements))
    assert np.array_equal(inverted, 255 - normal)


def test_constant_slice_is_black():
    assert not read_one(dicom_file(np.full((6, 8), 700, np.uint16))).any()


def test_provenance_holds_the_uids_and_nothing_else():
    (scan,) = read(dicom_file(STORED_8))
    assert scan.provenance.path == "slice.dcm"
    assert scan.provenance.frame == 0
    uids = scan.provenance.uids
    assert uids.sop_instance_uid == SOP_UID
    assert uids.series_instance_uid == SERIES_UID
    assert uids.study_instance_uid == STUDY_UID
    assert not any(word in repr(scan.provenance) for word in PATIENT_WORDS)


UIDS = {
    "sop_instance_uid": ("SOPInstanceUID", SOP_UID),
    "series_instance_uid": ("SeriesInstanceUID", SERIES_UID),
    "study_instance_uid": ("StudyInstanceUID", STUDY_UID),
}


def with_raw_uid(keyword, valid, raw):
    """A file in which one UID of the data set is other text of the same length."""
    whole = dicom_file(STORED_8)
    tag = pydicom.datadict.tag_for_keyword(keyword)
    start = whole.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"UI") + 8
    assert whole[start:].startswith(valid.encode())
    return whole[:start] + raw.ljust(len(valid), "\0").encode() + whole[start + len(valid) :]


@pytest.mark.parametrize(
    "raw",
    ["Oyelaran^Wilhelmina", "1.2.3/../etc", "1..2.3", "1.02.3", ".1.2", "1.2."],
    ids=["name", "path", "double dot", "leading zero", "dot first", "dot last"],
)
@pytest.mark.parametrize(("field", "where"), UIDS.items(), ids=UIDS.keys())
def test_invalid_uid_is_dropped(field, where, raw):
    (scan,) = read(with_raw_uid(*where, raw))
    assert getattr(scan.provenance.uids, field) is None
    assert sum(getattr(scan.provenance.uids, name) is not None for name in UIDS) == len(UIDS) - 1


@pytest.mark.parametrize(("field", "where"), UIDS.items(), ids=UIDS.keys())
def test_absent_uid_is_none(field, where):
    (scan,) = read(dicom_file(STORED_8, **{where[0]: None}))
    assert getattr(scan.provenance.uids, field) is None


def encapsulated(frame, transfer_syntax, stored=STORED_8):
    dataset = dicom_dataset(stored)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset, transfer_syntax)


def damaged_run_length():
    dataset = dicom_dataset(STORED_16)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(RLELossless, generate_instance_uid=False)
    frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    return dicom_bytes(dataset, RLELossless)


def damaged_deflate():
    whole = bytearray(dicom_bytes(dicom_dataset(STORED_16), DeflatedExplicitVRLittleEndian))
    whole[-60:-20] = b"\xff" * 40
    return bytes(whole)


def cut_after(keyword, extra_bytes):
    """The file up to some bytes into the named element."""
    whole = dicom_file(STORED_16)
    tag = pydicom.datadict.tag_for_keyword(keyword)
    start = whole.rindex(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
    return whole[: start + extra_bytes]


def without_preamble():
    return dicom_file(STORED_16)[132:]


def unknown_transfer_syntax(uid):
    whole = dicom_file(STORED_16)
    old = str(ExplicitVRLittleEndian).encode() + b"\0"
    return swapped(whole, old, uid.encode().ljust(len(old), b"\0"))


def raw_text(keyword, placeholder, text):
    """A text element whose value no writer would let through."""
    whole = dicom_file(STORED_12, WindowWidth="100", **{keyword: placeholder})
    return swapped(whole, placeholder.encode(), text.encode())


REFUSED = {
    "no pixel data": (
        lambda: dicom_file(STORED_16, PixelData=None),
        ScanError,
    ),
    "report": (
        lambda: dicom_file(STORED_16, SOPClassUID=BasicTextSRStorage, PixelData=None),
        RejectedScanError,
    ),
    "0 rows": (lambda: dicom_file(STORED_16, Rows=0), CorruptScanError),
    "0 columns": (lambda: dicom_file(STORED_16, Columns=0), CorruptScanError),
    "no rows": (lambda: dicom_file(STORED_16, Rows=None), CorruptScanError),
    "no bits allocated": (lambda: dicom_file(STORED_16, BitsAllocated=None), CorruptScanError),
    "odd bits allocated": (lambda: dicom_file(STORED_16, BitsAllocated=13), CorruptScanError),
    "no frames": (lambda: dicom_file(STORED_16, NumberOfFrames="0"), CorruptScanError),
    "more frames than the limit": (
        lambda: dicom_file(STORED_16, NumberOfFrames="1025"),
        ScanTooLargeError,
    ),
    "colour": (
        lambda: dicom_file(noise((4, 6, 3)), SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        RejectedScanError,
    ),
    "palette colour": (
        lambda: dicom_file(STORED_8, PhotometricInterpretation="PALETTE COLOR"),
        RejectedScanError,
    ),
    "no photometric interpretation": (
        lambda: dicom_file(STORED_8, PhotometricInterpretation=None),
        UnsupportedScanError,
    ),
    "huge size declared": (
        lambda: dicom_file(STORED_16, Rows=65535, Columns=65535),
        ScanTooLargeError,
    ),
    "size just above the limit": (
        lambda: dicom_file(STORED_16, Rows=4097, Columns=4096),
        ScanTooLargeError,
    ),
    "fewer pixels than declared": (lambda: dicom_file(STORED_16, Rows=500), CorruptScanError),
    "pixel data cut": (lambda: dicom_file(STORED_16)[:-100], CorruptScanError),
    "pixel data cut by 2 bytes": (lambda: dicom_file(STORED_16)[:-2], CorruptScanError),
    "pixel data empty": (lambda: cut_after("PixelData", 12), CorruptScanError),
    "cut inside the preamble": (lambda: dicom_file(STORED_16)[:100], CorruptScanError),
    "cut after the prefix": (lambda: dicom_file(STORED_16)[:132], CorruptScanError),
    "cut inside the file meta": (lambda: dicom_file(STORED_16)[:200], CorruptScanError),
    "cut inside the name": (lambda: cut_after("PatientName", 14), CorruptScanError),
    "cut inside a number": (lambda: cut_after("Rows", 9), CorruptScanError),
    "cut inside a tag": (lambda: cut_after("PixelData", 3), CorruptScanError),
    "text": (lambda: f"Report of {PATIENT_NAME}\n".encode() * 20, CorruptScanError),
    "zeros": (lambda: bytes(4096), CorruptScanError),
    "unknown transfer syntax": (
        lambda: unknown_transfer_syntax("1.2.3.4.5.6"),
        UnsupportedScanError,
    ),
    "name as transfer syntax": (
        lambda: unknown_transfer_syntax(PATIENT_NAME),
        ScanError,
    ),
    "JPEG 2000 that is none": (
        lambda: encapsulated(PATIENT_NAME.encode() * 9, JPEG2000Lossless),
        ScanError,
    ),
    "JPEG cut": (
        lambda: encapsulated(encoded(STORED_8, "JPEG")[:-60], JPEGBaseline8Bit),
        CorruptScanError,
    ),
    "JPEG that is none": (
        lambda: encapsulated(PATIENT_NAME.encode() * 9, JPEGBaseline8Bit),
        CorruptScanError,
    ),
    "JPEG of another size": (
        lambda: encapsulated(encoded(noise((64, 64)), "JPEG"), JPEGBaseline8Bit),
        CorruptScanError,
    ),
    "run length cut": (damaged_run_length, CorruptScanError),
    "deflate damaged": (damaged_deflate, CorruptScanError),
    "number of frames is text": (
        lambda: raw_text("NumberOfFrames", "00000000000", PATIENT_ID),
        CorruptScanError,
    ),
    "rescale slope is text": (
        lambda: swapped(
            dicom_file(STORED_12, RescaleSlope="1.2345678", RescaleIntercept="0"),
            b"1.2345678",
            PATIENT_NAME[:9].encode(),
        ),
        CorruptScanError,
    ),
    "photometric interpretation is a name": (
        lambda: swapped(dicom_file(STORED_8), b"MONOCHROME2 ", b"WILHELMINA O"),
        UnsupportedScanError,
    ),
    "VOI LUT function is a name": (
        lambda: dicom_file(STORED_8, WindowCenter="9", WindowWidth="9", VOILUTFunction="OYELARAN"),
        UnsupportedScanError,
    ),
    "rescale slope 0": (
        lambda: dicom_file(STORED_12, RescaleSlope="0", RescaleIntercept="0"),
        CorruptScanError,
    ),
    "rescale to infinity": (
        lambda: dicom_file(STORED_12, RescaleSlope="1e308", RescaleIntercept="0"),
        CorruptScanError,
    ),
    "VOI LUT without data": (
        lambda: dicom_file(STORED_12, VOILUTSequence=voi_lut([], 0, 16)),
        CorruptScanError,
    ),
}

KINDS = {
    ScanError: {"corrupt", "unsupported"},
    CorruptScanError: {"corrupt"},
    UnsupportedScanError: {"unsupported"},
    RejectedScanError: {"rejected"},
    ScanTooLargeError: {"too-large"},
}


@pytest.fixture
def build_quietly():
    """Build files that pydicom itself would not write."""

    def build(builder):
        settings = pydicom.config.settings
        before = settings.writing_validation_mode, settings.reading_validation_mode
        settings.writing_validation_mode = pydicom.config.IGNORE
        settings.reading_validation_mode = pydicom.config.IGNORE
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return builder()
        finally:
            settings.writing_validation_mode, settings.reading_validation_mode = before

    return build


@pytest.mark.parametrize(("builder", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(build_quietly, builder, error):
    data = build_quietly(builder)
    with pytest.raises(ScanError) as caught:
        read(data)
    assert isinstance(caught.value, error)
    assert caught.value.kind in KINDS[error]


READABLE_BUT_ODD = {
    "SOP UID is a name": lambda: with_raw_uid("SOPInstanceUID", SOP_UID, PATIENT_NAME),
    "study UID is an id": lambda: with_raw_uid("StudyInstanceUID", STUDY_UID, PATIENT_ID),
    "birth date is none": lambda: dicom_file(STORED_8, PatientBirthDate=f"{BIRTH_DATE[:-2]}99"),
    "id too long": lambda: dicom_file(STORED_8, PatientID=f"{PATIENT_ID} " * 9),
    "name in an unknown character set": lambda: dicom_file(
        STORED_8, SpecificCharacterSet="ISO_IR 999"
    ),
    "window centre is empty": lambda: dicom_file(STORED_8, WindowCenter=""),
    "window centre is text": lambda: raw_text("WindowCenter", "-123456.78", PATIENT_NAME[:10]),
    "more pixel data than declared": lambda: dicom_file(STORED_16, Rows=4),
}


every_odd_file = pytest.mark.parametrize(
    "builder",
    [builder for builder, _ in REFUSED.values()] + list(READABLE_BUT_ODD.values()),
    ids=[*REFUSED.keys(), *READABLE_BUT_ODD.keys()],
)


def patient_words_in(texts):
    return [
        (word, text) for word in PATIENT_WORDS for text in texts if word.lower() in text.lower()
    ]


@every_odd_file
def test_no_text_names_the_patient(build_quietly, builder, capfd):
    data = build_quietly(builder)
    said = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            said += [repr(scan.provenance) for scan in read(data)]
        except ScanError as error:
            said += [str(error), repr(error)]
    assert said
    said += [str(warning.message) for warning in caught]
    said += capfd.readouterr()
    assert patient_words_in(said) == []


@every_odd_file
def test_no_log_names_the_patient(build_quietly, builder, caplog):
    data = build_quietly(builder)
    caplog.clear()
    with caplog.at_level(logging.WARNING), contextlib.suppress(ScanError):
        read(data)
    assert patient_words_in([caplog.text]) == []


def test_the_patient_is_in_the_file():
    dataset = pydicom.dcmread(io.BytesIO(dicom_file(STORED_8)))
    assert str(dataset.PatientName) == PATIENT_NAME
    assert dataset.PatientID == PATIENT_ID
    assert dataset.PatientBirthDate == BIRTH_DATE


@pytest.mark.parametrize("rows", [8, 4, 3], ids=["one row over", "two frames", "three frames"])
def test_more_pixel_data_than_declared_is_read_and_doubted(rows):
    scans = read(dicom_file(STORED_16, Rows=rows))
    assert len(scans) == len(STORED_16) // rows
    for index, scan in enumerate(scans):
        assert_rounded(scan.pixels, by_percentile(STORED_16[index * rows : (index + 1) * rows]))
        assert scan.findings == (Finding.CONTRADICTORY_HEADER,)


def test_size_is_refused_before_pixels_are_decoded():
    data = dicom_file(STORED_16, Rows=65535, Columns=65535)
    read_one(dicom_file(STORED_16))
    tracemalloc.start()
    try:
        with address_space(HEADROOM_BYTES), pytest.raises(ScanTooLargeError, match="65535x65535"):
            read(data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < SMALL_BYTES


def test_limit_is_inclusive():
    data = dicom_file(noise((10, 12)))
    assert read_one(data, image_pixels=120).shape == (10, 12)
    with pytest.raises(ScanTooLargeError, match="12x10"):
        read(data, image_pixels=119)


def test_compressed_frame_larger_than_declared_is_refused_before_it_is_decoded(caplog):
    data = encapsulated(declared_jpeg(13000, 13000), JPEGBaseline8Bit)
    with address_space(HEADROOM_BYTES), pytest.raises(ScanError):
        read(data)
    # pydicom reports a failed allocation like any other failure of a decoder.
    assert "MemoryError" not in caplog.text


def test_deflated_bomb_is_refused_before_it_is_inflated():
    whole = dicom_bytes(dicom_dataset(STORED_8), DeflatedExplicitVRLittleEndian)
    plain = dicom_file(STORED_8)
    meta_bytes = 132 + 12 + struct.unpack_from("<I", whole, 132 + 8)[0]
    plain_meta_bytes = 132 + 12 + struct.unpack_from("<I", plain, 132 + 8)[0]
    private = struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, INFLATED_BYTES)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(plain[plain_meta_bytes:] + private)
    body += deflate.compress(bytes(INFLATED_BYTES)) + deflate.flush()
    data = whole[:meta_bytes] + body
    assert len(data) < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(ScanError):
            read(data, file_bytes=1 << 20)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < INFLATED_BYTES // 2


def test_warning_filters_are_left_as_they_were():
    before = list(warnings.filters)
    frames = read_dicom(dicom_file(STORED_8), "slice.dcm", Limits())
    next(frames)
    assert warnings.filters == before


INVALID_WIDTHS = ["0", "0.5", "-40", "nan", "inf"]


@pytest.mark.parametrize("width", INVALID_WIDTHS)
def test_invalid_window_is_as_none(build_quietly, width):
    data = build_quietly(lambda: dicom_file(STORED_12, WindowCenter="100", WindowWidth=width))
    assert_rounded(read_one(data), by_percentile(STORED_12))


def test_first_valid_window_of_several(build_quietly):
    data = build_quietly(
        lambda: dicom_file(
            STORED_12, WindowCenter=["100", "1500", "300"], WindowWidth=["0", "900", "100"]
        )
    )
    assert_rounded(read_one(data), windowed(STORED_12, 1500, 900))


def test_half_a_level_wide_window_is_valid_where_the_function_allows_it(build_quietly):
    data = build_quietly(
        lambda: dicom_file(
            STORED_12, WindowCenter="2000", WindowWidth="0.5", VOILUTFunction="LINEAR_EXACT"
        )
    )
    assert_rounded(read_one(data), windowed(STORED_12, 2000, 0.5, "LINEAR_EXACT"))


def test_without_transfer_syntax_the_encoding_shows():
    data = dicom_file(STORED_16).replace(b"\x02\x00\x10\x00UI", b"\x02\x00\x99\x00UI")
    assert_rounded(read_one(data), by_percentile(STORED_16))


def test_signature():
    assert has_signature(dicom_file(STORED_8)[:132])
    assert not has_signature(dicom_file(STORED_8)[:131])
    assert not has_signature(without_preamble()[:132])
    assert not has_signature(b"DICM" + bytes(128))
