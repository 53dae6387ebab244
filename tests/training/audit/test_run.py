"""Audits: every count, every pair, and files that say no more than they should."""

import base64
import csv
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from neuroscan_edge.errors import DatasetError, OutputError, UsageError
from neuroscan_edge.parity.evaluation.duplicates import DEFAULT_DISTANCE
from neuroscan_edge.scans.dataset import load_split
from support.places import ROOT
from training.audit.duplicate_pairs import MAX_FULLY_LISTED
from training.audit.page import MAX_PAIRS_SHOWN, audit_page, pairs_to_show, side_by_side, summarise
from training.audit.record import Audit, DuplicatePair, read_audit
from training.audit.run import audit, audit_folder
from training.cli import audit as audit_command

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
OUTPUTS = {"audit.html", "audit.json", "leak-free.csv"}


@pytest.fixture(scope="module")
def report(small_data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("reports") / "audit"
    audit(small_data, output)
    return output


@pytest.fixture(scope="module")
def found(report) -> Audit:
    return read_audit(report / "audit.json")


@pytest.fixture
def copied(small_data, tmp_path) -> Path:
    return Path(shutil.copytree(small_data, tmp_path / "data"))


def paths_of(pairs) -> set[tuple[str, ...]]:
    return {pair.paths for pair in pairs}


def test_every_file_is_counted_by_class_and_split(found):
    assert found.labels == LABELS
    assert set(found.splits) == {"training", "testing"}
    for name, files in (("training", 18), ("testing", 5)):
        for label in LABELS:
            counted = found.splits[name].classes[label]
            assert (counted.files, counted.unreadable) == (files, 0)
            assert counted.sizes_px == {"96x96": files}
            assert (counted.bits, counted.channels) == ({"8": files}, {"1": files})


def test_exactly_the_known_duplicates_are_found(found):
    def known(pattern: str, *names: str) -> set[tuple[str, ...]]:
        return {tuple(pattern.format(label) + name for name in names) for label in LABELS}

    training, tests = "Training/{0}/", "Testing/{0}/leaked.jpg"
    by_match = {
        match: paths_of(pair for pair in found.duplicates if pair.match == match)
        for match in ("file", "pixels", "near")
    }
    assert by_match["file"] == known(training, "00.png", "copy.png")
    assert by_match["pixels"] == set()
    across = {
        (f"{training.format(label)}{name}", tests.format(label))
        for label in LABELS
        for name in ("00.png", "brighter.png", "copy.png")
    }
    within = known(training, "00.png", "brighter.png") | known(training, "brighter.png", "copy.png")
    assert by_match["near"] == across | within
    assert paths_of(pair for pair in found.duplicates if pair.across_splits) == across
    assert not any(pair.conflicting for pair in found.duplicates)
    assert all(pair.alike for pair in found.duplicates)
    assert found.conflicting_training == ()


def test_leak_free_tests_are_listed_with_their_distance(found, report):
    wanted = {f"Testing/{label}/{index:02}.png" for label in LABELS for index in range(4)}
    assert found.leak_free is not None
    assert {image.path for image in found.leak_free} == wanted
    with (report / "leak-free.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "nearest_distance"]
    assert [row["path"] for row in rows] == [image.path for image in found.leak_free]
    assert all(row["label"] == row["path"].split("/")[1] for row in rows)
    assert all(int(row["nearest_distance"]) > found.distance for row in rows)
    assert len(found.tests_by_nearest_distance) == 65
    assert sum(found.tests_by_nearest_distance) == 20
    assert sum(found.tests_by_nearest_distance[: found.distance + 1]) == 4


def test_the_nearest_distance_is_that_of_the_nearest_training_image(small_data, found):
    import imagehash

    def phash(path: Path) -> imagehash.ImageHash:
        return imagehash.phash(Image.open(path).convert("L"))

    image = found.leak_free[0]
    training = [phash(path) for path in (small_data / "Training").rglob("*.png")]
    own = phash(small_data / image.path)
    assert image.nearest_distance == min(own - other for other in training)


def test_equal_pixels_in_another_file_and_conflicts_are_told_apart(copied):
    folder = copied / "Training"
    pixels = cv2.imread(str(folder / LABELS[0] / "03.png"), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / LABELS[2] / "again.bmp"), pixels)
    tested = copied / "Testing" / LABELS[1] / "01.png"
    shutil.copy(tested, folder / LABELS[3] / "tested.png")
    found = audit_folder(copied, 4)
    conflicts = {pair.paths: pair for pair in found.duplicates if pair.conflicting}
    within = (f"Training/{LABELS[0]}/03.png", f"Training/{LABELS[2]}/again.bmp")
    across = (f"Training/{LABELS[3]}/tested.png", f"Testing/{LABELS[1]}/01.png")
    assert set(conflicts) == {within, across}
    assert conflicts[within].match == "pixels" and conflicts[across].match == "file"
    assert conflicts[across].across_splits
    # What testing says of an image is not for training to know.
    assert [image.path for image in found.conflicting_training] == list(within)
    split = load_split(copied, "training")
    left = {file.path for file in found.without_conflicts(split).files}
    assert {file.path for file in split.files} - left == {copied / path for path in within}
    with pytest.raises(DatasetError, match="files or labels differ"):
        found.without_conflicts(found.without_conflicts(split))
    assert "2 pairs have conflicting labels; 2 of them show one image" in summarise(found)[2]


def test_of_very_many_copies_most_pairs_are_only_counted(copied, tmp_path):
    blank = np.full((96, 96), 40, np.uint8)
    for label, copies in ((LABELS[0], 60), (LABELS[1], 40)):
        for index in range(copies):
            cv2.imwrite(str(copied / "Training" / label / f"blank-{index:02}.png"), blank)
    for index in range(30):
        cv2.imwrite(str(copied / "Testing" / LABELS[0] / f"blank-{index}.bmp"), blank)
    before = audit_folder(copied, 4)
    found = audit(copied, tmp_path)
    assert found == before == read_audit(tmp_path / "audit.json")
    blanks = [pair for pair in found.duplicates if "blank" in pair.paths[0]]
    assert len(blanks) + sum(each.pairs for each in found.unlisted) == 130 * 129 // 2
    assert len(blanks) < 130 * 3 * MAX_FULLY_LISTED
    assert len({path for pair in blanks for path in pair.paths}) == 130
    conflicts = sum(each.pairs for each in found.unlisted if each.conflicting and each.alike)
    assert conflicts + sum(pair.conflicting for pair in blanks) == 60 * 40 + 40 * 30
    assert sum("blank" in image.path for image in found.conflicting_training) == 100
    html = (tmp_path / "audit.html").read_text()
    # The four files and eight near-duplicates of the small data set beside the blank ones.
    assert f'within training</td><td class="number">{100 * 99 // 2 + 4}<' in html
    assert "are only counted" in html and "3600 pairs have conflicting labels" in html


def test_a_record_without_unlisted_pairs_is_read(report, tmp_path):
    document = json.loads((report / "audit.json").read_text())
    del document["unlisted"]
    (tmp_path / "audit.json").write_text(json.dumps(document))
    assert read_audit(tmp_path / "audit.json").unlisted == ()


def test_slices_that_only_hash_alike_are_no_conflict(copied):
    # At a distance this wide different slices are paired too.
    found = audit_folder(copied, 16)
    conflicts = [pair for pair in found.duplicates if pair.conflicting]
    assert conflicts and not any(pair.alike for pair in conflicts)
    assert found.conflicting_training == ()


def test_distance_zero_keeps_exact_copies_only(small_data):
    found = audit_folder(small_data, 0)
    assert all(pair.distance == 0 for pair in found.duplicates)
    assert Counter(pair.match for pair in found.duplicates)["file"] == 4


def test_unreadable_files_are_listed_with_reasons_and_counted(copied):
    folder = copied / "Training" / LABELS[0]
    cut = folder / "05.png"
    cut.write_bytes(cut.read_bytes()[:200])
    (folder / "06.png").write_bytes(b"")
    found = audit_folder(copied, 4)
    reasons = {each.path: each.reason for each in found.unreadable}
    assert set(reasons) == {f"Training/{LABELS[0]}/{name}.png" for name in ("05", "06")}
    assert "0 bytes" in reasons[f"Training/{LABELS[0]}/06.png"]
    counted = found.splits["training"].classes[LABELS[0]]
    assert (counted.files, counted.unreadable, counted.sizes_px) == (18, 2, {"96x96": 16})
    assert f"Training/{LABELS[0]}/05.png" in audit_page(found, copied)


def test_a_link_to_nothing_is_listed_and_the_audit_goes_on(copied, tmp_path):
    (copied / "Training" / LABELS[0] / "link.png").symlink_to("nowhere.png")
    (copied / "Testing" / LABELS[1] / "loop.png").symlink_to("loop.png")
    found = audit(copied, tmp_path / "report")
    reasons = {each.path: each.reason for each in found.unreadable}
    assert set(reasons) == {f"Training/{LABELS[0]}/link.png", f"Testing/{LABELS[1]}/loop.png"}
    assert all("the file cannot be read" in reason for reason in reasons.values())
    assert found.splits["training"].classes[LABELS[0]].unreadable == 1
    read_audit(tmp_path / "report" / "audit.json").require(load_split(copied, "testing"), "testing")


def test_a_split_of_unreadable_training_images_is_refused(copied):
    for path in (copied / "Training").rglob("*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="no training image can be read; the first is Training/"):
        audit_folder(copied, 4)


def test_stored_bits_and_channels_are_those_of_the_file(copied):
    folder = copied / "Training" / LABELS[0]
    deep = np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) * 16
    cv2.imwrite(str(folder / "deep.png"), deep)
    cv2.imwrite(str(folder / "deep-colour.png"), np.dstack([deep] * 3))
    Image.new("RGB", (30, 20)).save(folder / "colour.jpg")
    Image.new("1", (30, 20)).save(folder / "binary.png")
    counted = audit_folder(copied, 4).splits["training"].classes[LABELS[0]]
    assert counted.sizes_px == {"96x96": 18, "48x64": 2, "30x20": 2}
    assert counted.bits == {"8": 19, "16": 2, "1": 1}
    assert counted.channels == {"1": 20, "3": 2}


def test_a_dicom_file_is_counted_as_stored(copied):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = pydicom.uid.MRImageStorage
    dataset.SOPInstanceUID = pydicom.uid.generate_uid(entropy_srcs=["audit"])
    stored = np.arange(40 * 56, dtype=np.uint16).reshape(40, 56)
    dataset.set_pixel_data(stored, "MONOCHROME2", bits_stored=12)
    dataset.save_as(copied / "Training" / LABELS[0] / "slice.dcm", enforce_file_format=True)
    counted = audit_folder(copied, 4).splits["training"].classes[LABELS[0]]
    assert counted.sizes_px == {"96x96": 18, "56x40": 1}
    assert (counted.bits, counted.channels) == ({"8": 18, "12": 1}, {"1": 19})


def test_a_zip_gives_the_same_audit(small_data, report, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", small_data.parent, small_data.name)
    audit(Path(archive), tmp_path / "report")
    for name in OUTPUTS:
        assert (tmp_path / "report" / name).read_bytes() == (report / name).read_bytes()
    assert {path.name for path in (tmp_path / "report").iterdir()} == OUTPUTS


def test_without_a_test_split_an_old_list_of_leak_free_tests_goes(copied, tmp_path):
    output = tmp_path / "report"
    audit(copied, output)
    assert {path.name for path in output.iterdir()} == OUTPUTS
    shutil.rmtree(copied / "Testing")
    found = audit(copied, output)
    assert found.leak_free is None and set(found.splits) == {"training"}
    assert {path.name for path in output.iterdir()} == OUTPUTS - {"leak-free.csv"}
    assert "no test split" in (output / "audit.html").read_text()
    assert read_audit(output / "audit.json") == found


def test_what_is_read_is_what_was_found(small_data, found):
    assert audit_folder(small_data, 4) == found


def test_the_record_names_no_machine_path(report, small_data):
    for name in OUTPUTS:
        text = (report / name).read_text()
        assert str(small_data) not in text and str(report) not in text


def test_a_record_is_held_to_its_split(found, small_data, copied):
    training = load_split(small_data, "training")
    found.require(training, "training")
    with pytest.raises(DatasetError, match="the testing split has fingerprint"):
        found.require(training, "testing")
    (copied / "Training" / LABELS[0] / "00.png").unlink()
    with pytest.raises(DatasetError, match="files or labels differ; run 'python -m training audit"):
        found.require(load_split(copied, "training"), "training")
    alone = replace(found, splits={"training": found.splits["training"]})
    with pytest.raises(DatasetError, match="no testing split"):
        alone.require(load_split(small_data, "testing"), "testing")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2, this version reads 1"),
        ({"schema": None}, "schema None"),
        ({"distance": "four"}, "distance is not as"),
        ({"distance": True}, "distance is not as"),
        ({"distance": 1000}, "distance is 1000 bits; it must be 0 to 16"),
        ({"distance": -5}, "distance is -5 bits"),
        ({"labels": "glioma"}, "labels is not as"),
        ({"splits": {"validation": {}}}, "splits.validation is not as"),
        ({"splits": {"training": {"fingerprint": "0"}}}, "splits.training.classes is missing"),
        ({"leak_free": [{"path": "a"}]}, r"leak_free\[0\]\..* is missing"),
        ({"duplicates": None}, "duplicates is not as"),
    ],
    ids=str,
)
def test_a_record_of_another_form_is_refused(report, tmp_path, change, message):
    document = json.loads((report / "audit.json").read_text())
    path = tmp_path / "audit.json"
    path.write_text(json.dumps({**document, **change}))
    with pytest.raises(DatasetError, match=message):
        read_audit(path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff\xfe", pytest.param(b"[" * 100_000, id="deep")]
)
def test_what_is_no_record_is_refused(tmp_path, content):
    path = tmp_path / "audit.json"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="audit"):
        read_audit(path)
    with pytest.raises(DatasetError, match="cannot be read"):
        read_audit(tmp_path / "none.json")


