"""``export``, ``calibrate`` and ``precision`` from the command line, without TensorFlow."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from neuroscan_edge.model.bundle import open_bundle
from support.command_line import neuroscan_edge
from support.tiny_models import LABELS, tiny_images


@pytest.fixture
def labelled(tmp_path) -> Path:
    """A training split of 10, 6, 4 and 3 images."""
    images = iter(tiny_images(23, seed=9))
    for label, count in zip(LABELS, (10, 6, 4, 3), strict=True):
        folder = tmp_path / "data" / "Training" / label
        folder.mkdir(parents=True)
        for index in range(count):
            cv2.imwrite(str(folder / f"{index}.png"), np.squeeze(next(images)))
    return tmp_path / "data"


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
def test_calibrate_writes_table_and_graph(bundle, labelled, method):
    arguments = ("--data", labelled, "--images", 11, "--method", method)
    done = neuroscan_edge("calibrate", bundle.folder, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "the collectors' chatter is not ours"
    table = json.loads((bundle.folder / "calibration.json").read_text())
    labels = [image["label"] for image in table["images"]]
    assert [labels.count(label) for label in LABELS] == [5, 3, 2, 1]
    calibrated = open_bundle(bundle.folder)
    assert calibrated.manifest["quantization"]["plan"]["depthwise"] is True


def test_precision_makes_int8_again_from_the_table(bundle, labelled):
    assert neuroscan_edge("calibrate", bundle.folder, "--data", labelled).returncode == 0
    first = open_bundle(bundle.folder).files["model.int8.onnx"]
    done = neuroscan_edge("precision", bundle.folder, "--no-depthwise", "--keep-float", "stem")
    assert done.returncode == 0, done.stderr
    second = open_bundle(bundle.folder)
    assert second.files["model.int8.onnx"] != first
    assert second.manifest["quantization"]["plan"]["keep_float"] == ["stem"]
    assert neuroscan_edge("precision", bundle.folder).returncode == 0
    assert open_bundle(bundle.folder).files["model.int8.onnx"] == first


def test_a_table_of_another_graph_is_refused(bundle, labelled):
    assert neuroscan_edge("calibrate", bundle.folder, "--data", labelled).returncode == 0
    path = bundle.folder / "calibration.json"
    table = bundle.folder.parent / "other.json"
    table.write_text(json.dumps({**json.loads(path.read_text()), "graph_sha256": "0" * 64}))
    done = neuroscan_edge("precision", bundle.folder, "--table", table)
    assert done.returncode == 1
    assert "made for graph 000" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("calibrate", "BUNDLE", "--data", "nowhere"), 2, "not a folder"),
        (("calibrate", "nowhere", "--data", "DATA"), 2, "give the folder of a bundle"),
        (("calibrate", "BUNDLE", "--data", "DATA", "--images", "0"), 1, "at least 1"),
        (("calibrate", "BUNDLE", "--data", "DATA", "--method", "mode"), 2, "mode"),
        (("precision", "BUNDLE", "--table", "nowhere.json"), 1, "cannot be read"),
        (("export", "nowhere.keras", "--output", "x"), 1, "does not exist"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else None,
)
def test_bad_usage_is_a_clear_error(bundle, labelled, arguments, code, reason):
    places = {"BUNDLE": bundle.folder, "DATA": labelled}
    done = neuroscan_edge(*(places.get(argument, argument) for argument in arguments))
    assert done.returncode == code
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_an_unreadable_calibration_image_is_named(bundle, labelled):
    bad = labelled / "Training" / LABELS[3] / "0.png"
    for path in bad.parent.iterdir():
        path.write_bytes(b"\x89PNG\r\n\x1a\n cut")
    done = neuroscan_edge("calibrate", bundle.folder, "--data", labelled)
    assert done.returncode == 1
    assert str(bad.parent) in done.stderr and "mend or remove" in done.stderr
