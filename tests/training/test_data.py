"""Data sets: layout, zips, splits, duplicates."""

import shutil
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from neuroscan_edge.errors import CalibrationError, DatasetError
from neuroscan_edge.model.calibration import CalibrationOptions, calibrate
from neuroscan_edge.parity.evaluation.duplicates import (
    ALIKE_CORRELATION,
    correlation,
    distances,
    duplicate_groups,
    near_pairs,
    nearest_distances,
    without_duplicates_in,
)
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.scans.dataset import load_split, load_splits, open_dataset
from neuroscan_edge.spec import Preprocessing
from support.tiny_models import tiny_bundle
from training.fit import validation_split
from training.recipe import DataRecipe

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
    assert "cannot be decoded" in images.unreadable[0].reason


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


def test_copies_are_one_group_and_strangers_are_not(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    groups = duplicate_groups(images.hashes, 4)
    names = [(file.path.parent.name, file.path.name) for file in images.files]
    for label in LABELS:
        of = {name: groups[names.index((label, name))] for name in ("00.png", "copy.png", "01.png")}
        assert of["00.png"] == of["copy.png"]
        assert of["00.png"] != of["01.png"]


def test_leaked_tests_are_found(small_data):
    training = load_images(load_split(small_data, "training"), SPEC)
    tests = load_images(load_split(small_data, "testing"), SPEC)
    clean = without_duplicates_in(tests.hashes, training.hashes, 4)
    leaked = [file.path.name == "leaked.jpg" for file in tests.files]
    assert not clean[leaked].any()
    assert clean[~np.array(leaked)].all()


def test_pairs_and_nearest_are_found_across_blocks():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, 600, np.uint64)
    hashes[[3, 300, 599]] = hashes[3]
    hashes[299] ^= np.uint64(0b101)
    hashes[300] = hashes[299] ^ np.uint64(1 << 40)
    expected = np.argwhere(np.triu(distances(hashes, hashes) <= 4, k=1))
    first, second, bits = near_pairs(hashes, 4)
    np.testing.assert_array_equal(np.column_stack([first, second]), expected)
    assert (3, 599, 0) in set(zip(first, second, bits, strict=True))
    assert (299, 300, 1) in set(zip(first, second, bits, strict=True))
    nearest = nearest_distances(hashes[:400], hashes[400:])
    np.testing.assert_array_equal(nearest, distances(hashes[:400], hashes[400:]).min(axis=1))
    none = hashes[:0]
    assert [len(each) for each in near_pairs(none, 4)] == [0, 0, 0]
    assert len(nearest_distances(none, hashes)) == 0


def test_groups_are_numbered_by_their_first_slice():
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 1 << 63, 700, np.uint64)
    hashes[[5, 300, 699]] = hashes[600]
    hashes[100:200] = hashes[:100] ^ np.uint64(0b11)
    hashes[200:300] = hashes[100:200] ^ np.uint64(0b111000)
    near = csr_array(distances(hashes, hashes) <= 4)
    expected = connected_components(near, directed=False)[1]
    np.testing.assert_array_equal(duplicate_groups(hashes, 4), expected)
    clean = without_duplicates_in(hashes[:400], hashes[400:], 4)
    np.testing.assert_array_equal(clean, (distances(hashes[:400], hashes[400:]) > 4).all(axis=1))
    assert len(duplicate_groups(hashes[:0], 4)) == 0


def test_memory_grows_with_the_slices_not_with_their_square():
    hashes = np.full(20_000, 7, np.uint64)
    tracemalloc.start()
    try:
        assert not duplicate_groups(hashes, 4).any()
        assert not without_duplicates_in(hashes, hashes, 4).any()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_correlation_is_pearsons_and_defined_for_constant_slices():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 256, (2, 64, 64), np.uint8)
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert correlation(first, 255 - first) == pytest.approx(-1)
    assert correlation(first, first // 2) > ALIKE_CORRELATION
    flat = np.full((64, 64), 3, np.uint8)
    assert (correlation(flat, flat), correlation(flat, flat + 1)) == (1.0, 0.0)


def test_validation_is_stratified_disjoint_and_keeps_duplicates_together(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    training, validation = validation_split(images, DataRecipe(0.25, 4), seed=1)
    assert set(training).isdisjoint(validation)
    assert len(training) + len(validation) == len(images.files)
    counts = np.bincount(images.targets[validation], minlength=4)
    assert counts.min() >= 3 and counts.max() <= 7
    groups = duplicate_groups(images.hashes, 4)
    assert set(groups[training]).isdisjoint(groups[validation])
    again = validation_split(images, DataRecipe(0.25, 4), seed=1)
    np.testing.assert_array_equal(validation, again[1])


def test_a_split_of_some_classes_is_numbered_anew(small_data):
    whole = load_split(small_data, "training")
    some = whole.only((LABELS[3], LABELS[0]))
    assert some.counts == {LABELS[3]: 18, LABELS[0]: 18}
    labels = {file.path: whole.labels[file.label] for file in whole.files}
    assert all(labels[file.path] == some.labels[file.label] for file in some.files)
    with pytest.raises(DatasetError, match="lymphoma"):
        whole.only((LABELS[0], "lymphoma"))


def test_targets_follow_the_labels(small_data):
    split = load_split(small_data, "training")
    images = load_images(split, SPEC)
    renumbered = images.relabelled(LABELS, (LABELS[1], LABELS[0])).targets
    np.testing.assert_array_equal(renumbered, np.array([1, 0, -1, -1])[images.targets])


def test_every_image_is_held_out_in_one_fold(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    held_out = []
    for fold in range(4):
        recipe = DataRecipe(validation_fraction=0.25, fold=fold)
        training, validation = validation_split(images, recipe, seed=3)
        assert not set(training) & set(validation)
        held_out += validation.tolist()
    assert sorted(held_out) == list(range(len(images.targets)))
