"""What parity refuses, and what it counts and goes on with."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from neuroscan_edge.errors import DatasetError, ParityError
from neuroscan_edge.model.bundle import CALIBRATION, open_bundle, write_files
from neuroscan_edge.model.calibration import read_table
from neuroscan_edge.parity import Verdict
from neuroscan_edge.parity.baseline_predictions import (
    PREDICTIONS,
    BaselinePredictions,
    faults_of_probabilities,
    read_predictions,
)
from neuroscan_edge.parity.gate import Gate
from neuroscan_edge.spec import Precision
from support.labelled import FEW, answering, certify
from support.tiny_models import LABELS


@pytest.fixture
def copied(data: Path, tmp_path: Path) -> Path:
    """A copy of the data set, free to be damaged."""
    return Path(shutil.copytree(data, tmp_path / "data"))


def test_a_missing_class_cannot_be_certified(folder, copied):
    shutil.rmtree(copied / "Testing" / "no_tumor")
    found = certify(folder, copied).certificate
    assert found.verdict is Verdict.CANNOT_CERTIFY
    assert found.verdict.exit_code == 3
    assert "no images of no_tumor" in found.document["reasons"][0]
    assert found.document["comparison"]["agreement"]["value"] == 1, "figures are there anyway"


def test_too_few_images_of_a_class_cannot_be_certified(folder, copied):
    for path in sorted((copied / "Testing" / LABELS[0]).iterdir())[:20]:
        path.unlink()
    found = certify(folder, copied).certificate
    assert found.verdict is Verdict.CANNOT_CERTIFY
    assert "40 images of glioma_tumor, the gate asks for 50" in found.document["reasons"][0]
    own = Gate(min_images_per_class=40)
    assert certify(folder, copied, gate=own).certificate.verdict is Verdict.PASSED


def test_few_images_are_enough_to_see_that_an_engine_is_broken(folder, copied, monkeypatch):
    for label in LABELS:
        for path in sorted((copied / "Testing" / label).iterdir())[:40]:
            path.unlink()
    answering(monkeypatch, lambda rows: np.roll(rows, 1, axis=1))
    found = certify(folder, copied).certificate
    assert found.verdict is Verdict.FAILED
    assert found.document["first_failing_stage"] == "engine"


def test_unknown_labels_are_refused(folder, copied):
    (copied / "Testing" / LABELS[0]).rename(copied / "Testing" / "schwannoma")
    with pytest.raises(DatasetError, match="unknown classes schwannoma"):
        certify(folder, copied)


@pytest.mark.parametrize(("damaged", "verdict"), [(2, "passed"), (3, "cannot-certify")])
def test_unreadable_images_are_counted_and_few_are_borne(folder, copied, damaged, verdict):
    for index in range(damaged):
        (copied / "Testing" / LABELS[1] / f"damaged{index}.png").write_bytes(b"\x89PNG no more")
    found = certify(folder, copied).certificate
    assert str(found.verdict) == verdict
    unreadable = found.document["data"]["unreadable"]
    assert unreadable == [{"label": LABELS[1], "kind": "corrupt"}] * damaged
    assert found.document["data"]["images"] == 240
    assert any("cannot be read" in each for each in found.document["reasons"]) == (damaged == 3)


def test_a_class_of_which_nothing_can_be_read_cannot_be_certified(folder, copied):
    for path in (copied / "Testing" / LABELS[2]).iterdir():
        path.write_bytes(b"\x89PNG no more")
    found = certify(folder, copied).certificate
    assert found.verdict is Verdict.CANNOT_CERTIFY


def test_answers_of_another_baseline_are_refused(folder, data):
    bundle = open_bundle(folder)
    record = read_predictions(bundle)
    assert record is not None
    other = replace(record, baseline_sha256="ff" * 32).to_bytes()
    write_files(folder, bundle.manifest, {PREDICTIONS: other})
    with pytest.raises(ParityError, match="it is of another model"):
        certify(folder, data)


def test_a_keras_model_that_the_bundle_was_not_made_from_is_refused(folder, data, tmp_path):
    from neuroscan_edge.model.baseline import Baseline, write_card
    from neuroscan_edge.system.files import sha256_file

    bundle = open_bundle(folder)
    path = tmp_path / "other.keras"
    path.write_bytes(b"another network")
    write_card(
        Baseline(path, "other", sha256_file(path), LABELS, bundle.preprocessing, {}, {}, {}, {})
    )
    with pytest.raises(ParityError, match="the bundle was made from 5a5a"):
        certify(folder, data, baseline=path)


def test_images_the_baseline_was_never_asked_about_are_refused(folder, copied):
    pixels = np.random.default_rng(3).integers(0, 256, (40, 40), np.uint8)
    cv2.imwrite(str(copied / "Testing" / LABELS[0] / "new.png"), pixels)
    with pytest.raises(ParityError, match="240 of these 241 images; .*--baseline"):
        certify(folder, copied)


def test_a_bundle_without_answers_asks_for_the_baseline(folder, data):
    manifest = open_bundle(folder).manifest
    files = {key: value for key, value in manifest["files"].items() if key != PREDICTIONS}
    write_files(folder, {**manifest, "files": files}, {})
    with pytest.raises(ParityError, match="carries no answers"):
        certify(folder, data)


def test_images_of_the_calibration_sample_are_refused_unless_allowed(folder, data):
    bundle = open_bundle(folder)
    table = read_table(folder / CALIBRATION)
    tested = tuple((each, LABELS[0]) for each in list(read_predictions(bundle).answers)[:3])
    text = replace(table, images=tested).to_bytes()
    stated = {"calibration_sha256": hashlib.sha256(text).hexdigest()}
    write_files(folder, {**bundle.manifest, "quantization": stated}, {CALIBRATION: text})
    with pytest.raises(ParityError, match="3 of 240 images .* --allow-overlap"):
        certify(folder, data)
    found = certify(folder, data, allow_overlap=True).certificate
    assert found.verdict is Verdict.PASSED
    assert found.document["data"]["calibration_overlap"] == 3
    assert "3 images are of the calibration sample" in found.document["notes"][0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: np.where(rows == rows.max(), np.nan, rows), "not finite numbers"),
        (lambda rows: rows * np.float32(1.008), "not normalised"),
        (lambda rows: rows[:, :3], "outputs, not"),
    ],
    ids=["NaN", "sums of 1.008", "a class too few"],
)
def test_an_engine_that_gives_no_probabilities_fails(folder, data, monkeypatch, change, says):
    answering(monkeypatch, change)
    found = certify(folder, data).certificate
    assert found.verdict is Verdict.FAILED
    assert found.document["first_failing_stage"] == "engine"
    assert says in found.document["reasons"][0]
    json.loads(found.to_bytes()), "NaN is no JSON"


@pytest.mark.parametrize("row", [[float("nan"), 0.5, 0.3, 0.2], [0.5, 0.5, 0.5, 0.5], [1.0]])
def test_answers_that_are_no_probabilities_are_refused(sound, row):
    record = json.loads(open_bundle(sound).read(PREDICTIONS))
    key = next(iter(record["answers"]))
    record["answers"][key][1:] = row
    with pytest.raises(ParityError, match="malformed"):
        BaselinePredictions.from_bytes(json.dumps(record).encode())


def test_what_probabilities_are():
    assert faults_of_probabilities(np.array([[0.25, 0.75], [1, 0]])) == []
    assert "1 of 2" in faults_of_probabilities(np.array([[0.25, 0.75], [np.inf, 0]]))[0]
    assert "1 of 1" in faults_of_probabilities(np.array([[1.5, -0.5]]))[0]


def test_a_folder_of_class_folders_will_do(folder, data):
    assert certify(folder, data / "Testing").certificate.verdict is Verdict.PASSED


def test_the_leak_free_part_leaves_out_near_duplicates(folder, copied):
    for index in range(15):
        source = copied / "Testing" / LABELS[3] / f"{index:03}.png"
        shutil.copy(source, copied / "Training" / LABELS[3] / f"leaked{index}.png")
    found = certify(folder, copied, Precision.FP16, part="leak-free").certificate
    data = found.document["data"]
    assert data["left_out_as_leaked"] >= 15
    assert data["images"] + data["left_out_as_leaked"] == 240
    assert data["counts"][LABELS[3]] <= 45
    assert found.verdict is Verdict.CANNOT_CERTIFY


def test_a_run_repeats_to_the_last_digit(sound, data):
    first, second = (certify(sound, data, bootstrap=FEW).certificate for _ in range(2))
    for key in ("comparison", "engine", "baseline", "criteria", "changed"):
        assert first.document[key] == second.document[key]
