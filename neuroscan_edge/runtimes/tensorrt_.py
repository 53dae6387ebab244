"""TensorRT and TensorRT for RTX engines on the GPU: one adapter, differences found by capability.

Two batches are in flight: while the GPU computes one, the next is copied to it. Work is put on two
streams, one for copies in and one for everything else; events order them, and the host waits for a
batch's event before it touches that batch's buffers.
"""

from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np

from neuroscan_edge.engine.flavours import load_flavour
from neuroscan_edge.engine.manifest import EngineManifest, StoredEngine
from neuroscan_edge.errors import (
    EngineContractError,
    EngineLoadError,
    NeuroScanError,
    RuntimeNotAvailableError,
)
from neuroscan_edge.gpu.buffers import BatchSlot
from neuroscan_edge.gpu.device import Device, load_driver
from neuroscan_edge.gpu.events import BatchEvents
from neuroscan_edge.gpu.graphs import DriverGraphs, GraphRecorder, RecordedGraph
from neuroscan_edge.gpu.kernel_cache import (
    kernel_cache_path,
    read_kernel_cache,
    write_kernel_cache,
)
from neuroscan_edge.runtimes.base import (
    Probabilities,
    ReportDeviceTimes,
    RuntimeInfo,
    UInt8Batch,
)
from neuroscan_edge.spec import RuntimeName

_FATAL = {"ERROR", "INTERNAL_ERROR"}
_IN_FLIGHT = 2


class EngineRunError(NeuroScanError):
    """The engine failed while it ran: nothing it returned can be trusted."""


def open_tensorrt(engine: StoredEngine, data: bytes) -> "TensorRTRuntime":
    """Load verified engine bytes on this machine's GPU.

    Raises
    ------
    MissingDependencyError
        If TensorRT or PyCUDA is not installed.
    EngineLoadError
        If TensorRT refuses the engine.
    """
    name = engine.manifest.runtime
    trt = load_flavour(name, "to run its engines")
    driver = load_driver("tensorrt" if name is RuntimeName.TENSORRT else "gpu")
    return TensorRTRuntime(trt, Device(driver), engine, data, DriverGraphs())