def embedded(html: str) -> list[np.ndarray]:
    sources = re.findall(r'src="([^"]*)"', html)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    data = [base64.b64decode(source.split(",")[1]) for source in sources]
    return [cv2.imdecode(np.frombuffer(each, np.uint8), cv2.IMREAD_UNCHANGED) for each in data]


def test_the_page_stands_alone_and_shows_the_pairs(report):
    html = (report / "audit.html").read_text()
    assert not re.search(r"https?://|<script|<link|url\(", html)
    pictures = embedded(html)
    assert len(pictures) == 24, "12 across the splits, 12 within training"
    assert {picture.shape for picture in pictures} == {(96, 96 + 6 + 96)}
    assert html.index("The same class across the splits") < html.index("within a split")
    assert "Research use only" in html


def test_names_from_the_data_set_are_escaped(copied):
    folder = (copied / "Training" / LABELS[0]).rename(copied / "Training" / "<b>x&y")
    (copied / "Testing" / LABELS[0]).rename(copied / "Testing" / "<b>x&y")
    (folder / "00.png").rename(folder / '"><img src=x>.png')
    (folder / "07.png").write_bytes(b"no image")
    (folder / "07.png").rename(folder / "<i>\udcff.png")
    html = audit_page(audit_folder(copied, 4), copied)
    assert "<b>x" not in html and "<img src=x" not in html and "<i>" not in html
    assert "&quot;&gt;&lt;img src=x&gt;.png" in html
    html.encode()


