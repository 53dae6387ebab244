"""OpenVINO as a runtime: the contract of `Runtime`, and agreement with ONNX Runtime."""

import numpy as np
import pytest

from neuroscan_edge.errors import BundleError, RuntimeNotAvailableError
from neuroscan_edge.model.bundle import GRAPHS, find_bundle, open_bundle, write_files
from neuroscan_edge.runtimes import Parallelism, RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.ov import runner as openvino_
from neuroscan_edge.runtimes.parallelism import random_slices
from neuroscan_edge.runtimes.self_test import LARGEST_DIFFERENCE
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import this_machine, usable_cores
from support.tiny_models import calibrated_bundle, tiny_images

KERNEL_ROUNDING = {Precision.FP32: 1e-5, Precision.FP16: 5e-3, Precision.INT8: 0.03}


def options(precision: Precision, runtime: RuntimeName = RuntimeName.OPENVINO, **more: object):
    return RuntimeOptions(precision=precision, runtime=runtime, threads=1, **more)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    return calibrated_bundle(tmp_path_factory.mktemp("openvino") / "tiny")


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_openvino_decides_as_onnx_runtime(calibrated, precision):
    images = tiny_images(24, seed=5)
    with open_runtime(calibrated, options(precision)) as run:
        found = run(images)
        assert run.info.runtime == "openvino"
        assert run.info.precision is precision
        assert run.info.engine_sha256 == calibrated.files[GRAPHS[precision]].sha256
    with open_runtime(calibrated, options(precision, RuntimeName.ONNXRUNTIME)) as run:
        expected = run(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < KERNEL_ROUNDING[precision]
    assert np.abs(found.sum(axis=1) - 1).max() < 1e-5


def test_batches_of_any_size_do_not_share_a_result(calibrated):
    with open_runtime(calibrated, options(Precision.INT8)) as run:
        first = run(tiny_images(8, seed=1))
        kept = first.copy()
        second = run(tiny_images(8, seed=2))
        single = run(tiny_images(8, seed=1)[3:4])
    np.testing.assert_array_equal(first, kept)
    assert np.abs(second - first).max() > 0.01
    np.testing.assert_allclose(single[0], kept[3], atol=1e-6)


def test_streams_do_not_share_weights():
    """As streams of one model most computed something else, on processors with VNNI."""
    bundle = open_bundle(find_bundle())
    streams = RuntimeOptions(
        Precision.INT8, runtime=RuntimeName.OPENVINO, parallelism=Parallelism(1, 2)
    )
    slices = random_slices(bundle.preprocessing, 4)
    with open_runtime(bundle, options(Precision.INT8, RuntimeName.ONNXRUNTIME)) as run:
        expected = run(slices)
    for _ in range(4):
        with open_runtime(bundle, streams) as run:
            found = run(np.concatenate([slices, slices]))
        # Two parts of four: each stream has had all of them.
        np.testing.assert_array_equal(found[:4], found[4:])
        assert np.abs(found[:4] - expected).max() < LARGEST_DIFFERENCE


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=str)
def test_a_built_engine_is_used_and_says_the_same(calibrated, tmp_path, precision):
    if precision is Precision.INT8 and not this_machine().exact_int8:
        pytest.skip("this processor has no VNNI, and OpenVINO no INT8 engine for it")
    images = tiny_images(8)
    with open_runtime(calibrated, options(precision)) as run:
        from_graph = run(images)
    built = build_engine(
        calibrated,
        BuildOptions(RuntimeName.OPENVINO, precision, output=tmp_path / "engine"),
        lambda *_: None,
    )
    with open_runtime(calibrated, options(precision, engine=built.folder)) as run:
        np.testing.assert_allclose(run(images), from_graph, atol=1e-6)
        assert run.info.engine_sha256 == built.manifest.engine_sha256


def test_streams_share_out_the_cores_that_nobody_asked_for(calibrated, monkeypatch):
    real, threads = openvino_._run, []

    def watched(request, names, batch):
        threads.append(request.get_compiled_model().get_property("INFERENCE_NUM_THREADS"))
        return real(request, names, batch)

    monkeypatch.setattr(openvino_, "_run", watched)
    shared = RuntimeOptions(
        Precision.FP32, runtime=RuntimeName.OPENVINO, parallelism=Parallelism(0, 2)
    )
    with open_runtime(calibrated, shared) as run:
        threads.clear()
        run(tiny_images(2))
    assert threads == [max(1, usable_cores() // 2)] * 2


def test_a_graph_that_does_not_keep_the_contract_is_refused(calibrated, tmp_path):
    other = calibrated_bundle(tmp_path / "other")
    labels = [*other.labels, "another"]
    write_files(other.folder, {**other.manifest, "labels": labels}, {})
    with pytest.raises(BundleError, match="copy or export the bundle again"):
        open_runtime(open_bundle(other.folder), options(Precision.FP32))


def test_a_graph_that_openvino_cannot_read_is_refused(tmp_path):
    bundle = calibrated_bundle(tmp_path / "tiny")
    broken = write_files(bundle.folder, bundle.manifest, {GRAPHS[Precision.FP32]: b"no graph"})
    with pytest.raises(RuntimeNotAvailableError, match="cannot load the fp32 graph"):
        open_runtime(broken, options(Precision.FP32))
