"""ONNX Runtime, on the CPU or through its CUDA provider."""

import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from neuroscan_edge.errors import RuntimeNotAvailableError
from neuroscan_edge.model.bundle import Bundle, Graph
from neuroscan_edge.runtimes.contract import Tensor, output_names
from neuroscan_edge.runtimes.parallelism import Parallelism
from neuroscan_edge.runtimes.protocol import (
    Computed,
    LayerTime,
    Outputs,
    Pending,
    Probabilities,
    RuntimeInfo,
    UInt8Batch,
)
from neuroscan_edge.runtimes.streams import Streams
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.optional import require

ort = require("onnxruntime", extra="cpu", why="to run a bundle on this machine's CPU")

_ONLY_ERRORS = 3
DEFAULT = Parallelism()
_CUDA_PROVIDER = "CUDAExecutionProvider"
# By default every algorithm of every convolution is timed again for each new size of a batch,
# which stops the run for seconds at the last, smaller one.
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC"}
_CUDA_BATCH = 32
_KERNEL_TIME = "_kernel_time"
_INTEGER_KERNEL = re.compile("QLinear|QGemm|Integer")


def cuda_provider_installed() -> bool:
    """Whether the installed ONNX Runtime was built with its CUDA provider."""
    return _CUDA_PROVIDER in ort.get_available_providers()


class OnnxRuntime:
    """A graph in ONNX Runtime.

    On the CPU an INT8 graph is rewritten on loading into the uint8 form its kernels are fast on,
    and exact on this processor.

    Parameters
    ----------
    bundle : Bundle
        The contract that the graph must keep: names, shapes, number of classes.
    graph : Graph
        Verified bytes.
    parallelism : Parallelism
        Threads within an operator, 0 lets ONNX Runtime take every core; streams share out a batch.
    cuda : bool
        Whether to run on the GPU.
    optimised : bool
        Whether the bytes are an engine, in the runtime's form already.
    as_defined : bool
        Whether an INT8 graph runs as its Q/DQ pairs are defined, in float between them: the
        reference that integer kernels are held against, and no faster than float.
    timed_layers : bool
        Whether to keep the time of each layer, for `layer_times`.

    Raises
    ------
    RuntimeNotAvailableError
        If ONNX Runtime cannot load the graph.
    BundleError
        If the graph does not keep the bundle's contract.
    """

    def __init__(
        self,
        bundle: Bundle,
        graph: Graph,
        parallelism: Parallelism = DEFAULT,
        *,
        cuda: bool = False,
        optimised: bool = False,
        as_defined: bool = False,
        timed_layers: bool = False,
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = parallelism.threads
        options.log_severity_level = _ONLY_ERRORS
        # Idle threads would spin on the cores that decode the next batch.
        spinning = str(int(parallelism.spinning))
        options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
        # It writes them to a file.
        self._profile = tempfile.TemporaryDirectory() if timed_layers else None
        if self._profile is not None:
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._profile.name) / "layers")
        if as_defined:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if cuda and not cuda_provider_installed():
            raise RuntimeNotAvailableError(
                f"ONNX Runtime {ort.__version__} has no {_CUDA_PROVIDER} here; install "
                "'neuroscan-edge[gpu]' in place of [cpu], or give another --runtime"
            )
        provider = _CUDA_PROVIDER if cuda else "CPUExecutionProvider"
        providers = [(provider, _CUDA_OPTIONS if cuda else {})]
        data = graph.data if cuda or optimised or as_defined else _cpu_form(graph)
        try:
            self._session = ort.InferenceSession(data, options, providers=providers)
        except Exception as error:  # Its exceptions share no base class.
            raise RuntimeNotAvailableError(
                f"ONNX Runtime {ort.__version__} cannot load the {graph.precision} graph: {error}"
            ) from error
        # Where CUDA does not load, ONNX Runtime goes on with the CPU and only logs it.
        if provider not in self._session.get_providers():
            raise RuntimeNotAvailableError(
                f"ONNX Runtime {ort.__version__} did not load its {provider}; install the CUDA and "
                "cuDNN it wants, or give another --runtime"
            )
        self._names = output_names(
            bundle, _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())
        )
        self._input = bundle.input_name
        # A session computes for several threads at once, each with memory of its own.
        run = partial(_run, self._session, self._input, self._names)
        self._streams = Streams([run] * parallelism.streams)
        self._bound = BoundBatches(self._session, self._input, self._names) if cuda else None
        self._slice_shape = (*bundle.preprocessing.shape, 1)
        self._info = RuntimeInfo(
            "onnxruntime",
            ort.__version__,
            "cuda" if cuda else "cpu",
            graph.precision,
            graph.sha256,
            batch_size=_CUDA_BATCH if cuda else None,
        )

    @property
    def info(self) -> RuntimeInfo:
        """What is running."""
        return self._info

    @property
    def session(self) -> Any:
        """ONNX Runtime's session, for whoever binds memory of the device to it."""
        return self._session

    def say_preprocessing(self, place: str) -> None:
        """Record where slices are preprocessed, and why there."""
        self._info = replace(self._info, preprocessing=place)

    def __enter__(self) -> "OnnxRuntime":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._streams.close()
        del self._bound, self._streams, self._session
        # Its session has written until now.
        if self._profile is not None:
            self._profile.cleanup()

    @property
    def output_names(self) -> list[str]:
        """Outputs of the graph, the probabilities' first."""
        return self._names

    def warm_up(self, batch_size: int) -> None:
        """Run one batch of black slices: CUDA loads and chooses its kernels on first use."""
        self(np.zeros((batch_size, *self._slice_shape), np.uint8))

    def __call__(self, batch: UInt8Batch) -> Probabilities:
        """Classify a batch: (N, H, W, 1) uint8 to (N, classes) float32."""
        return self.outputs(batch).probabilities

    def outputs(self, batch: UInt8Batch) -> Outputs:
        """Classify a batch, (N, H, W, 1) uint8, and give all of the graph's outputs."""
        if self._bound is not None:
            return self._bound(batch)
        return self._streams(batch)

    @property
    def overlaps(self) -> bool:
        """Whether there are several streams, on the CPU."""
        return self._streams.several and self._bound is None

    def start(self, batch: UInt8Batch) -> Pending:
        """Start on a batch, (N, H, W, 1) uint8, which is to stay as it is until it is done."""
        if self._bound is None:
            return self._streams.start(batch)
        return Computed(self._bound(batch))

    def layer_times(self, batch: UInt8Batch, runs: int) -> list[LayerTime]:
        """Run a batch so often, and return its layers: once; none if not opened for it."""
        profile, self._profile = self._profile, None
        if profile is None:
            return []
        with profile:
            for _ in range(runs):
                _run(self._session, self._input, self._names, batch)
            events = json.loads(Path(self._session.end_profiling()).read_bytes())
        spent: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith(_KERNEL_TIME):
                layer = (event["name"].removesuffix(_KERNEL_TIME), event["args"]["op_name"])
                spent[layer].append(event["dur"] / 1000)
        # What ran before, such as the probes, comes first.
        return [
            LayerTime(name, kind, bool(_INTEGER_KERNEL.search(kind)), tuple(ms[-runs:]))
            for (name, kind), ms in spent.items()
        ]


