"""On a machine with a GPU: build here, load here, decide as ONNX Runtime on the CPU."""

import numpy as np
import pytest

from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime, cuda_provider_installed
from neuroscan_edge.spec import Precision, RuntimeName
from support.gpu_runtimes import GPUS, flavours
from support.tiny_models import calibrated_bundle, tiny_images

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not GPUS, reason="this machine has no NVIDIA GPU"),
]
PROBABILITY_ERROR = {Precision.FP32: 1e-3, Precision.FP16: 1e-2, Precision.INT8: 0.05}


def test_something_on_this_gpu_can_be_tested():
    assert flavours() or cuda_provider_installed(), (
        "there is a GPU and no runtime for it; install neuroscan-edge[tensorrt] or [gpu]"
    )


@pytest.mark.parametrize("precision", list(Precision), ids=str)
def test_engines_built_here_decide_as_the_cpu(tmp_path, precision):
    bundle = calibrated_bundle(tmp_path / "tiny")
    images = tiny_images(45)
    cpu = RuntimeOptions(precision, runtime=RuntimeName.ONNXRUNTIME)
    graph = bundle.graph(precision)
    expected = OnnxRuntime(bundle, graph)(images)
    for name in flavours():
        engine = build_engine(bundle, BuildOptions(name, precision), lambda *_: None)
        with open_runtime(bundle, RuntimeOptions(engine=engine.folder)) as run:
            for _ in range(3):
                found = run(images)
                assert np.abs(found - expected).max() < PROBABILITY_ERROR[precision]
    if cuda_provider_installed() and precision is not Precision.INT8:
        with open_runtime(bundle, cpu) as run:
            assert run.info.device == "cuda"
            assert np.abs(run(images) - expected).max() < PROBABILITY_ERROR[precision]