def pair(number: int, distance: int) -> DuplicatePair:
    names = (f"Training/a/{number}.png", f"Training/b/{number}.png")
    return DuplicatePair(names, ("a", "a"), ("training", "training"), distance, "near", 1.0)


def test_pairs_shown_are_capped_and_spread_over_their_distances():
    few = [pair(number, 0) for number in range(MAX_PAIRS_SHOWN)]
    assert pairs_to_show(few) == few
    many = [pair(number, number % 5) for number in range(10 * MAX_PAIRS_SHOWN)]
    shown = pairs_to_show(many)
    assert len({each.paths for each in shown}) == MAX_PAIRS_SHOWN
    assert Counter(each.distance for each in shown) == dict.fromkeys(range(5), MAX_PAIRS_SHOWN // 5)


def test_the_page_says_how_many_pairs_it_leaves_out(small_data, found):
    across = [each for each in found.duplicates if each.across_splits]
    html = audit_page(replace(found, duplicates=tuple(across * 4)), small_data)
    assert len(embedded(html)) == MAX_PAIRS_SHOWN
    assert f"{MAX_PAIRS_SHOWN} of 48 pairs are shown" in html and "18 are left out" in html


def test_pictures_of_two_heights_stand_side_by_side():
    joined = side_by_side(np.zeros((4, 3), np.uint8), np.full((2, 5), 7, np.uint8))
    assert joined.shape == (4, 3 + 6 + 5)
    assert (joined[:, :3] == 0).all() and (joined[1:3, 9:] == 7).all()
    assert (joined[0, 3:] == 255).all() and (joined[3, 9:] == 255).all()


def test_the_command_needs_no_tensorflow(small_data, tmp_path):
    code = f"""
import sys
from typer.testing import CliRunner
from training.cli import app
done = CliRunner().invoke(app, ["audit", {str(small_data)!r}, "--output", {str(tmp_path)!r}])
assert done.exit_code == 0, done.output
assert "16 of 20 readable test images" in done.output, done.output
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_commands_default_is_the_librarys():
    assert inspect.signature(audit_command).parameters["distance"].default == DEFAULT_DISTANCE


@pytest.mark.parametrize("distance", [-1, 17])
def test_a_distance_that_means_nothing_is_refused(small_data, tmp_path, distance):
    with pytest.raises(UsageError, match="must be 0 to 16"):
        audit(small_data, tmp_path / "report", distance)
    assert not (tmp_path / "report").exists()


def test_an_output_that_is_a_file_is_refused(small_data, tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(OutputError, match="give another --output"):
        audit(small_data, tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"
