import io
import struct
import tracemalloc

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
)

from neuroscan_edge.classify.pipeline import classify_files
from neuroscan_edge.errors import CorruptScanError, ScanError, ScanTooLargeError
from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.scans import Limits, Scan, ScanFault, find_scans
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.spec import Decision, Finding, Precision
from support.dicom_cases import compressed, encapsulated_frames, group, item, multi_frame
from support.expected_pixels import assert_rounded, by_percentile, windowed
from support.scan_cases import (
    SERIES_UID,
    SOP_UID,
    STUDY_UID,
    decoded,
    dicom_bytes,
    dicom_dataset,
    noise,
    within_seconds,
)

FRAMES = noise((4, 9, 14), np.uint16, high=4096)
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def read(data, **limits):
    return list(read_dicom(data, "stack.dcm", Limits(**limits)))


def rescale(slope, intercept):
    return {
        "PixelValueTransformationSequence": {
            "RescaleSlope": str(slope),
            "RescaleIntercept": str(intercept),
            "RescaleType": "US",
        }
    }


def window(centre, width, function=None):
    elements = {"WindowCenter": str(centre), "WindowWidth": str(width)}
    if function:
        elements["VOILUTFunction"] = function
    return {"FrameVOILUTSequence": elements}


SYNTAXES = {
    "implicit": lambda dataset: dicom_bytes(dataset, ImplicitVRLittleEndian),
    "explicit": lambda dataset: dicom_bytes(dataset, ExplicitVRLittleEndian),
    "run length": lambda dataset: compressed(dataset, RLELossless),
}


@pytest.mark.parametrize("write", SYNTAXES.values(), ids=SYNTAXES.keys())
def test_one_scan_a_frame_in_order(write):
    scans = read(write(multi_frame(FRAMES, **TWELVE_BITS)))
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2, 3]
    for scan, stored in zip(scans, FRAMES, strict=True):
        assert_rounded(scan.pixels, by_percentile(stored))
        assert scan.provenance.path == "stack.dcm"
        uids = scan.provenance.uids
        assert (uids.sop_instance_uid, uids.series_instance_uid, uids.study_instance_uid) == (
            SOP_UID,
            SERIES_UID,
            STUDY_UID,
        )


def test_frames_of_an_odd_number_of_bytes():
    stored = noise((3, 5, 5))
    scans = read(dicom_bytes(multi_frame(stored)))
    for scan, frame in zip(scans, stored, strict=True):
        assert_rounded(scan.pixels, by_percentile(frame))


def test_big_endian_words_of_two_pixels():
    stored = noise((3, 5, 5))
    dataset = multi_frame(stored)
    padded = np.frombuffer(dataset.PixelData, np.uint16)
    dataset.PixelData = padded.byteswap().tobytes()
    dataset["PixelData"].VR = "OW"
    scans = read(dicom_bytes(dataset, ExplicitVRBigEndian))
    for scan, frame in zip(scans, stored, strict=True):
        assert_rounded(scan.pixels, by_percentile(frame))


def test_rescale_and_window_of_each_frame():
    per_frame = [
        group(**rescale(index + 0.5, -100 * index), **window(900 * index + 500, 700 + index))
        for index in range(len(FRAMES))
    ]
    scans = read(dicom_bytes(multi_frame(FRAMES, per_frame, **TWELVE_BITS)))
    for index, (scan, stored) in enumerate(zip(scans, FRAMES, strict=True)):
        values = stored * (index + 0.5) - 100 * index
        assert_rounded(scan.pixels, windowed(values, 900 * index + 500, 700 + index))


def test_frame_comes_before_shared_and_shared_before_the_data_set():
    function = "LINEAR_EXACT"
    shared = group(**rescale(2, 10), **window(3000, 2000, function))
    per_frame = [group(**window(500, 900, function)), group()]
    dataset = multi_frame(
        FRAMES[:2],
        per_frame,
        shared,
        RescaleSlope="9",
        RescaleIntercept="9",
        WindowCenter="9",
        WindowWidth="9",
        **TWELVE_BITS,
    )
    first, second = read(dicom_bytes(dataset))
    assert_rounded(first.pixels, windowed(FRAMES[0] * 2 + 10, 500, 900, function))
    assert_rounded(second.pixels, windowed(FRAMES[1] * 2 + 10, 3000, 2000, function))


