"""Real engines, built where there is no GPU: TensorRT for RTX and the CPU runtimes."""

import _thread
import json
import sys
import threading
import time
from dataclasses import replace

import onnx
import pytest

from neuroscan_edge.errors import (
    BuildError,
    LayerPrecisionError,
    MissingDependencyError,
    PrecisionNotAvailableError,
    SpecError,
    UsageError,
)
from neuroscan_edge.model.bundle import GRAPHS, find_bundle, open_bundle, without_file, write_files
from neuroscan_edge.model.engine import open_engine
from neuroscan_edge.model.engine.manifest import BatchProfile
from neuroscan_edge.model.engine.runtime_graph import graph_for
from neuroscan_edge.model.graph.layer_plan import layer_plan
from neuroscan_edge.model.graph.quantize import QuantizationPlan
from neuroscan_edge.runtimes.build import BuildOptions, build_engine, preferred_runtime
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.gpu_probe import Gpu, GpuProbe
from neuroscan_edge.system.machine import Machine, this_machine
from support.engine_cases import MACHINE
from support.tiny_models import calibrated_bundle, tiny_bundle

RTX = RuntimeName.TENSORRT_RTX
TARGETS = ("8.6", "8.9")


def with_gpu(compute_capability: str) -> Machine:
    return replace(MACHINE, gpu=GpuProbe((Gpu("a GPU", compute_capability, 1 << 30),)))


def quiet(fraction: float, phase: str) -> None:
    """Nobody watches."""


def rtx(precision: Precision, **options: object) -> BuildOptions:
    return BuildOptions(runtime=RTX, precision=precision, targets=TARGETS, **options)


@pytest.fixture
def calibrated(tmp_path):
    return calibrated_bundle(tmp_path / "tiny")


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_every_precision_becomes_an_rtx_engine(calibrated, precision):
    engine = build_engine(calibrated, rtx(precision, batch=BatchProfile(1, 4, 16)), quiet)
    assert engine.folder == calibrated.folder / "engines" / f"tensorrt-rtx-{precision}-sm_86-sm_89"
    manifest = engine.manifest
    assert manifest.compute_capabilities == TARGETS
    assert manifest.batch == BatchProfile(1, 4, 16)
    assert manifest.labels == calibrated.labels
    assert manifest.graph["source_sha256"] == calibrated.files[GRAPHS[precision]].sha256
    assert manifest.cuda_major == 13
    files = engine.read()
    assert list(files) == ["engine.plan"]
    assert len(files["engine.plan"]) > 1000
    found = manifest.layers["found"]
    if precision is Precision.INT8:
        assert found["int8_found"] == found["int8_planned"] == 4
        assert manifest.calibration is not None
        assert manifest.calibration["method"] == "minmax"
    else:
        assert "int8" not in found["computing_layers"]
        assert manifest.calibration is None


def test_fp16_and_fp32_engines_compute_in_what_they_say(calibrated):
    for precision in (Precision.FP16, Precision.FP32):
        manifest = build_engine(calibrated, rtx(precision), quiet).manifest
        counts = manifest.layers["found"]["computing_layers"]
        assert counts.get(str(precision), 0) >= 4
        assert precision is not Precision.FP32 or "fp16" not in counts


def test_a_plan_without_depthwise_reaches_the_engine(tmp_path):
    bundle = calibrated_bundle(tmp_path / "tiny", QuantizationPlan(depthwise=False))
    layers = build_engine(bundle, rtx(Precision.INT8), quiet).manifest.layers
    assert layers["found"]["int8_found"] == 3
    assert layers["planned"]["float_convolutions"] == ["depthwise"]


def test_the_default_bundle_gives_fp16_and_int8_engines_as_tracked(tmp_path):
    bundle = open_bundle(find_bundle())
    for precision in (Precision.FP16, Precision.INT8):
        engine = build_engine(bundle, rtx(precision, output=tmp_path / str(precision)), quiet)
        found = engine.manifest.layers["found"]
        assert found["int8_found"] == found["int8_planned"]
        assert (found["int8_planned"] > 0) == (precision is Precision.INT8)


