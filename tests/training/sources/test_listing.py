"""Sources are listed with their patients and sequences, and bad ones get a clear message."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from neuroscan_edge.errors import DatasetError
from training.sources.listing import list_sources, one_class_sources, patients_in_tests

HEADER = "file,source,label,sequence,patient,diagnosis\n"


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), np.uint8)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    root = tmp_path / "extra"
    for number in range(3):
        picture(root / f"a/{number}.png", number)
    rows = ["a/0.png,a,glioma,t1post,P1,", "a/1.png,a,none,FLAIR,P1,", "a/2.png,b,none,,,"]
    (root / "index.csv").write_text(HEADER + "\n".join(rows) + "\n")
    return root


@pytest.fixture
def study(tmp_path: Path) -> Path:
    root = tmp_path / "study"
    for split in ("Training", "Testing"):
        for place, label in enumerate(("glioma", "none")):
            picture(root / split / label / "1.png", 10 + place + 2 * (split == "Testing"))
    return root


def test_index_gives_source_patient_and_sequence(extra: Path) -> None:
    first, second, third = list_sources(extra=extra)
    assert (first.source, first.patient, first.sequence) == ("a", "a/P1", "t1c")
    assert second.sequence == "flair"
    assert (third.source, third.patient, third.sequence) == ("b", "", "unknown")


def test_folder_without_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"has no index\.csv"):
        list_sources(extra=tmp_path)


def test_index_that_names_missing_files_is_refused(extra: Path) -> None:
    (extra / "a/1.png").unlink()
    with pytest.raises(DatasetError, match=r"1 files that are missing, the first is a/1\.png"):
        list_sources(extra=extra)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "a/0.png"])
def test_index_entry_outside_the_folder_or_repeated_is_refused(extra: Path, name: str) -> None:
    with (extra / "index.csv").open("a") as stream:
        stream.write(f"{name},a,none,t1,P9,\n")
    with pytest.raises(DatasetError, match="outside the folder|named twice"):
        list_sources(extra=extra)


def test_index_without_a_column_is_refused(extra: Path) -> None:
    text = (extra / "index.csv").read_text().replace("patient", "person", 1)
    (extra / "index.csv").write_text(text)
    with pytest.raises(DatasetError, match="lacks the columns patient"):
        list_sources(extra=extra)


def test_source_of_one_class_is_named(extra: Path) -> None:
    assert one_class_sources(list_sources(extra=extra)) == {"b": "none"}


def test_patients_and_disputed_labels_of_the_study_are_known(study: Path, tmp_path: Path) -> None:
    patients = tmp_path / "patients.csv"
    patients.write_text(
        "file,cheng_patient,label_there\n"
        "Testing/glioma/1.png,7,glioma\nTraining/none/1.png,8,glioma\n"
    )
    listed = list_sources(study, study_patients=patients)
    assert patients_in_tests(listed) == {"cheng_figshare/7"}
    assert [file.disputed for file in listed if file.patient] == [True, False]


def test_patient_list_of_another_data_set_is_refused(study: Path, tmp_path: Path) -> None:
    patients = tmp_path / "patients.csv"
    patients.write_text("file,cheng_patient,label_there\nTesting/glioma/99.png,7,glioma\n")
    with pytest.raises(DatasetError, match="names 1 files that"):
        list_sources(study, study_patients=patients)


def test_no_source_is_refused() -> None:
    with pytest.raises(DatasetError, match="no source was given"):
        list_sources()