def test_secondary_capture_keeps_its_rescale_in_the_data_set():
    dataset = multi_frame(
        FRAMES,
        RescaleSlope="2",
        RescaleIntercept="-50",
        WindowCenter="1500",
        WindowWidth="1000",
        **TWELVE_BITS,
    )
    dataset.SOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    for scan, stored in zip(read(dicom_bytes(dataset)), FRAMES, strict=True):
        assert_rounded(scan.pixels, windowed(stored * 2.0 - 50, 1500, 1000))


def test_real_world_values_change_nothing():
    mapping = {
        "RealWorldValueMappingSequence": {
            "RealWorldValueFirstValueMapped": 0,
            "RealWorldValueLastValueMapped": 4095,
            "RealWorldValueIntercept": 7.0,
            "RealWorldValueSlope": -3.0,
        }
    }
    per_frame = [group(**window(2000, 900), **mapping) for _ in FRAMES]
    scans = read(dicom_bytes(multi_frame(FRAMES, per_frame, **TWELVE_BITS)))
    for scan, stored in zip(scans, FRAMES, strict=True):
        assert_rounded(scan.pixels, windowed(stored, 2000, 900))


def test_monochrome1_frames_are_inverted():
    dataset = multi_frame(FRAMES, PhotometricInterpretation="MONOCHROME1", **TWELVE_BITS)
    normal = read(dicom_bytes(multi_frame(FRAMES, **TWELVE_BITS)))
    for scan, other in zip(read(dicom_bytes(dataset)), normal, strict=True):
        assert np.array_equal(scan.pixels, 255 - other.pixels)


def frame_type(*values):
    return {"MRImageFrameTypeSequence": {"FrameType": list(values)}}


def anatomy(scheme, code, meaning="Wilhelmina Oyelaran"):
    region = item(CodingSchemeDesignator=scheme, CodeValue=code, CodeMeaning=meaning)
    return {
        "FrameAnatomySequence": {
            "AnatomicRegionSequence": Sequence([region]),
            "FrameLaterality": "U",
        }
    }


def test_facts_of_each_frame():
    per_frame = [
        group(**frame_type("ORIGINAL", "PRIMARY", "T1", "NONE")),
        group(**frame_type("DERIVED", "PRIMARY", "DIFFUSION", "ADC")),
    ]
    shared = group(**anatomy("SCT", "12738006"))
    dataset = multi_frame(
        FRAMES[:2], per_frame, shared, ImageType=["MIXED", "PRIMARY", "T1", "NONE"]
    )
    first, second = (scan.facts for scan in read(dicom_bytes(dataset)))
    assert first.modality == second.modality == "MR"
    assert first.body_part == second.body_part == "BRAIN"
    assert first.image_type == ("ORIGINAL", "PRIMARY", "T1", "NONE")
    assert second.image_type == ("DERIVED", "PRIMARY", "DIFFUSION", "ADC")


def test_unknown_region_is_none_and_its_text_is_not_used():
    dataset = multi_frame(FRAMES[:1], shared=group(**anatomy("99LOCAL", "1")))
    (scan,) = read(dicom_bytes(dataset))
    assert scan.facts.body_part is None


@pytest.mark.parametrize(("frames", "side"), [(1025, 8), (1024, 513)], ids=["frames", "pixels"])
def test_too_many_frames_are_refused_from_the_header(frames, side):
    dataset = multi_frame(FRAMES)
    dataset.NumberOfFrames = frames
    dataset.Rows = dataset.Columns = side
    with pytest.raises(ScanTooLargeError, match=f"{frames} frames"):
        decoded(read(dicom_bytes(dataset)))


def test_countless_items_are_refused_before_they_are_parsed():
    head = dicom_bytes(multi_frame(FRAMES[:1], PixelData=None))
    sequence = struct.pack("<HH2sHI", 0x0040, 0x0555, b"SQ", 0, 0xFFFFFFFF)
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * ((1 << 18) + 1)
    with within_seconds(5), pytest.raises(ScanTooLargeError, match="262145 sequence items"):
        read(head + sequence + items)


