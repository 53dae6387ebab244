"""The one builder over TensorRT's surfaces of 10.3 and 11, whose wheels need their GPU."""

import json
from dataclasses import replace

import pytest

from neuroscan_edge.errors import BuildError
from neuroscan_edge.model.engine.manifest import BatchProfile
from neuroscan_edge.runtimes.build_progress import PhaseTree
from neuroscan_edge.runtimes.trt.builder import TensorRTOptions, build_plan, supported_targets
from support.fakes.fake_builder import PLAN, FakeBuilderModule

OPTIONS = TensorRTOptions("image", (32, 32, 1), BatchProfile(1, 4, 8))
LAYERS = json.dumps(
    {
        "Layers": [
            {
                "Name": "stem + relu",
                "LayerType": "CaskConvolution",
                "Inputs": [{"Format/Datatype": "Thirty-two wide channel vectorized Int8 format"}],
            }
        ]
    }
)


def build(module: FakeBuilderModule, options: TensorRTOptions = OPTIONS):
    return build_plan(module, b"graph", options, lambda *_: None)


@pytest.mark.parametrize(("flag", "flags"), [(True, 1 << 1), (False, 0)], ids=["10", "11"])
def test_the_network_is_strongly_typed_in_either_way(flag, flags):
    module = FakeBuilderModule(strongly_typed_flag=flag)
    assert build(module).plan == PLAN
    assert module.asked["flags"] == flags


def test_options_reach_the_builder():
    module = FakeBuilderModule()
    build(module, replace(OPTIONS, optimization_level=5, workspace_bytes=64 << 20))
    assert module.asked["profile"] == ("image", (1, 32, 32, 1), (4, 32, 32, 1), (8, 32, 32, 1))
    assert module.asked["workspace"] == 64 << 20
    assert module.asked["config"].builder_optimization_level == 5
    assert module.asked["config"].profiling_verbosity == module.ProfilingVerbosity.DETAILED


def test_options_not_given_are_left_to_the_builder():
    module = FakeBuilderModule()
    build(module)
    assert "workspace" not in module.asked
    assert module.asked["config"].builder_optimization_level == 3


def test_layers_come_from_the_inspector_where_the_log_lists_none():
    (layer,) = build(FakeBuilderModule(layers=LAYERS)).layers
    assert layer.names == ("stem", "relu")
    assert layer.precision == "int8"


def test_the_timing_cache_grows():
    built = build(FakeBuilderModule(), replace(OPTIONS, timing_cache=b"earlier"))
    assert built.timing_cache == b"earlier+timings"
    assert build(FakeBuilderModule()).timing_cache is None


def test_a_timing_cache_of_another_gpu_is_refused():
    with pytest.raises(BuildError, match="timing cache is of another GPU"):
        build(FakeBuilderModule(accepts_cache=False), replace(OPTIONS, timing_cache=b"other"))


@pytest.mark.parametrize("severity", ["ERROR", "INTERNAL_ERROR"])
def test_an_engine_with_a_logged_error_is_no_engine(severity):
    module = FakeBuilderModule(logs=((severity, "Error Code 9: no implementation for stem"),))
    with pytest.raises(BuildError, match="no implementation for stem"):
        build(module)


def test_a_warning_is_no_error():
    assert build(FakeBuilderModule(logs=(("WARNING", "scales converted"),))).plan == PLAN


def test_no_engine_and_no_reason_is_an_error():
    with pytest.raises(BuildError, match="logged no reason"):
        build(FakeBuilderModule(returns=None))


def test_a_graph_of_another_input_is_refused():
    with pytest.raises(BuildError, match="export the bundle again"):
        build(FakeBuilderModule(), replace(OPTIONS, slice_shape=(64, 64, 1)))


def test_full_tensorrt_takes_no_targets():
    module = FakeBuilderModule()
    assert supported_targets(module) == ()
    with pytest.raises(BuildError, match="the GPU at hand only"):
        build(module, replace(OPTIONS, targets=("8.6",)))


def test_nested_phases_become_one_growing_fraction():
    seen: list[tuple[float, str]] = []
    tree = PhaseTree(lambda fraction, name: seen.append((fraction, name)))
    tree.start("build", None, 2)
    tree.start("import", "build", 4)
    for step in range(4):
        tree.step("import", step)
    tree.finish("import")
    tree.step("build", 0)
    tree.start("time", "build", 2)
    tree.step("time", 0)
    tree.finish("time")
    tree.step("build", 1)
    tree.finish("build")
    fractions = [fraction for fraction, _ in seen]
    assert fractions == [0, 0, 0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.75, 1.0, 1.0]
    assert seen[2] == (0.125, "import")


def test_a_step_of_an_unknown_phase_is_no_error():
    tree = PhaseTree(lambda *_: None)
    tree.step("nothing", 3)
