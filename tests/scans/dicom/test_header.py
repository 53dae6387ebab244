import numpy as np
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import (
    BasicTextSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    ParametricMapStorage,
    RTPlanStorage,
    SegmentationStorage,
)

from neuroscan_edge.errors import RejectedScanError
from neuroscan_edge.scans import Limits, SourceFacts
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.spec import Finding
from support.dicom_cases import item
from support.scan_cases import (
    PATIENT_NAME,
    PATIENT_WORDS,
    decoded,
    dicom_bytes,
    dicom_dataset,
    dicom_file,
    noise,
)

STORED = noise((9, 14))


def facts(data):
    (scan,) = decoded(read_dicom(data, "slice.dcm", Limits()))
    return scan.facts


def test_facts_of_a_header():
    data = dicom_file(
        STORED,
        ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "DIS2D"],
        BodyPartExamined="BRAIN",
        BurnedInAnnotation="YES",
    )
    assert facts(data) == SourceFacts(
        modality="MR",
        image_type=("ORIGINAL", "PRIMARY", "M", "ND", "DIS2D"),
        body_part="BRAIN",
        burned_in_annotation=True,
    )


def test_header_that_says_nothing():
    assert facts(dicom_file(STORED, Modality=None)) == SourceFacts()


@pytest.mark.parametrize(("value", "burned"), [("YES", True), ("NO", False), ("", False)])
def test_burned_in_annotation(value, burned):
    assert facts(dicom_file(STORED, BurnedInAnnotation=value)).burned_in_annotation is burned


def test_words_are_upper_case_and_stripped():
    whole = dicom_file(STORED, BodyPartExamined="BRAIN_X ", Modality="MR")
    found = facts(whole.replace(b"BRAIN_X ", b" brain  "))
    assert found.body_part == "BRAIN"


def test_single_image_type():
    assert facts(dicom_file(STORED, ImageType="ORIGINAL")).image_type == ("ORIGINAL",)


def test_values_that_are_no_code_strings_are_dropped():
    whole = dicom_file(
        STORED, BodyPartExamined="X" * 16, ImageType=["ORIGINAL", "Y" * len(PATIENT_NAME)]
    )
    odd = whole.replace(b"X" * 16, b"O'Yelaran^Wilh=1")
    odd = odd.replace(b"Y" * len(PATIENT_NAME), PATIENT_NAME.encode())
    found = facts(odd)
    assert found.body_part is None
    assert found.image_type == ("ORIGINAL",)
    assert not any(word.lower() in repr(found).lower() for word in PATIENT_WORDS)


REGIONS = {
    "brain": ("SCT", "12738006", "BRAIN"),
    "brain, older code": ("SRT", "T-A0100", "BRAIN"),
    "knee": ("SCT", "72696002", "KNEE"),
    "unknown": ("99LOCAL", "1", None),
}


@pytest.mark.parametrize(("scheme", "code", "word"), REGIONS.values(), ids=REGIONS.keys())
def test_coded_region_of_a_classic_image(scheme, code, word):
    region = item(CodingSchemeDesignator=scheme, CodeValue=code, CodeMeaning=PATIENT_NAME)
    found = facts(dicom_file(STORED, AnatomicRegionSequence=Sequence([region])))
    assert found.body_part == word


def test_stated_body_part_comes_before_the_code():
    region = item(CodingSchemeDesignator="SCT", CodeValue="72696002", CodeMeaning="Knee")
    data = dicom_file(STORED, BodyPartExamined="HEAD", AnatomicRegionSequence=Sequence([region]))
    assert facts(data).body_part == "HEAD"


def floats():
    dataset = dicom_dataset(STORED, SOPClassUID=ParametricMapStorage, PixelData=None)
    dataset.FloatPixelData = np.zeros((9, 14), np.float32).tobytes()
    dataset.BitsAllocated = 32
    return dicom_bytes(dataset)


def mask():
    dataset = dicom_dataset(np.zeros((16, 16), np.uint8), SOPClassUID=SegmentationStorage)
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0
    dataset.PixelData = bytes(32)
    return dicom_bytes(dataset)


def colour(interpretation, samples=3):
    shape = (4, 6, 3) if samples == 3 else (4, 6)
    elements = {"SamplesPerPixel": samples, "PhotometricInterpretation": interpretation}
    return dicom_file(noise(shape), **elements)


def without_pixels(kind):
    return dicom_file(STORED, SOPClassUID=kind, PixelData=None)


# Such classes are exported beside images by scanners; pydicom knows no name for them.
PRIVATE_CLASS = "1.3.12.2.1107.5.9.1"

REJECTED = {
    "report": (lambda: without_pixels(BasicTextSRStorage), Finding.NOT_AN_IMAGE),
    "presentation state": (
        lambda: without_pixels(GrayscaleSoftcopyPresentationStateStorage),
        Finding.NOT_AN_IMAGE,
    ),
    "plan": (lambda: without_pixels(RTPlanStorage), Finding.NOT_AN_IMAGE),
    "private object": (lambda: without_pixels(PRIVATE_CLASS), Finding.NOT_AN_IMAGE),
    "mask": (mask, Finding.COMPUTED),
    "map of floats": (floats, Finding.COMPUTED),
    **{
        name: (lambda name=name: colour(name), Finding.COLOUR)
        for name in ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
    },
    "palette": (lambda: colour("PALETTE COLOR", samples=1), Finding.COLOUR),
}


@pytest.mark.parametrize(("build", "finding"), REJECTED.values(), ids=REJECTED.keys())
def test_rejected(build, finding):
    with pytest.raises(RejectedScanError) as caught:
        facts(build())
    assert caught.value.finding == finding
    assert not any(word in str(caught.value) for word in PATIENT_WORDS)
