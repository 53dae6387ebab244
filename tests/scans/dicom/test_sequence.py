"""What a DICOM header says of the series of a slice, classic and enhanced."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian

from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.reader import read_dicom
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.spec import MrSequence, Plane
from support.dicom_cases import group, item, multi_frame
from support.phantoms import head
from support.places import ROOT
from support.scan_cases import PATIENT_NAME, PATIENT_WORDS, decoded, dicom_bytes, dicom_dataset

HEAD = head(64, 1000).astype(np.uint16)
AXIAL = [1, 0, 0, 0, 1, 0]
CORONAL = [1, 0, 0, 0, 0, -1]
SAGITTAL = [0, 1, 0, 0, 0, -1]
T1 = {"ScanningSequence": "SE", "RepetitionTime": "550", "EchoTime": "10"}
FLAIR = {
    "ScanningSequence": ["SE", "IR"],
    "RepetitionTime": "9000",
    "EchoTime": "120",
    "InversionTime": "2500",
}


def series(data):
    return [scan.facts.series for scan in decoded(read_dicom(data, "slice.dcm", Limits()))]


def series_of(**elements):
    (facts,) = series(dicom_bytes(dicom_dataset(HEAD, **elements)))
    return facts


def test_a_contrast_t1():
    facts = series_of(
        **T1,
        SeriesDescription="t1_se_tra",
        ContrastBolusAgent="Gadovist",
        ImageOrientationPatient=AXIAL,
    )
    assert facts == SeriesFacts(
        MrSequence.T1C,
        (
            "Series Description has the word T1",
            "Scanning Sequence is SE",
            "Repetition Time is 550 ms",
            "Echo Time is 10 ms",
            "Contrast/Bolus Agent says that an agent was given",
        ),
        Plane.AXIAL,
        "LPS",
        True,
    )


def test_a_header_that_says_nothing_has_no_facts():
    assert series_of() is None


def test_it_is_the_same_in_implicit_vr():
    dataset = dicom_dataset(HEAD, **FLAIR, ImageOrientationPatient=CORONAL)
    (facts,) = series(dicom_bytes(dataset, ImplicitVRLittleEndian))
    assert (facts.sequence, facts.plane) == (MrSequence.FLAIR, Plane.CORONAL)


@pytest.mark.parametrize(
    ("cosines", "plane"),
    [(AXIAL, Plane.AXIAL), (CORONAL, Plane.CORONAL), (SAGITTAL, Plane.SAGITTAL)],
    ids=str,
)
def test_plane(cosines, plane):
    facts = series_of(ImageOrientationPatient=cosines)
    assert facts == SeriesFacts(plane=plane, orientation=facts.orientation)


def test_plane_by_letters_alone():
    facts = series_of(PatientOrientation=["L", "P"])
    assert (facts.plane, facts.orientation) == (Plane.AXIAL, None)


@pytest.mark.parametrize("cosines", [["1", "0", "0"], ["9"] * 6, ["0"] * 6], ids=str)
def test_an_orientation_that_is_none(cosines):
    assert series_of(ImageOrientationPatient=cosines) is None


@pytest.mark.parametrize("keyword", ["SeriesDescription", "ProtocolName", "SequenceName"])
def test_names(keyword):
    facts = series_of(**{keyword: "FLAIR"})
    assert facts.sequence is MrSequence.FLAIR
    name = {"SeriesDescription": "Series Description", "ProtocolName": "Protocol Name"}
    assert facts.evidence == (f"{name.get(keyword, 'Sequence Name')} has the word FLAIR",)


def test_names_of_other_alphabets():
    dataset = dicom_dataset(HEAD, SeriesDescription="T1 с контрастом")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    (facts,) = series(dicom_bytes(dataset))
    assert (facts.sequence, facts.contrast_agent) == (MrSequence.T1C, True)


AGENTS = {
    "Gadovist 7.5 ml": True,
    "GADOLINIUM": True,
    PATIENT_NAME: True,
    "NONE": False,
    "no": False,
    "W/O": False,
    "Ohne": False,
    "Without Contrast": False,
    "UNKNOWN": None,
    " ": None,
}


@pytest.mark.parametrize(("agent", "given"), AGENTS.items(), ids=AGENTS)
def test_contrast_agent(agent, given):
    facts = series_of(SeriesDescription="T1", ContrastBolusAgent=agent)
    assert facts.contrast_agent is given
    assert facts.sequence is (MrSequence.T1C if given else MrSequence.T1)


def test_contrast_agent_by_its_amount():
    assert series_of(**T1, ContrastBolusVolume="7.5").sequence is MrSequence.T1C
    assert series_of(**T1, ContrastBolusVolume="0").sequence is MrSequence.T1


def test_contrast_agent_by_its_code():
    agent = item(CodeValue="C-B03CC", CodingSchemeDesignator="SRT", CodeMeaning=PATIENT_NAME)
    facts = series_of(**T1, ContrastBolusAgentSequence=Sequence([agent]))
    assert facts.sequence is MrSequence.T1C


@pytest.mark.parametrize(
    "image_type", [["DERIVED", "PRIMARY", "ADC"], ["ORIGINAL", "PRIMARY", "LOCALIZER"]]
)
def test_computed_images_and_localizers_are_other(image_type):
    assert series_of(**T1, ImageType=image_type).sequence is MrSequence.OTHER


def test_another_modality_is_not_guessed():
    facts = series_of(Modality="CT", SeriesDescription="T1", ImageOrientationPatient=AXIAL)
    assert (facts.sequence, facts.plane, facts.evidence) == (MrSequence.UNKNOWN, Plane.AXIAL, ())


def frame_type(contrast):
    return {"MRImageFrameTypeSequence": {"AcquisitionContrast": contrast}}


def plane(cosines):
    return {"PlaneOrientationSequence": {"ImageOrientationPatient": cosines}}


STACK = np.stack([HEAD, HEAD])
T1_FRAME = frame_type("T1")


def test_enhanced_frames_have_their_own():
    per_frame = [
        group(**frame_type("T1"), **plane(AXIAL)),
        group(**frame_type("FLUID_ATTENUATED"), **plane(SAGITTAL)),
    ]
    first, second = series(dicom_bytes(multi_frame(STACK, per_frame)))
    assert (first.sequence, first.plane) == (MrSequence.T1, Plane.AXIAL)
    assert (second.sequence, second.plane) == (MrSequence.FLAIR, Plane.SAGITTAL)
    assert second.evidence == ("Acquisition Contrast is FLUID_ATTENUATED",)


def test_enhanced_times():
    shared = group(
        MRTimingAndRelatedParametersSequence={"RepetitionTime": "9000"},
        MREchoSequence={"EffectiveEchoTime": 120.0},
        MRModifierSequence={"InversionRecovery": "YES", "InversionTimes": 2500.0},
        **plane(AXIAL),
    )
    dataset = multi_frame(STACK, shared=shared)
    dataset.EchoPulseSequence = "SPIN"
    for facts in series(dicom_bytes(dataset)):
        assert facts.sequence is MrSequence.FLAIR
        assert "Inversion Time is 2500 ms" in facts.evidence


def test_enhanced_contrast_agent_of_each_frame():
    given, before = (
        group(ContrastBolusUsageSequence={"ContrastBolusAgentAdministered": word}, **T1_FRAME)
        for word in ("YES", "NO")
    )
    first, second = series(dicom_bytes(multi_frame(STACK, [given, before])))
    assert (first.sequence, second.sequence) == (MrSequence.T1C, MrSequence.T1)
    assert (first.contrast_agent, second.contrast_agent) == (True, False)


def test_enhanced_diffusion():
    weighted, plain = (
        group(MRDiffusionSequence={"DiffusionBValue": value}) for value in (1000.0, 0.0)
    )
    dataset = multi_frame(STACK, [weighted, plain])
    dataset.SeriesDescription = "T2"
    first, second = series(dicom_bytes(dataset))
    assert (first.sequence, second.sequence) == (MrSequence.OTHER, MrSequence.T2)


def test_nothing_of_a_header_is_repeated():
    """Names and numbers that could be a person's, wherever a series may be named."""
    facts = series_of(
        SeriesDescription=f"{PATIENT_NAME} T1 7741902",
        ProtocolName=PATIENT_NAME,
        SequenceName=PATIENT_NAME[:16],
        ScanningSequence=["SE", "OYELARAN"],
        SequenceVariant="WILHELMINA",
        RepetitionTime="19470223",
        EchoTime="7741902",
        InversionTime="19470223",
        ContrastBolusAgent=PATIENT_NAME,
        PatientOrientation=["WILHELMINA", "OYELARAN"],
    )
    assert facts.sequence is MrSequence.T1C
    assert not any(word.lower() in repr(facts).lower() for word in PATIENT_WORDS)


