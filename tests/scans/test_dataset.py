"""Data sets: layout, zips, splits."""

import shutil
import zipfile
from pathlib import Path

import pytest

from neuroscan_edge.errors import CalibrationError, DatasetError
from neuroscan_edge.model.calibration import CalibrationOptions, calibrate
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.scans.dataset import load_split, load_splits, open_dataset
from neuroscan_edge.spec import Preprocessing
from support.tiny_models import tiny_bundle

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)


def test_a_split_lists_its_classes(small_data):
    split = load_split(small_data, "training")
    assert split.labels == LABELS
    assert split.counts == dict.fromkeys(LABELS, 18)
    assert split.fingerprint == load_split(small_data / "Training", "training").fingerprint
    assert split.fingerprint != load_split(small_data, "testing").fingerprint


@pytest.fixture
def copied(small_data, tmp_path) -> Path:
    return Path(shutil.copytree(small_data, tmp_path / "data"))


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="one folder per class"):
        load_split(tmp_path, "training")


def test_one_class_is_refused(copied):
    for label in LABELS[1:]:
        shutil.rmtree(copied / "Training" / label)
    with pytest.raises(DatasetError, match="has 1 class folders"):
        load_split(copied, "training")


def test_an_empty_class_is_refused(copied):
    folder = copied / "Training" / LABELS[1]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(DatasetError, match="holds no images"):
        load_split(copied, "training")


def test_unknown_test_classes_are_named(copied):
    (copied / "Testing" / LABELS[0]).rename(copied / "Testing" / "lymphoma")
    with pytest.raises(DatasetError, match="lymphoma"):
        load_split(copied, "testing", LABELS)


def test_a_test_class_that_training_lacks_is_named(copied):
    shutil.copytree(copied / "Testing" / LABELS[0], copied / "Testing" / "lymphoma")
    with pytest.raises(DatasetError, match="unknown classes lymphoma; known are glioma_tumor"):
        load_splits(copied)


def test_both_splits_have_the_labels_of_training(copied):
    shutil.rmtree(copied / "Testing" / LABELS[0])
    splits = load_splits(copied)
    assert list(splits) == ["training", "testing"]
    assert splits["testing"].labels == LABELS
    assert splits["testing"].counts == {LABELS[0]: 0, **dict.fromkeys(LABELS[1:], 5)}
    shutil.rmtree(copied / "Testing")
    assert list(load_splits(copied)) == ["training"]


def test_a_class_without_images_among_its_files_is_refused(copied):
    for path in (copied / "Testing" / LABELS[2]).iterdir():
        path.rename(path.with_suffix(".txt")).write_text("no image")
    with pytest.raises(DatasetError, match="no_tumor holds no images"):
        load_splits(copied)


def test_a_missing_test_split_is_named(copied):
    shutil.rmtree(copied / "Testing")
    with pytest.raises(DatasetError, match="no Testing folder"):
        load_split(copied, "testing")


def test_corrupt_images_are_left_out_and_listed(copied):
    bad = copied / "Training" / LABELS[0] / "00.png"
    bad.write_bytes(bad.read_bytes()[:200])
    images = load_images(load_split(copied, "training"), SPEC)
    assert len(images.files) == 71
    assert [each.path for each in images.unreadable] == [bad]
    assert "the PNG is truncated" in images.unreadable[0].reason


def test_a_link_to_nothing_is_left_out_and_listed(copied):
    healthy = load_split(copied, "training").fingerprint
    link = copied / "Training" / LABELS[0] / "link.png"
    link.symlink_to("nowhere.png")
    split = load_split(copied, "training")
    images = load_images(split, SPEC)
    assert len(images.files) == 72 and [each.path for each in images.unreadable] == [link]
    assert "No such file" in images.unreadable[0].reason
    assert split.fingerprint != healthy
    link.unlink()
    assert load_split(copied, "training").fingerprint == healthy


def test_calibrating_on_a_link_to_nothing_is_refused(copied, tmp_path):
    link = copied / "Training" / LABELS[0] / "link.png"
    link.symlink_to("nowhere.png")
    bundle, split = tiny_bundle(tmp_path / "tiny"), load_split(copied, "training")
    with pytest.raises(CalibrationError, match="link.png cannot be read .*; mend or remove it"):
        calibrate(bundle, split, CalibrationOptions(images=len(split.files)))


def test_a_class_of_corrupt_images_is_refused(copied):
    (copied / "Training" / LABELS[0] / "00.png").write_bytes(b"no image")
    for path in (copied / "Training" / LABELS[3]).iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(
        DatasetError, match=f"no image of {LABELS[3]} can be .*{LABELS[3]}/00.png: "
    ):
        load_images(load_split(copied, "training"), SPEC)


def test_a_zip_holds_the_same_data(small_data, tmp_path):
    archive = Path(
        shutil.make_archive(str(tmp_path / "set"), "zip", small_data.parent, small_data.name)
    )
    unpacked = open_dataset(archive, tmp_path / "work")
    again = open_dataset(archive, tmp_path / "work")
    assert unpacked == again
    fingerprint = load_split(small_data, "training").fingerprint
    assert load_split(unpacked, "training").fingerprint == fingerprint


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:\\evil.png"])
def test_a_zip_that_leaves_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Training/a/1.png", b"x")
        archive.writestr(name, b"x")
    work = tmp_path / "work"
    with pytest.raises(DatasetError, match="leaves the folder"):
        open_dataset(path, work)
    assert not list(tmp_path.rglob("evil.png"))
    assert not work.exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_a_file_that_is_no_zip_is_refused(tmp_path, content):
    path = tmp_path / "data.zip"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="neither a folder nor a zip"):
        open_dataset(path, tmp_path / "work")


def test_a_damaged_zip_leaves_nothing_behind(small_data, tmp_path):
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", small_data))
    data = bytearray(archive.read_bytes())
    data[2000:2400] = bytes(400)
    archive.write_bytes(data)
    work = tmp_path / "work"
    with pytest.raises(DatasetError, match="cannot be unpacked"):
        open_dataset(archive, work)
    assert not [path for path in work.rglob("*") if path.is_file()]


def test_a_split_of_some_classes_is_numbered_anew(small_data):
    whole = load_split(small_data, "training")
    some = whole.only((LABELS[3], LABELS[0]))
    assert some.counts == {LABELS[3]: 18, LABELS[0]: 18}
    labels = {file.path: whole.labels[file.label] for file in whole.files}
    assert all(labels[file.path] == some.labels[file.label] for file in some.files)
    with pytest.raises(DatasetError, match="lymphoma"):
        whole.only((LABELS[0], "lymphoma"))
