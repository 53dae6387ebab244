"""OpenVINO on the CPU."""

from functools import partial
from types import TracebackType
from typing import Any

import numpy as np

from neuroscan_edge.errors import RuntimeNotAvailableError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.runtimes.contract import Tensor, output_names
from neuroscan_edge.runtimes.parallelism import Parallelism
from neuroscan_edge.runtimes.protocol import (
    LayerTime,
    Outputs,
    Pending,
    Probabilities,
    RuntimeInfo,
    UInt8Batch,
)
from neuroscan_edge.runtimes.streams import Streams
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import usable_cores
from neuroscan_edge.system.optional import require

openvino = require("openvino", extra="openvino", why="to run a bundle with OpenVINO")

DEFAULT = Parallelism()


class OpenVinoRuntime:
    """A graph in OpenVINO's CPU plugin.

    Parameters
    ----------
    bundle : Bundle
        The contract that the graph must keep: names, shapes, number of classes.
    model : bytes
        Verified: ONNX, or the .xml of an engine.
    weights : bytes or None
        The .bin of an engine.
    precision : Precision
        Of the graph.
    sha256 : str
        Of `model`.
    parallelism : Parallelism
        Threads within an operator of each stream, 0 shares out every core; streams share out a
        batch, and are a compiled model each, in time to open and in memory.
    timed_layers : bool
        Whether to keep the time of each layer, for `layer_times`.

    Raises
    ------
    RuntimeNotAvailableError
        If OpenVINO cannot load the graph.
    BundleError
        If the graph does not keep the bundle's contract.
    """

    def __init__(
        self,
        bundle: Bundle,
        model: bytes,
        precision: Precision,
        sha256: str,
        *,
        weights: bytes | None = None,
        parallelism: Parallelism = DEFAULT,
        timed_layers: bool = False,
    ) -> None:
        # Left alone, it computes in bfloat16 where the processor can: another result.
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        streams = parallelism.streams
        threads = parallelism.threads
        if streams > 1:
            threads = threads or max(1, usable_cores() // streams)
            # Each would take the same cores.
            options["ENABLE_CPU_PINNING"] = False
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        if timed_layers:
            options["PERF_COUNT"] = True
        version = openvino.__version__.split("-")[0]
        core = openvino.Core()
        try:
            if weights is None:
                read = core.read_model(_cpu_form(model, precision))
            else:
                read = core.read_model(model, weights)
            # Not streams of one model: most of them compute INT8 wrongly (docs/engines.md).
            models = [core.compile_model(read, "CPU", options) for _ in range(streams)]
        except RuntimeError as error:
            raise RuntimeNotAvailableError(
                f"OpenVINO {version} cannot load the {precision} graph: {error}"
            ) from error
        self._names = output_names(bundle, _tensors(models[0].inputs), _tensors(models[0].outputs))
        self._requests = [model.create_infer_request() for model in models]
        self._timed = timed_layers
        # Inferences of each, which no two threads run at once.
        self._done = [0] * streams
        self._streams = Streams([partial(self._counted, index) for index in range(streams)])
        self._info = RuntimeInfo(str(RuntimeName.OPENVINO), version, "cpu", precision, sha256)

    @property
    def info(self) -> RuntimeInfo:
        """What is running."""
        return self._info

    def __enter__(self) -> "OpenVinoRuntime":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._streams.close()
        del self._streams, self._requests

    def __call__(self, batch: UInt8Batch) -> Probabilities:
        """Classify a batch: (N, H, W, 1) uint8 to (N, classes) float32."""
        return self.outputs(batch).probabilities

    def outputs(self, batch: UInt8Batch) -> Outputs:
        """Classify a batch, (N, H, W, 1) uint8, and give all of the graph's outputs."""
        return self._streams(batch)

    @property
    def overlaps(self) -> bool:
        """Whether there are several streams."""
        return self._streams.several

    def start(self, batch: UInt8Batch) -> Pending:
        """Start on a batch, (N, H, W, 1) uint8, which is to stay as it is until it is done."""
        return self._streams.start(batch)

    def layer_times(self, batch: UInt8Batch, runs: int) -> list[LayerTime]:
        """Run a batch `runs` times on one stream; return its layers' means, in one figure each.

        None if not opened for it.
        """
        if not self._timed:
            return []
        request = self._requests[0]
        # The first of its size also prepares for it.
        _run(request, self._names, batch)
        before, before_ms = self._done[0] + 1, _average_ms(request)
        for _ in range(runs):
            _run(request, self._names, batch)
        self._done[0] += 1 + runs
        # Averages of all that was ever run, of batches of other sizes too.
        return [
            LayerTime(
                name,
                f"{kind} ({kernel})",
                kernel.lower().endswith("_i8"),
                (max(0.0, ms + (ms - before_ms.get((name, kind, kernel), 0.0)) * before / runs),),
            )
            for (name, kind, kernel), ms in _average_ms(request).items()
        ]

    def _counted(self, index: int, batch: UInt8Batch) -> Outputs:
        self._done[index] += 1
        return _run(self._requests[index], self._names, batch)


def _average_ms(request: Any) -> dict[tuple[str, str, str], float]:
    """Return the average of each layer over all that its model ran, in whole microseconds."""
    return {
        (each.node_name, each.node_type, each.exec_type): each.real_time.total_seconds() * 1000
        for each in request.profiling_info
        if each.status == openvino.ProfilingInfo.Status.EXECUTED
    }


def _run(request: Any, names: list[str], batch: UInt8Batch) -> Outputs:
    # The request reads the memory itself.
    results = request.infer([np.ascontiguousarray(batch)], share_inputs=True)
    # Copies: the request's own outputs are overwritten by the next call.
    return Outputs.named(names, [np.array(results[name], np.float32, copy=True) for name in names])


def _cpu_form(model: bytes, precision: Precision) -> bytes:
    if precision is not Precision.INT8:
        return model
    from neuroscan_edge.model.graph.cpu_form import load_cpu_int8

    return load_cpu_int8(model, RuntimeName.OPENVINO)


def _tensors(ports: Any) -> list[Tensor]:
    dtypes = {"u8": "uint8", "f32": "float32"}
    tensors: list[Tensor] = []
    for port in ports:
        dtype = port.element_type.to_string()
        # All but the batch dimension, which is open.
        shape = [int(str(each)) for each in list(port.get_partial_shape())[1:]]
        tensors.append((port.any_name, dtypes.get(dtype, dtype), shape))
    return tensors