def test_limits_are_inclusive():
    data = dicom_bytes(multi_frame(FRAMES, **TWELVE_BITS))
    assert len(read(data, frames=4, file_pixels=FRAMES.size)) == 4
    for limits in ({"frames": 3}, {"file_pixels": FRAMES.size - 1}):
        with pytest.raises(ScanTooLargeError):
            decoded(read(data, **limits))


def test_a_bad_frame_is_a_fault_and_the_others_are_read():
    dataset = multi_frame(FRAMES, **TWELVE_BITS)
    whole = compressed(dataset, RLELossless)
    (good, *_), bad = list(read_encoded(whole, len(FRAMES))), b"\xff" * 70
    scans = read(encapsulated_frames(multi_frame(FRAMES), [good, bad, good, bad], RLELossless))
    assert [type(scan) for scan in scans] == [Scan, ScanFault, Scan, ScanFault]
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2, 3]
    for fault in scans[1::2]:
        assert isinstance(fault.error, CorruptScanError)
        assert fault.provenance.uids.sop_instance_uid == SOP_UID
        with pytest.raises(CorruptScanError):
            _ = fault.pixels
    assert np.array_equal(scans[0].pixels, scans[2].pixels)


def read_encoded(data, count):
    dataset = pydicom.dcmread(io.BytesIO(data))
    return pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=count)


BAD_GROUPS = {
    "rescale slope 0": (group(**rescale(0, 0)), "slope"),
    "rescale to infinity": (group(**rescale("1e308", 0)), "finite"),
}


@pytest.mark.parametrize(("bad", "words"), BAD_GROUPS.values(), ids=BAD_GROUPS.keys())
def test_a_bad_functional_group_is_a_fault_of_its_frame(bad, words):
    per_frame = [group(**rescale(1, 0)), bad, group(**rescale(1, 0))]
    scans = read(dicom_bytes(multi_frame(FRAMES[:3], per_frame, **TWELVE_BITS)))
    assert [type(scan) for scan in scans] == [Scan, ScanFault, Scan]
    assert words in str(scans[1].error)


def test_frames_without_functional_groups_are_faults():
    per_frame = [group(**window(2000, 900))] * 2
    scans = read(dicom_bytes(multi_frame(FRAMES, per_frame, **TWELVE_BITS)))
    assert [type(scan) for scan in scans] == [Scan, Scan, ScanFault, ScanFault]
    assert "functional groups" in str(scans[2].error)


def test_after_eight_faults_the_rest_is_not_tried():
    frames = noise((20, 9, 14), np.uint16)
    per_frame = [group(**rescale(1 if index == 3 else 0, 0)) for index in range(20)]
    scans = read(dicom_bytes(multi_frame(frames, per_frame)))
    assert [isinstance(scan, Scan) for scan in scans] == [index == 3 for index in range(9)]
    assert "frames 9 to 19 are not tried" in str(scans[-1].error)
    assert "not tried" not in str(scans[-2].error)


def test_data_that_ends_early_is_one_fault_after_the_whole_frames():
    dataset = multi_frame(FRAMES, **TWELVE_BITS)
    dataset.PixelData = FRAMES[:2].tobytes() + FRAMES[2].tobytes()[:50]
    scans = read(dicom_bytes(dataset))
    assert [type(scan) for scan in scans] == [Scan, Scan, ScanFault]
    assert "ends after 2 of 4 frames" in str(scans[2].error)


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_fewer_encapsulated_frames_than_declared(kept):
    frames = list(read_encoded(compressed(multi_frame(FRAMES), RLELossless), 4))[:kept]
    data = encapsulated_frames(multi_frame(FRAMES), frames or [b"\0\0"], RLELossless)
    scans = read(data)
    assert sum(isinstance(scan, Scan) for scan in scans) == kept
    assert isinstance(scans[-1], ScanFault)


@pytest.mark.parametrize("declared", [None, "", "1", "2"], ids=["missing", "empty", "1", "2"])
@pytest.mark.parametrize("write", SYNTAXES.values(), ids=SYNTAXES.keys())
def test_more_frames_than_declared_are_all_read_and_doubted(write, declared):
    dataset = pydicom.dcmread(io.BytesIO(write(multi_frame(FRAMES, **TWELVE_BITS))))
    if declared is None:
        del dataset.NumberOfFrames
    else:
        dataset.NumberOfFrames = declared
    scans = read(dicom_bytes(dataset, dataset.file_meta.TransferSyntaxUID))
    assert len(scans) == len(FRAMES)
    for scan, stored in zip(scans, FRAMES, strict=True):
        assert_rounded(scan.pixels, by_percentile(stored))
        assert Finding.CONTRADICTORY_HEADER in scan.findings


