"""Graphs state their labels; reading them neither loads the graph nor trusts its bytes."""

import random
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from neuroscan_edge.model.graph.metadata import (
    LABELS,
    PREPROCESSING,
    differing_statement,
    read_metadata,
    stamp,
)


def graph() -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    return helper.make_model(helper.make_graph([node], "g", [value], [output]))


@pytest.fixture
def stamped(tmp_path: Path) -> Path:
    model = graph()
    helper.set_model_props(model, {"author": "somebody", LABELS: "[]"})
    stamp(model, ["glioma", "kein Befund ä"], "abc")
    path = tmp_path / "g.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_statements_are_read_back_beside_foreign_ones(stamped: Path) -> None:
    found = read_metadata(stamped)
    assert found == {
        "author": "somebody",
        LABELS: '["glioma", "kein Befund ä"]',
        PREPROCESSING: "abc",
    }
    onnx.checker.check_model(onnx.load(stamped))


def test_graph_without_statements_contradicts_nothing(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(graph().SerializeToString())
    assert read_metadata(path) == {}
    assert differing_statement({}, ["a", "b"], "x") is None


def test_permuted_labels_and_other_preprocessing_are_found(stamped: Path) -> None:
    found = read_metadata(stamped)
    labels = ["glioma", "kein Befund ä"]
    assert differing_statement(found, labels, "abc") is None
    assert "labels" in str(differing_statement(found, labels[::-1], "abc"))
    assert "preprocessing" in str(differing_statement(found, labels, "def"))
    assert differing_statement({LABELS: "not JSON"}, labels, "abc") == "labels not JSON"


def test_damaged_files_are_refused_or_read_and_never_crash(stamped: Path) -> None:
    data = stamped.read_bytes()
    rng = random.Random(0)
    refused = 0
    for _ in range(500):
        changed = bytearray(data)
        for _ in range(3):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        stamped.write_bytes(bytes(changed[: rng.randrange(1, len(changed) + 1)]))
        try:
            read_metadata(stamped)
        except ValueError:
            refused += 1
    assert refused > 100