def test_an_int8_engine_that_is_not_int8_is_refused_and_leaves_nothing(calibrated, monkeypatch):
    """The graph compiled has fewer pairs than the plan it is held to."""
    source = calibrated.graph(Precision.INT8)
    model = onnx.load_from_string(source.data)
    plan = layer_plan(model)
    float_graph = calibrated.graph(Precision.FP16)
    monkeypatch.setattr(
        "neuroscan_edge.runtimes.build.graph_for",
        lambda *_, **__: (float_graph.data, plan),
    )
    with pytest.raises(LayerPrecisionError, match="0 of 4 planned .*stem, depthwise, pointwise"):
        build_engine(calibrated, rtx(Precision.INT8), quiet)
    assert not (calibrated.folder / "engines").exists()


@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO], ids=str)
def test_cpu_runtimes_get_their_optimised_graph(calibrated, runtime):
    if runtime is RuntimeName.OPENVINO and not this_machine().exact_int8:
        pytest.skip("this processor has no VNNI, and OpenVINO no INT8 engine for it")
    engine = build_engine(calibrated, BuildOptions(runtime=runtime), quiet)
    assert engine.manifest.precision is Precision.INT8
    assert engine.manifest.platform == this_machine().platform_for(runtime, Precision.INT8)
    assert engine.manifest.compute_capabilities == ()
    assert engine.folder.name == f"{runtime}-int8-cpu"
    found = engine.manifest.layers["found"]
    assert 0 < found["int8_found"] <= found["int8_planned"]
    assert len(found["int8_missing"]) == found["int8_planned"] - found["int8_found"]
    if runtime is RuntimeName.ONNXRUNTIME:
        graph = onnx.load_from_string(engine.read()["model.onnx"]).graph
        assert "QLinearConv" in {node.op_type for node in graph.node}


def test_openvino_builds_no_int8_engine_where_its_sums_saturate(calibrated, monkeypatch):
    older = replace(this_machine(), exact_int8=False)
    monkeypatch.setattr("neuroscan_edge.runtimes.build.this_machine", lambda: older)
    with pytest.raises(BuildError, match="no VNNI.*--runtime onnxruntime"):
        build_engine(calibrated, BuildOptions(runtime=RuntimeName.OPENVINO), quiet)


def test_the_compiled_form_is_the_same_twice(calibrated):
    source = calibrated.graph(Precision.INT8)
    for runtime in RuntimeName:
        for exact in (True, False):
            one, other = (graph_for(source, runtime, exact_int8=exact)[0] for _ in range(2))
            assert one == other


def test_progress_only_grows_and_ends_at_one(calibrated):
    seen: list[float] = []
    build_engine(calibrated, rtx(Precision.INT8), lambda fraction, phase: seen.append(fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(set(seen)) > 20


def test_an_interrupt_cancels_the_build_and_leaves_nothing(tmp_path):
    bundle = open_bundle(find_bundle())
    steps = []

    def interrupt(fraction: float, phase: str) -> None:
        steps.append(phase)
        if len(steps) == 50:
            _thread.interrupt_main()
            # Give the main thread time to cancel while the builder is inside a step.
            time.sleep(0.5)

    with pytest.raises(KeyboardInterrupt):
        build_engine(bundle, rtx(Precision.FP16, output=tmp_path / "engine"), interrupt)
    assert len(steps) < 60, "the build went on after the interrupt"
    assert not (tmp_path / "engine").exists()
    assert "build" not in {thread.name for thread in threading.enumerate()}


def test_a_logged_error_is_raised_in_the_builders_words(tmp_path):
    bundle = open_bundle(find_bundle())
    options = rtx(Precision.FP16, workspace_mib=1, output=tmp_path / "engine")
    with pytest.raises(BuildError, match="the builder failed to build: .*OutOfMemory"):
        build_engine(bundle, options, quiet)
    assert not (tmp_path / "engine").exists()


def test_a_graph_that_does_not_parse_is_refused(calibrated):
    files = {GRAPHS[Precision.FP16]: b"\x08\x08"}
    broken = write_files(calibrated.folder, calibrated.manifest, files)
    with pytest.raises(BuildError):
        build_engine(broken, rtx(Precision.FP16), quiet)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (BuildOptions(runtime=RTX, targets=("9.0",)), "cannot build for compute capability 9.0"),
        (BuildOptions(runtime=RuntimeName.ONNXRUNTIME, targets=("8.6",)), "are for a GPU"),
    ],
    ids=["unknown target", "target on a cpu"],
)
def test_a_target_that_cannot_be_is_refused(calibrated, options, message):
    with pytest.raises((BuildError, UsageError), match=message):
        build_engine(calibrated, options, quiet)