def _run(session: Any, input_name: str, names: list[str], batch: UInt8Batch) -> Outputs:
    outputs: list[Any] = session.run(names, {input_name: batch})
    return Outputs.named(names, [np.asarray(each, np.float32) for each in outputs])


class BoundBatches:
    """Runs a session on memory of its device, kept from one batch to the next of the same size.

    Without a binding ONNX Runtime allocates the input on the device anew for every batch.

    Parameters
    ----------
    session : onnxruntime.InferenceSession
        With one input.
    input_name : str
        Of the input.
    output_names : sequence of str
        Of what is given, in this order.
    device : str
        ``cuda``, or ``cpu``.
    """

    def __init__(
        self, session: Any, input_name: str, output_names: Sequence[str], device: str = "cuda"
    ) -> None:
        self._session = session
        self._input, self._outputs = input_name, tuple(output_names)
        self._device = device
        # One size at a time: a run has one, and a smaller batch at its end.
        self._shape: tuple[int, ...] = ()
        self._value: Any = None
        self._binding: Any = None

    def __call__(self, batch: UInt8Batch) -> Outputs:
        """Classify a batch, (N, H, W, 1) uint8, and give the named outputs."""
        contiguous = np.ascontiguousarray(batch)
        if contiguous.shape != self._shape:
            self._bind(contiguous)
        else:
            self._value.update_inplace(contiguous)
        self._session.run_with_iobinding(self._binding)
        # Copies on the host, which are the caller's.
        values = [np.array(each.numpy(), np.float32) for each in self._binding.get_outputs()]
        return Outputs.named(self._outputs, values)

    def _bind(self, batch: UInt8Batch) -> None:
        # The memory of the size before is given back first.
        self._binding = self._value = None
        self._shape = ()
        value = ort.OrtValue.ortvalue_from_numpy(batch.copy(), self._device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._input, value)
        for name in self._outputs:
            binding.bind_output(name, self._device)
        self._value, self._binding, self._shape = value, binding, batch.shape


def _tensors(values: Any) -> list[Tensor]:
    dtypes = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}
    # All but the batch dimension, which is open.
    return [(each.name, dtypes.get(each.type, each.type), list(each.shape[1:])) for each in values]


def _cpu_form(graph: Graph) -> bytes:
    if graph.precision is not Precision.INT8:
        return graph.data
    from neuroscan_edge.model.graph.cpu_form import load_cpu_int8

    return load_cpu_int8(graph.data, RuntimeName.ONNXRUNTIME)