def test_memory_stays_at_one_frame():
    """Ten times the frames take ten times the file, but no more memory for decoding."""
    frames = noise((40, 256, 256), np.uint16)
    data = dicom_bytes(multi_frame(frames))
    scans = read_dicom(data, "stack.dcm", Limits())
    next(scans)
    tracemalloc.start()
    try:
        for scan in scans:
            assert isinstance(scan, Scan)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A frame in float64 is 512 KB, and a few of them live at once while it is windowed.
    assert peak_bytes < 12 * frames[0].size * 8 < frames.nbytes * 2


def test_a_single_frame_that_cannot_be_decoded_is_a_fault_too():
    dataset = multi_frame(FRAMES[:1], [group(**rescale(0, 0))], **TWELVE_BITS)
    (fault,) = read(dicom_bytes(dataset))
    assert type(fault.error) is CorruptScanError
    with pytest.raises(CorruptScanError):
        np.asarray(fault.pixels)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1], ids=lambda uid: uid.keyword)
def test_frames_that_are_nothing_are_faults(syntax):
    data = encapsulated_frames(multi_frame(noise((2, 8, 8))), [b"nothing.", b"at all.."], syntax)
    assert [type(scan) for scan in read(data)] == [ScanFault, ScanFault]


class MeanRuntime:
    """Answers from each slice's mean."""

    info = RuntimeInfo("fake", "1", "cpu", Precision.FP32, "0" * 64)

    def __call__(self, batch):
        mean = batch.reshape(len(batch), -1).mean(axis=1, dtype=np.float32) / 255
        return np.stack([mean, 1 - mean, 0 * mean, 0 * mean], axis=1).astype(np.float32)


def test_results_name_the_bad_frame(tmp_path, bundle):
    per_frame = [group(**rescale(1, 0)), group(**rescale(0, 0)), group(**rescale(1, 0))]
    # Large enough to be classified.
    frames = noise((3, 40, 40), np.uint16, high=4096)
    stack, report = tmp_path / "stack.dcm", tmp_path / "zreport.dcm"
    stack.write_bytes(dicom_bytes(multi_frame(frames, per_frame, **TWELVE_BITS)))
    report.write_bytes(
        dicom_bytes(dicom_dataset(FRAMES[0], SOPClassUID=BasicTextSRStorage, PixelData=None))
    )
    results = list(classify_files(find_scans([tmp_path]).files, bundle, MeanRuntime()))
    assert [result.provenance.frame for result in results] == [0, 1, 2, 0]
    assert [result.decision for result in results] == [
        Decision.ANSWER,
        None,
        Decision.ANSWER,
        Decision.REJECTED,
    ]
    assert results[1].error.startswith("corrupt: ")
    assert results[1].to_json()["sop_instance_uid"] == SOP_UID
    assert results[3].findings == (Finding.NOT_AN_IMAGE,)
    assert results[3].error is None
    assert results[3].to_json()["sop_instance_uid"] == SOP_UID


BAD_SINGLES = {
    "colour": {"PhotometricInterpretation": "RGB"},
    "too large": {"Rows": 65535, "Columns": 65535},
    "cut": {"Rows": 900},
    "slope 0": {"RescaleSlope": "0"},
}


@pytest.mark.parametrize("elements", BAD_SINGLES.values(), ids=BAD_SINGLES.keys())
def test_errors_of_single_frames_carry_the_uids(elements):
    (fault,) = read(dicom_bytes(dicom_dataset(FRAMES[0], **elements)))
    assert isinstance(fault.error, ScanError)
    assert fault.provenance.uids.sop_instance_uid == SOP_UID
    assert fault.provenance.path == "stack.dcm"


def test_a_file_that_is_no_dicom_has_no_slice_to_name():
    with pytest.raises(ScanError):
        read(b"three slices, see the other folder")
