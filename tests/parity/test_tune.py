"""Finding what is fastest and passes: what is given back, and what is preferred."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.errors import PrecisionNotAvailableError, SpecError
from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, open_bundle
from neuroscan_edge.model.calibration import quantize_bundle, read_table
from neuroscan_edge.model.graph.quantize import QuantizationPlan
from neuroscan_edge.parity import Verdict, candidates, standing
from neuroscan_edge.parity.auto_engine import build_fastest
from neuroscan_edge.parity.outputs import Outputs, write_outputs
from neuroscan_edge.parity.report_page import report_page
from neuroscan_edge.parity.run import ParityRequest
from neuroscan_edge.parity.sensitivity import measure_sensitivities, units_of
from neuroscan_edge.parity.throughput import images_per_second
from neuroscan_edge.parity.tune import TuneOptions, tune
from neuroscan_edge.runtimes import RuntimeOptions, choose_runtime
from neuroscan_edge.runtimes.build import BuildOptions
from neuroscan_edge.spec import Precision, RuntimeName
from support.labelled import FEW, neuroscan_edge
from support.tiny_models import tiny_images

# Read by one convolution alone.
PLANTED, GUILTY = "c", "pointwise"


@pytest.fixture
def failing(folder: Path) -> Path:
    """A bundle whose INT8 fails: one range is a thirtieth of what it should be."""
    plant(folder, PLANTED)
    return folder


def plant(folder: Path, *names: str) -> None:
    table = read_table(folder / CALIBRATION)
    short = {name: tuple(bound / 30 for bound in table.ranges[name]) for name in names}
    quantize_bundle(open_bundle(folder), replace(table, ranges={**table.ranges, **short}))


def request(folder: Path, data: Path) -> ParityRequest:
    runtime = RuntimeOptions(threads=1, runtime=RuntimeName.ONNXRUNTIME)
    return ParityRequest(folder, data, runtime, bootstrap=FEW)


def speeds(monkeypatch, fp16: float, int8: float) -> None:
    """Fix what is measured: small models differ by less than the noise."""
    monkeypatch.setattr(
        candidates,
        "images_per_second",
        lambda runtimes, inputs: {
            name: fp16 if name == "fp16" else int8 - name.count(",") for name in runtimes
        },
    )


def test_int8_that_fails_is_mended_by_giving_its_worst_layers_back(failing, data, monkeypatch):
    speeds(monkeypatch, fp16=50, int8=90)
    before = open_bundle(failing).files
    found = tune(request(failing, data), TuneOptions(images=24))
    assert found.precision is Precision.INT8
    trail = found.parity.certificate.document["trail"]
    tried = trail["tried"]
    assert [each["name"] for each in tried[:2]] == ["fp16", "int8"]
    assert not tried[1]["passed"], "the gate before"
    assert trail["chosen"]["given_back_to_float"] == [GUILTY]
    assert found.parity.certificate.verdict is Verdict.PASSED, "and after"
    assert trail["sensitivities"][0]["unit"] == GUILTY
    assert "24 training images, not calibrated on" in trail["sensitivity_images"]
    bundle = open_bundle(failing)
    assert GUILTY in bundle.manifest["quantization"]["plan"]["keep_float"]
    assert found.parity.certificate.subject.graph_sha256 == bundle.files["model.int8.onnx"].sha256
    for precision in (Precision.FP32, Precision.FP16):
        assert bundle.files[GRAPHS[precision]] == before[GRAPHS[precision]]


def test_what_was_given_back_in_vain_is_taken_back(folder, data, monkeypatch):
    plant(folder, PLANTED, "b")
    speeds(monkeypatch, fp16=50, int8=90)
    found = tune(request(folder, data), TuneOptions(images=24))
    trail = found.parity.certificate.document["trail"]
    assert found.parity.certificate.verdict is Verdict.PASSED
    passing = [each for each in trail["tried"][2:] if each["passed"]]
    fewest = min(len(each["given_back_to_float"]) for each in passing)
    assert len(trail["chosen"]["given_back_to_float"]) == fewest


def test_fp16_is_preferred_where_it_is_as_fast(sound, data, monkeypatch):
    speeds(monkeypatch, fp16=88, int8=90)
    found = tune(request(sound, data))
    assert found.precision is Precision.FP16
    assert "as fast as INT8 on this runtime: 88.0 and 90.0 images/s" in found.reason


def test_int8_that_passes_and_is_faster_is_left_as_it_is(sound, data, monkeypatch):
    speeds(monkeypatch, fp16=50, int8=90)
    found = tune(request(sound, data))
    assert found.precision is Precision.INT8
    assert "as it is passes" in found.reason
    assert len(found.trail["tried"]) == 2
    assert found.trail["sensitivities"] == []


def test_a_search_that_finds_nothing_falls_back_to_fp16(failing, data, monkeypatch):
    speeds(monkeypatch, fp16=50, int8=90)
    monkeypatch.setattr("neuroscan_edge.parity.candidates.Candidate.passed", property(_only_fp16))
    before = open_bundle(failing).files
    found = tune(request(failing, data), TuneOptions(images=8, max_plans=2))
    assert found.precision is Precision.FP16
    assert "no INT8 plan of the 2 tried passes" in found.reason
    assert open_bundle(failing).files == before


def _only_fp16(candidate) -> bool:
    return candidate.precision is Precision.FP16


def test_speeds_are_measured_side_by_side(failing, data):
    found = tune(request(failing, data), TuneOptions(images=8))
    assert found.parity.certificate.verdict is Verdict.PASSED
    race = found.trail["images_per_s"][0]
    assert set(race) == {"fp16", "int8"} and min(race.values()) > 0


def test_data_without_a_training_split_is_said(failing, data, monkeypatch):
    speeds(monkeypatch, fp16=50, int8=90)
    found = tune(request(failing, data / "Testing"), TuneOptions(images=24))
    assert "the data has no training split" in found.trail["sensitivity_images"]


def test_tuning_needs_the_fp32_graph(folder, data):
    from neuroscan_edge.model.bundle import without_file

    without_file(folder, "model.onnx")
    with pytest.raises(PrecisionNotAvailableError, match="export"):
        tune(request(folder, data))
    with pytest.raises(SpecError, match="at least 1"):
        TuneOptions(images=0)


def test_many_layers_are_taken_by_block():
    class Node:
        def __init__(self, name: str) -> None:
            self.name = name

    names = [f"block{block}_sep{layer}/conv" for block in range(9) for layer in range(3)]
    import neuroscan_edge.parity.sensitivity as module

    kept = module.quantizable_nodes
    try:
        module.quantizable_nodes = lambda model, plan: [Node(name) for name in names]
        units = units_of(None, QuantizationPlan())
    finally:
        module.quantizable_nodes = kept
    assert list(units) == [f"block{block}" for block in range(9)]
    assert units["block3"] == ("block3_sep0/conv", "block3_sep1/conv", "block3_sep2/conv")


def test_a_unit_that_answers_no_numbers_is_the_worst():
    reference = np.full((4, 2), 0.5, np.float32)
    rows = {("a",): np.full((4, 2), np.nan), ("b",): np.array([[0.9, 0.1]] * 4)}
    found = measure_sensitivities(
        {"b": ("b",), "a": ("a",)},
        QuantizationPlan(),
        lambda plan: rows[("a",) if plan.keep_float == ("b",) else ("b",)].astype(np.float32),
        reference,
    )
    assert [each.unit for each in found] == ["a", "b"]
    assert found[0].to_json()["mean_kl_divergence"] is None


def test_throughput_is_the_median_of_rounds_in_turns():
    calls = []

    def runtime(name):
        return lambda batch: calls.append((name, len(batch)))

    found = images_per_second({"a": runtime("a"), "b": runtime("b")}, tiny_images(20), rounds=3)
    assert calls == [("a", 8), ("b", 8)] * 4
    assert min(found.values()) > 0


def test_the_engine_that_auto_builds_is_itself_certified(failing, data, monkeypatch, scans):
    speeds(monkeypatch, fp16=50, int8=90)
    found = build_fastest(request(failing, data), BuildOptions(), TuneOptions(images=24))
    assert found.engine.manifest.precision is Precision.INT8
    certificate = found.parity.certificate
    assert certificate.verdict is Verdict.PASSED
    assert certificate.subject.engine_sha256 == found.engine.manifest.engine_sha256
    assert certificate.document["trail"]["chosen"]["given_back_to_float"] == [GUILTY]
    assert "How this engine was found" in report_page(found.parity)
    write_outputs(found.parity, failing, Outputs())
    bundle = open_bundle(failing)
    assert "certificates/engine-onnxruntime-int8-cpu.json" in bundle.files
    choice = choose_runtime(bundle, RuntimeOptions(runtime=RuntimeName.ONNXRUNTIME))
    assert choice.engine is not None and standing(bundle, choice).certified


def test_the_commands_say_what_was_chosen(failing, data, monkeypatch):
    arguments = ("--data", data, "--runtime", "onnxruntime", "--images", 8, "--threads", 1)
    done = neuroscan_edge("tune", failing, *arguments)
    assert done.exit_code == 0, done.stderr
    assert "fp16: passes (1.0000)" in done.stderr and "int8: fails" in done.stderr
    assert "images/s" in done.stdout and "PASSED" in done.stdout
    monkeypatch.delenv("NEUROSCAN_DATA", raising=False)
    done = neuroscan_edge("build-engine", failing, "--precision", "auto")
    assert done.exit_code == 2
    assert "give --data" in done.stderr