UNREADABLE = {
    "SeriesDescription": b"\xff\xfe\x1b[99m T1 ",
    "RepetitionTime": b"9000,0  ",
    "ImageOrientationPatient": b"1\\0\\0\\0\\eins\\0 ",
    "ScanningSequence": b"\\\\\\ ",
}


@pytest.mark.parametrize(("keyword", "raw"), UNREADABLE.items(), ids=UNREADABLE)
def test_unreadable_elements_cost_nothing(keyword, raw):
    text = "7" * len(raw)
    dataset = dicom_dataset(HEAD, **FLAIR)
    dataset[keyword] = pydicom.DataElement(keyword, "LO", text)
    data = dicom_bytes(dataset)
    assert data.count(text.encode()) == 1
    (scan,) = decoded(read_dicom(data.replace(text.encode(), raw), "slice.dcm", Limits()))
    assert scan.pixels.shape == HEAD.shape


EXAMPLES = {
    "series-01/slice-01.dcm": (MrSequence.FLAIR, Plane.AXIAL),
    "normal-t2-mono1.dcm": (MrSequence.T2, Plane.AXIAL),
    "odd/localizer.dcm": (MrSequence.OTHER, Plane.SAGITTAL),
}


@pytest.mark.parametrize(("name", "found"), EXAMPLES.items(), ids=EXAMPLES)
def test_examples(name, found):
    data = (ROOT / "examples" / "scans" / name).read_bytes()
    assert pydicom.dcmread(io.BytesIO(data)).Modality == "MR"
    (facts,) = series(data)
    assert (facts.sequence, facts.plane) == found
