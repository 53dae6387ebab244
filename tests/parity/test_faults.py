"""Planted faults: each must fail, and be found at the stage where it was planted."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, open_bundle, write_files
from neuroscan_edge.model.calibration import CalibrationTable, read_table
from neuroscan_edge.model.graph.quantize import QuantizationPlan, to_int8
from neuroscan_edge.parity import Verdict
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.spec import Precision, RuntimeName
from support.damaged_bundles import biases_dropped, edited, replace_graph
from support.labelled import certify, labelling_graph
from support.tiny_models import LABELS, observed_ranges, tiny_graph, tiny_images


def other_label_order(folder: Path) -> None:
    path = folder / "model.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "labels": [*LABELS[1:], LABELS[0]]}))


def table_of_another_model(folder: Path) -> None:
    """Quantise by the ranges of another network, and ship its table, consistently."""
    other = tiny_graph(seed=5)
    table = CalibrationTable(
        ranges=observed_ranges(other, tiny_images(32)),
        graph_sha256=hashlib.sha256(other.SerializeToString()).hexdigest(),
        preprocessing_sha256=open_bundle(folder).preprocessing.sha256,
        options={"method": "minmax", "seed": 0},
        images=(),
    )
    ship(folder, table)


def ranges_of_another_model(folder: Path) -> None:
    """The same, with a table that claims to be of this model: only the decisions can tell."""
    own = read_table(folder / CALIBRATION)
    ranges = {name: (low / 12, high / 12) for name, (low, high) in own.ranges.items()}
    table = CalibrationTable(
        ranges, own.graph_sha256, own.preprocessing_sha256, own.options, own.images
    )
    ship(folder, table)


def ship(folder: Path, table: CalibrationTable) -> None:
    bundle = open_bundle(folder)
    int8 = to_int8(labelling_graph(), table.ranges, QuantizationPlan())
    stated = {"calibration_sha256": hashlib.sha256(table.to_bytes()).hexdigest()}
    files = {CALIBRATION: table.to_bytes(), GRAPHS[Precision.INT8]: int8.SerializeToString()}
    write_files(folder, {**bundle.manifest, "quantization": stated}, files)


def softmax_quantised(folder: Path) -> None:
    model = onnx.load_from_string(open_bundle(folder).graph(Precision.INT8).data)
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    softmax.output[0] = "p"
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 127), "p/scale"))
    model.graph.node.extend(
        [
            helper.make_node("QuantizeLinear", ["p", "p/scale", "zero_point/int8"], ["pq"]),
            helper.make_node(
                "DequantizeLinear", ["pq", "p/scale", "zero_point/int8"], ["probabilities"]
            ),
        ]
    )
    replace_graph(folder, Precision.INT8, model)


@dataclass(frozen=True)
class Fault:
    """What is planted, the stage that must be named, and what must be said of it."""

    name: str
    plant: Callable[[Path], None]
    stage: str
    says: str = ""

    def __str__(self) -> str:
        return self.name


FAULTS = (
    Fault("labels in another order", other_label_order, "contract", "labels are meningioma"),
    Fault("biases dropped", biases_dropped, "int8", "agreement is"),
    Fault(
        "a layer's activation scale times 4",
        edited(f__scale=lambda scale: scale * np.float32(4)),
        "int8",
        "f is quantised in steps of",
    ),
    Fault(
        "a layer's weight scale times 4",
        edited(stem__w__scale=lambda scale: scale * np.float32(4)),
        "int8",
        "agreement is",
    ),
    Fault(
        "asymmetric zero point",
        edited(zero_point__int8=lambda zero: np.full_like(zero, 3)),
        "int8",
        "zero point [3] of int8",
    ),
    Fault(
        "a calibration table of another model",
        table_of_another_model,
        "int8",
        "a calibration table of another model",
    ),
    Fault("ranges of another model", ranges_of_another_model, "int8", "agreement is"),
    Fault("softmax quantised", softmax_quantised, "int8", "softmax softmax is quantised"),
    Fault(
        "inputs scaled twice in the export",
        edited(Precision.FP32, Precision.INT8, unit=lambda unit: unit * unit),
        "fp32",
        "agreement is",
    ),
    Fault(
        "inputs scaled twice in the INT8 graph",
        edited(unit=lambda unit: unit * unit),
        "int8",
        "agreement is",
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_planted_fault_fails_at_its_stage(fault, folder, data):
    fault.plant(folder)
    found = certify(folder, data).certificate
    assert found.verdict is Verdict.FAILED
    assert found.document["first_failing_stage"] == fault.stage
    assert fault.says in "\n".join(found.document["reasons"])


def test_the_images_that_a_stage_changes_are_named(folder, data):
    biases_dropped(folder)
    found = certify(folder, data)
    stages = {each["name"]: each for each in found.certificate.document["stages"]}
    assert stages["fp32"]["changes"] == []
    assert stages["int8"]["changes"]
    assert set(stages["int8"]["changes"]) <= set(found.slices.hashes)


def test_preprocessing_without_clahe_fails_there(folder, data, monkeypatch):
    monkeypatch.setattr(CpuPreprocessor, "equalise", lambda self, resized: resized)
    found = certify(folder, data).certificate
    assert found.verdict is Verdict.FAILED
    assert found.document["first_failing_stage"] == "preprocessing"
    stage = next(s for s in found.document["stages"] if s["name"] == "preprocessing")
    assert len(stage["changes"]) == 240


def test_another_specification_of_preprocessing_breaks_the_contract(folder, data):
    from neuroscan_edge.spec import Preprocessing
    from support.tiny_models import SPEC

    spec = Preprocessing(height=32, width=32, tile_grid=SPEC.tile_grid, clip_limit=9000.0)
    path = folder / "model.json"
    changed = {"preprocessing": spec.to_json(), "preprocessing_sha256": spec.sha256}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    found = certify(folder, data).certificate
    assert found.verdict is Verdict.FAILED
    assert found.document["first_failing_stage"] == "contract"


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_the_sound_bundle_passes_at_every_stage(sound, data, precision):
    found = certify(sound, data, precision, every_stage=True).certificate
    assert found.verdict is Verdict.PASSED
    assert {stage["status"] for stage in found.document["stages"]} == {"passed"}
    assert found.document["stages"][-1]["name"] == "engine"
    assert found.document["reasons"] == []


def test_stages_before_an_engine_that_passes_are_named_as_not_run(sound, data):
    stages = certify(sound, data).certificate.document["stages"]
    skipped = {each["name"]: each["not_run"] for each in stages if each["status"] == "not run"}
    assert set(skipped) == {"fp32", "int8"}
    assert all("--every-stage" in why for why in skipped.values())


def test_a_gpu_engine_is_held_to_its_own_form_of_the_graph(sound, data, monkeypatch):
    """No GPU is needed to see that float16 between the pairs decides alike."""
    from neuroscan_edge.model.engine import Installed
    from neuroscan_edge.parity import ladder, run

    here = choose_runtime(open_bundle(sound), RuntimeOptions(Precision.INT8))
    elsewhere = Choice(Installed(RuntimeName.TENSORRT_RTX, "1.7"), Precision.INT8, "asked for")
    monkeypatch.setattr(run, "choose_runtime", lambda *given: elsewhere)
    opened = ladder.open_choice
    monkeypatch.setattr(ladder, "open_choice", lambda bundle, _, o: opened(bundle, here, o))
    found = certify(sound, data, every_stage=True).certificate
    stages = {each["name"]: each for each in found.document["stages"]}
    assert list(stages)[-3:] == ["int8", "int8-gpu-form", "engine"]
    assert stages["int8-gpu-form"]["status"] == "passed"
    assert stages["int8-gpu-form"]["sha256"] != stages["int8"]["sha256"]
    assert found.subject.device == "gpu"


def test_without_a_record_the_reference_finds_a_missing_clahe(sound, data, monkeypatch):
    """A baseline that is asked now gets the same wrong bytes: only the reference knows."""
    from neuroscan_edge.parity.slices import REFERENCE_CHECKED, load_slices, preprocessing_differs

    bundle = open_bundle(sound)
    hashes = [""] * 240
    assert preprocessing_differs(load_slices(bundle, data), bundle, None, hashes) == []
    monkeypatch.setattr(CpuPreprocessor, "equalise", lambda self, resized: resized)
    wrong = load_slices(bundle, data)
    assert len(preprocessing_differs(wrong, bundle, None, hashes)) == REFERENCE_CHECKED