class TensorRTRuntime:
    """A deserialised engine with its memory.

    Parameters
    ----------
    trt : module
        ``tensorrt`` or ``tensorrt_rtx``.
    device : Device
        The GPU.
    engine : StoredEngine
        For its manifest.
    data : bytes
        The engine, verified by `neuroscan_edge.engine.verify_engine`.
    graphs : GraphRecorder
        What records CUDA graphs.

    Raises
    ------
    EngineLoadError
        If TensorRT refuses the engine.
    EngineContractError
        If the engine's own tensors are not those of its manifest.
    RuntimeNotAvailableError
        If the GPU has too little memory for the engine's largest batch.
    """

    def __init__(
        self, trt: Any, device: Device, engine: StoredEngine, data: bytes, graphs: GraphRecorder
    ) -> None:
        manifest = engine.manifest
        self._folder = engine.folder
        self._batch = manifest.batch
        self._input, self._output = manifest.input["name"], manifest.output["name"]
        self._slice_shape = tuple(manifest.input["shape"][1:])
        self._classes = len(manifest.labels)
        self._errors: list[str] = []
        self._device = device
        self._graphs = graphs
        self._recorded: dict[tuple[int, int], RecordedGraph | None] = {}
        self._slots: list[BatchSlot] = []
        self._report: ReportDeviceTimes | None = None
        self._events: list[BatchEvents] = []
        try:
            with device.current():
                self._load(trt, engine, data)
        except BaseException:
            device.release()
            raise
        self._info = RuntimeInfo(
            str(manifest.runtime),
            manifest.runtime_version,
            device.name,
            manifest.precision,
            manifest.engine_sha256,
            # Enough for one batch to be copied while another is computed.
            batch_size=_IN_FLIGHT * manifest.batch.max,
        )

    def _load(self, trt: Any, engine: StoredEngine, data: bytes) -> None:
        logger = _logger(trt, self._errors)
        # Kept: the engine lives no longer than the runtime that made it.
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self._refused("to load")
        _check_tensors(trt, self._engine, engine)
        self._kernels = _KernelCache(self._engine, engine.manifest)
        self._context = self._kernels.create_context(trt)
        if self._context is None:
            raise self._refused("to make an execution context for")
        try:
            self._allocate(self._device.driver)
        except BaseException:
            self._free()
            raise

    @property
    def info(self) -> RuntimeInfo:
        """What is running."""
        return self._info

    def __enter__(self) -> "TensorRTRuntime":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._device.current():
            # The GPU may still be writing to what is about to be freed.
            self._synchronize()
            self._kernels.save()
            for graph in self._recorded.values():
                if graph is not None:
                    graph.destroy()
            self._recorded.clear()
            self._free()
            # In this order: each needs the next one alive.
            del self._context, self._kernels, self._engine, self._runtime
            del self._copies, self._work
            self._events.clear()
        self._device.release()

    def __call__(self, batch: UInt8Batch) -> Probabilities:
        """Classify a batch of any size: (N, H, W, 1) uint8 to (N, classes) float32."""
        if batch.dtype != np.uint8 or batch.shape[1:] != self._slice_shape or not len(batch):
            raise EngineRunError(
                f"the batch is {batch.dtype} {batch.shape}; the engine reads uint8 "
                f"(N, {', '.join(map(str, self._slice_shape))}), N at least 1"
            )
        results: Probabilities = np.empty((len(batch), self._classes), np.float32)
        waiting: list[tuple[int, slice]] = []
        with self._device.current():
            try:
                for number, piece in enumerate(self._pieces(len(batch))):
                    index = number % _IN_FLIGHT
                    if len(waiting) == _IN_FLIGHT:
                        self._collect(*waiting.pop(0), results)
                    self._submit(index, batch[piece])
                    waiting.append((index, piece))
                for index, piece in waiting:
                    self._collect(index, piece, results)
            except BaseException:
                # What is in flight still uses the buffers that the next call would fill.
                self._synchronize()
                raise
        return results

    def report_device_times(self, report: ReportDeviceTimes | None) -> None:
        """Report each batch's upload, compute and download in ms; None stops it."""
        with self._device.current():
            # Events live in the context: made and freed while it is current.
            self._events = [BatchEvents(self._device.driver) for _ in self._slots if report]
        self._report = report

    def _pieces(self, count: int) -> Iterator[slice]:
        for start in range(0, count, self._batch.max):
            yield slice(start, min(start + self._batch.max, count))

    def _submit(self, index: int, piece: UInt8Batch) -> None:
        driver, slot = self._device.driver, self._slots[index]
        # A batch below the profile's least is filled up with black slices.
        size = max(len(piece), self._batch.min)
        slot.host_in[: len(piece)] = piece
        slot.host_in[len(piece) : size] = 0
        events = self._events[index] if self._events else None
        if events:
            events.uploading(self._copies)
        driver.memcpy_htod_async(slot.device_in, slot.host_in[:size], self._copies)
        if events:
            events.uploaded(self._copies)
        slot.copied.record(self._copies)
        self._work.wait_for_event(slot.copied)
        if events:
            events.computing(self._work)
        self._compute(index, size)
        if events:
            events.computed(self._work)
        driver.memcpy_dtoh_async(slot.host_out[:size], slot.device_out, self._work)
        if events:
            events.downloaded(self._work)
        slot.done.record(self._work)

    def _collect(self, index: int, piece: slice, results: Probabilities) -> None:
        slot = self._slots[index]
        # The next lines read what the GPU wrote: wait.
        slot.done.synchronize()
        results[piece] = slot.host_out[: piece.stop - piece.start]
        if self._report is not None:
            self._report(*self._events[index].times_ms())

    def _compute(self, index: int, size: int) -> None:
        key = (index, size)
        graph = self._recorded.get(key)
        if graph is not None:
            graph.launch(self._work)
            return
        # The first run of a shape may allocate, which cannot be recorded.
        self._enqueue(index, size)
        if key not in self._recorded and self._kernels.leaves_recording:
            self._recorded[key] = self._record(index, size)

    def _record(self, index: int, size: int) -> RecordedGraph | None:
        self._work.synchronize()
        try:
            return self._graphs.record(self._work, lambda: self._enqueue(index, size))
        except (RuntimeNotAvailableError, EngineRunError):
            # Not every layer can be recorded; launched one by one they give the same result.
            return None

    def _enqueue(self, index: int, size: int) -> None:
        slot = self._slots[index]
        done = (
            self._context.set_input_shape(self._input, (size, *self._slice_shape))
            and self._context.set_tensor_address(self._input, int(slot.device_in))
            and self._context.set_tensor_address(self._output, int(slot.device_out))
            and self._context.execute_async_v3(stream_handle=self._work.handle)
        )
        if not done or self._errors:
            reasons = "; ".join(self._errors) or "TensorRT gave no reason"
            self._errors.clear()
            raise EngineRunError(f"{self._folder} failed on a batch of {size}: {reasons}")

    def _allocate(self, driver: Any) -> None:
        self._copies, self._work = driver.Stream(), driver.Stream()
        largest = self._batch.max
        try:
            for _ in range(_IN_FLIGHT):
                slot = BatchSlot(driver, (largest, *self._slice_shape), (largest, self._classes))
                self._slots.append(slot)
        except driver.MemoryError as error:
            raise RuntimeNotAvailableError(
                f"the GPU has too little memory for batches of {largest}; build the engine with a "
                f"smaller --max-batch: {error}"
            ) from error

    def _synchronize(self) -> None:
        self._copies.synchronize()
        self._work.synchronize()

    def _free(self) -> None:
        for slot in self._slots:
            slot.free()
        self._slots.clear()

    def _refused(self, doing: str) -> EngineLoadError:
        return EngineLoadError(
            str(self._folder),
            found=f"TensorRT unable {doing} it: {'; '.join(self._errors) or 'no reason given'}",
            wanted="an engine for this very installation",
            fix='build it again here with "neuroscan-edge build-engine"',
        )