def test_rtx_has_no_timing_cache(calibrated, tmp_path):
    with pytest.raises(UsageError, match="keeps no timing cache"):
        build_engine(calibrated, rtx(Precision.FP16, timing_cache=tmp_path / "cache"), quiet)


def test_without_gpu_and_target_rtx_builds_for_all_it_can(calibrated):
    engine = build_engine(calibrated, BuildOptions(runtime=RTX, precision=Precision.FP16), quiet)
    assert {"8.0", "8.6", "8.9", "12.0"} <= set(engine.manifest.compute_capabilities)


def test_an_int8_graph_without_its_table_is_refused(tmp_path):
    with pytest.raises(BuildError, match="nothing tells where its scales come from"):
        build_engine(tiny_bundle(tmp_path / "tiny"), rtx(Precision.INT8), quiet)


def test_a_table_that_the_int8_graph_was_not_made_from_is_refused(calibrated):
    table = json.loads(calibrated.read("calibration.json"))
    table["percentile"] = 12
    files = {"calibration.json": json.dumps(table).encode()}
    other = write_files(calibrated.folder, calibrated.manifest, files)
    with pytest.raises(BuildError, match="was made from calibration table"):
        build_engine(other, rtx(Precision.INT8), quiet)


def test_a_precision_that_the_bundle_lacks_is_named(calibrated):
    smaller = without_file(calibrated.folder, GRAPHS[Precision.FP32])
    with pytest.raises(PrecisionNotAvailableError, match="fp16, int8"):
        build_engine(smaller, rtx(Precision.FP32), quiet)


def test_a_runtime_that_is_not_installed_names_its_extra(calibrated, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingDependencyError, match=r"neuroscan-edge\[tensorrt\]"):
        build_engine(calibrated, BuildOptions(runtime=RuntimeName.TENSORRT), quiet)


@pytest.mark.parametrize(
    "options",
    [
        {"batch": BatchProfile(4, 2, 8)},
        {"batch": BatchProfile(0, 1, 8)},
        {"batch": BatchProfile(1, 1, 4096)},
        {"optimization_level": 6},
        {"workspace_mib": 0},
        {"targets": ("sm_86",)},
    ],
    ids=str,
)
def test_options_outside_their_domain_are_refused(options):
    with pytest.raises(SpecError):
        BuildOptions(**options)


@pytest.mark.parametrize(
    ("machine", "runtime"),
    [
        (MACHINE, RTX),
        (with_gpu("9.0"), RuntimeName.ONNXRUNTIME),
        (replace(MACHINE, gpu=GpuProbe()), RuntimeName.ONNXRUNTIME),
        (replace(MACHINE, gpu=GpuProbe(), exact_int8=False), RuntimeName.ONNXRUNTIME),
    ],
    ids=["a workstation card", "a GPU that RTX does not know", "no GPU", "nor VNNI"],
)
def test_the_runtime_is_chosen_by_what_the_machine_has(machine, runtime, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert preferred_runtime(machine) is runtime


def test_an_older_engine_gives_way_to_the_new_one(calibrated):
    options = rtx(Precision.FP16)
    first = build_engine(calibrated, options, quiet)
    second = build_engine(calibrated, rtx(Precision.FP16, batch=BatchProfile(1, 2, 2)), quiet)
    assert first.folder == second.folder
    assert open_engine(first.folder).manifest.batch.max == 2
    assert not list(first.folder.glob("*.partial"))
