"""Sex and age decade from a header, whatever the header holds."""

import io

import numpy as np
import pydicom
import pytest

from neuroscan_edge.scans.dicom.patient import NOT_TOLD, Demographics, read_demographics
from support.dicom_slices import dicom_slice

KEY = b"k" * 32


def told(tmp_path, data: bytes | None = None, **elements: object) -> Demographics | None:
    path = tmp_path / "scan.dcm"
    with pydicom.config.disable_value_validation():
        path.write_bytes(dicom_slice(**elements) if data is None else data)
    return read_demographics(path, KEY)


@pytest.mark.parametrize(
    ("sex", "expected"),
    [("F", "female"), ("m ", "male"), ("O", "other"), ("X", NOT_TOLD), (None, NOT_TOLD)],
)
def test_sex(tmp_path, sex, expected):
    assert told(tmp_path, PatientSex=sex).sex == expected


@pytest.mark.parametrize(
    ("elements", "decade"),
    [
        ({"PatientAge": "045Y"}, "40 to 49"),
        ({"PatientAge": "018M"}, "0 to 9"),
        ({"PatientAge": "130M"}, "10 to 19"),
        ({"PatientAge": "010D"}, "0 to 9"),
        ({"PatientAge": "089Y"}, "80 to 89"),
        ({"PatientAge": "104Y"}, "90 and over"),
        ({"PatientAge": "999Y"}, NOT_TOLD),
        ({"PatientAge": "fortyfive"}, NOT_TOLD),
        ({"PatientBirthDate": "19500601", "StudyDate": "20200531"}, "60 to 69"),
        ({"PatientBirthDate": "19500601", "StudyDate": "20200601"}, "70 to 79"),
        ({"PatientBirthDate": "19500601", "AcquisitionDate": "20200601"}, "70 to 79"),
        ({"PatientBirthDate": "19509901", "StudyDate": "20200601"}, NOT_TOLD),
        ({"PatientBirthDate": "20210601", "StudyDate": "20200601"}, NOT_TOLD),
        ({"PatientBirthDate": "19500601"}, NOT_TOLD),
        (
            {"PatientAge": "045Y", "PatientBirthDate": "20000101", "StudyDate": "20200601"},
            "40 to 49",
        ),
    ],
)
def test_age(tmp_path, elements, decade):
    nothing = dict.fromkeys(
        ("PatientAge", "PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate")
    )
    assert told(tmp_path, **{**nothing, **elements}).decade == decade


def test_patients_are_told_apart_and_not_named(tmp_path):
    one, again, other = (told(tmp_path, PatientID=each).person for each in ("A", "A", "B"))
    assert one == again != other
    assert len(one) == 8
    assert read_demographics(tmp_path / "scan.dcm", b"other key").person != other
    assert told(tmp_path, PatientID=None).person is None


def test_what_is_no_sound_dicom_tells_nothing(tmp_path):
    data = dicom_slice(PatientSex="F", PatientAge="045Y")
    nothing = Demographics()
    assert told(tmp_path, data[:200]) == nothing
    assert told(tmp_path, data[:132] + np.random.default_rng(0).bytes(4000)) == nothing
    assert told(tmp_path, b"") == nothing
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    assert read_demographics(tmp_path / "image.png", KEY) == nothing


def test_a_file_that_is_not_there_is_none(tmp_path):
    assert read_demographics(tmp_path / "absent.dcm", KEY) is None
    assert read_demographics(tmp_path, KEY) is None


def test_a_header_that_would_inflate_is_left_alone(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(dicom_slice(PatientSex="F")))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm")
    assert read_demographics(tmp_path / "deflated.dcm", KEY) == Demographics()


def test_pixels_are_not_read(tmp_path):
    data = dicom_slice(PatientSex="F", PatientAge="045Y")
    start = data.index(b"\xe0\x7f\x10\x00")
    found = told(tmp_path, data[: start + 20])
    assert (found.sex, found.decade) == ("female", "40 to 49")