class _KernelCache:
    """TensorRT for RTX compiles kernels when an engine is first run, and can keep them.

    It also records CUDA graphs by itself. Full TensorRT does neither.
    """

    def __init__(self, engine: Any, manifest: EngineManifest) -> None:
        self._engine = engine
        self._config: Any = None
        self._cache: Any = None
        self._path = kernel_cache_path(
            manifest.engine_sha256,
            manifest.runtime_version,
            "-".join(manifest.compute_capabilities),
        )

    def create_context(self, trt: Any) -> Any:
        create_config = getattr(self._engine, "create_runtime_config", None)
        config = create_config() if create_config else None
        if config is None or not hasattr(config, "create_runtime_cache"):
            return self._engine.create_execution_context()
        self._config, self._cache = config, config.create_runtime_cache()
        stored = read_kernel_cache(self._path)
        if stored is not None and not self._cache.deserialize(stored):
            # Of another driver or version: it fills again.
            self._cache.reset()
        config.set_runtime_cache(self._cache)
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    @property
    def leaves_recording(self) -> bool:
        """Whether CUDA graphs are left to the adapter, rather than recorded by the runtime."""
        return self._config is None

    def save(self) -> None:
        if self._cache is not None:
            serialized = self._cache.serialize()
            if serialized is not None:
                write_kernel_cache(self._path, bytes(serialized))


def _check_tensors(trt: Any, loaded: Any, engine: StoredEngine) -> None:
    """Compare the engine's own tensors with its manifest."""
    manifest = engine.manifest
    stated = {
        side["name"]: (mode, side["dtype"], tuple(side["shape"][1:]))
        for mode, side in (("INPUT", manifest.input), ("OUTPUT", manifest.output))
    }
    found = {}
    for index in range(loaded.num_io_tensors):
        name = loaded.get_tensor_name(index)
        dtype = np.dtype(trt.nptype(loaded.get_tensor_dtype(name))).name
        shape = tuple(loaded.get_tensor_shape(name))
        found[name] = (loaded.get_tensor_mode(name).name, dtype, shape[1:])
    smallest, _, largest = loaded.get_tensor_profile_shape(manifest.input["name"], 0)
    batch = (smallest[0], largest[0])
    wanted = (manifest.batch.min, manifest.batch.max)
    if found != stated or batch != wanted:
        raise EngineContractError(
            str(engine.folder),
            found=f"tensors {found} for {batch[0]} to {batch[1]} slices",
            wanted=f"{stated} for {wanted[0]} to {wanted[1]}, as its manifest states",
            fix='build it again with "neuroscan-edge build-engine"',
        )


def _logger(trt: Any, errors: list[str]) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors; nothing is printed."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in _FATAL:
                errors.append(message)

    return Logger()
