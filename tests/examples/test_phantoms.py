"""The example scans: drawn again by their code, readable, and listed with their labels."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from examples.phantoms.__main__ import COLUMNS, EXAMPLES_FOLDER, write_labels
from examples.phantoms.catalogue import EXAMPLES
from examples.phantoms.files import write
from examples.phantoms.slices import Encoding, render
from neuroscan_edge.scans.reading import read_scans

SCANS = EXAMPLES_FOLDER / "scans"
LABELS = {"glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"}
# Processors round the last digit of cosines differently, which can turn a grey level; the window
# of 12-bit slices and the codec of JPEG widen that to two.
MAX_GREY_LEVELS = 2
MAX_SHARE_CHANGED = 0.001
MAX_SCANS_BYTES = 1_500_000
DICOM = [each for each in EXAMPLES if each.path.endswith(".dcm")]


def pixels(path: Path) -> np.ndarray:
    (scan,) = read_scans(path)
    return scan.pixels.astype(np.int64)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    for example in EXAMPLES:
        write(folder, example, render(example))
    return folder


@pytest.mark.parametrize("path", [each.path for each in EXAMPLES])
def test_each_example_is_drawn_again(drawn, path):
    again, committed = pixels(drawn / path), pixels(SCANS / path)
    assert again.shape == committed.shape
    difference = np.abs(again - committed)
    assert difference.max() <= MAX_GREY_LEVELS
    assert (difference > 0).mean() <= MAX_SHARE_CHANGED


@pytest.mark.parametrize("path", [each.path for each in DICOM])
def test_headers_are_written_again(drawn, path):
    again, committed = pydicom.dcmread(drawn / path), pydicom.dcmread(SCANS / path)
    for dataset in (again, committed):
        del dataset.PixelData
    assert again == committed
    assert again.file_meta == committed.file_meta


def test_one_run_writes_the_bytes_of_another(drawn, tmp_path):
    for example in EXAMPLES[:2] + tuple(DICOM[:1]):
        again = write(tmp_path, example, render(example))
        assert again.read_bytes() == (drawn / example.path).read_bytes()


def test_the_folder_holds_the_examples_and_stays_small():
    files = [path for path in SCANS.rglob("*") if path.is_file()]
    assert {str(path.relative_to(SCANS)) for path in files} == {each.path for each in EXAMPLES}
    assert sum(path.stat().st_size for path in files) < MAX_SCANS_BYTES


def test_labels_are_listed_beside_the_scans(tmp_path):
    write_labels(tmp_path / "labels.csv")
    committed = (EXAMPLES_FOLDER / "labels.csv").read_bytes()
    assert (tmp_path / "labels.csv").read_bytes() == committed
    with (EXAMPLES_FOLDER / "labels.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["label"] for row in rows if row["expected"] == "answer"} == LABELS
    assert {row["expected"] for row in rows} == {"answer", "refer", "rejected"}
    assert {row["sequence"] for row in rows} == {"T1", "T1 with contrast medium", "T2", "FLAIR"}
    assert {row["format"] for row in rows} == {each.value for each in Encoding}


def test_a_lesion_changes_the_slice_and_a_seed_the_head():
    (example,) = (each for each in EXAMPLES if each.path == "glioma-t2-axial.png")
    with_lesion = render(example)
    without = render(replace(example, lesion=None))
    other_head = render(replace(example, seed=example.seed + 1))
    changed = np.abs(with_lesion - without) > 0.1
    assert 0.02 < changed.mean() < 0.4
    assert np.abs(with_lesion - other_head).mean() > 0.01


def test_places_of_a_series_agree():
    series = [each for each in DICOM if each.path.startswith("series-01/")]
    slices = [pydicom.dcmread(SCANS / each.path) for each in series]
    assert len({each.SeriesInstanceUID for each in slices}) == 1
    assert len({each.SOPInstanceUID for each in slices}) == len(slices)
    columns, rows = np.array(slices[0].ImageOrientationPatient, np.float64).reshape(2, 3)
    assert np.dot(columns, rows) == pytest.approx(0, abs=1e-5)
    # Slices of one head lie in feet-to-head order, the patient's left on the right of the picture.
    assert np.cross(columns, rows)[2] > 0.9 < columns[0]
    locations = [float(each.SliceLocation) for each in slices]
    assert locations == sorted(locations)
    assert [each.InstanceNumber for each in slices] == [1, 2, 3, 4]


def test_headers_name_nobody_and_say_what_is_drawn():
    for example in DICOM:
        dataset = pydicom.dcmread(SCANS / example.path)
        assert dataset.Modality == "MR"
        assert dataset.BodyPartExamined == example.body_part
        assert ("LOCALIZER" in dataset.ImageType) == example.localizer
        assert dataset.PatientName == "PHANTOM"
        assert not dataset.PatientBirthDate
        assert "not for diagnosis" in dataset.ImageComments
