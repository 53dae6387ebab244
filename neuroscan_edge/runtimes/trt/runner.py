"""TensorRT and TensorRT for RTX engines on the GPU: one adapter, differences found by capability.

Two batches are in flight: while the GPU computes one, the next is copied to it. Work is put on two
streams, one for copies in and one for everything else; events order them, and the host waits for a
batch's event before it touches that batch's buffers. Raw slices are copied in the same way, and
preprocessed between their copy and the engine on the engine's stream.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import (
    DeviceMemoryError,
    DevicePreprocessingError,
    EngineLoadError,
    NeuroScanError,
    RuntimeNotAvailableError,
    SpecError,
)
from neuroscan_edge.model.engine.installed import load_flavour
from neuroscan_edge.model.engine.manifest import StoredEngine
from neuroscan_edge.preprocess.cuda import STAGING_LIMIT_BYTES, CudaPreprocessor
from neuroscan_edge.preprocess.cuda_self_test import open_checked
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.packing import pieces
from neuroscan_edge.runtimes.protocol import (
    Outputs,
    Probabilities,
    ReportDeviceTimes,
    RuntimeInfo,
    UInt8Batch,
    UInt8Slice,
)
from neuroscan_edge.runtimes.trt.contract import check_tensors
from neuroscan_edge.runtimes.trt.kernel_cache import CompiledKernels
from neuroscan_edge.runtimes.trt.log import error_logger
from neuroscan_edge.spec import Preprocessing, PreprocessOn, RuntimeName
from neuroscan_edge.system.cuda.buffers import BatchSlot
from neuroscan_edge.system.cuda.context import Device, load_driver
from neuroscan_edge.system.cuda.events import NO_EVENTS, BatchEvents, NoEvents
from neuroscan_edge.system.cuda.graph_capture import DriverGraphs, GraphRecorder, RecordedGraph

_IN_FLIGHT = 2


class EngineRunError(NeuroScanError):
    """The engine failed while it ran: nothing it returned can be trusted."""


def open_tensorrt(
    engine: StoredEngine,
    data: bytes,
    spec: Preprocessing,
    preprocess: PreprocessOn = PreprocessOn.AUTO,
) -> "TensorRTRuntime":
    """Load verified engine bytes on this machine's GPU, and run them once.

    Raises
    ------
    MissingDependencyError
        If TensorRT or PyCUDA is not installed.
    EngineLoadError
        If TensorRT refuses the engine.
    DevicePreprocessingError
        If preprocessing on the GPU is asked for and this GPU cannot.
    """
    name = engine.manifest.runtime
    trt = load_flavour(name, "to run its engines")
    driver = load_driver("tensorrt" if name is RuntimeName.TENSORRT else "gpu")
    runtime = TensorRTRuntime(trt, Device(driver), engine, data, DriverGraphs())
    try:
        runtime.preprocess_on(spec, preprocess)
        runtime.warm_up()
    except BaseException as error:
        runtime.__exit__(type(error), error, error.__traceback__)
        raise
    return runtime


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
        The engine, verified by `neuroscan_edge.model.engine.verify_engine`.
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
        self._input = manifest.input["name"]
        self._slice_shape = tuple(manifest.input["shape"][1:])
        # By name, the probabilities first; all but the batch.
        self._output_shapes: dict[str, tuple[int, ...]] = {
            each["name"]: tuple(each["shape"][1:])
            for each in (manifest.output, *manifest.extra_outputs)
        }
        self._errors: list[str] = []
        self._device = device
        self._graphs = graphs
        self._recorded: dict[tuple[int, int], RecordedGraph | None] = {}
        self._slots: list[BatchSlot] = []
        self._preprocessor: CudaPreprocessor | None = None
        self._substitute: CpuPreprocessor | None = None
        self._substituted, self._on_gpu = 0, ""
        self._report: ReportDeviceTimes | None = None
        self._events: list[BatchEvents | NoEvents] = [NO_EVENTS] * _IN_FLIGHT
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
        logger = error_logger(trt, self._errors)
        # Kept: the engine lives no longer than the runtime that made it.
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise self._refused("to load")
        check_tensors(trt, self._engine, engine)
        self._kernels = CompiledKernels(self._engine, engine.manifest)
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

    @property
    def takes_raw(self) -> bool:
        """Whether slices are preprocessed on the GPU."""
        return self._preprocessor is not None

    def preprocess_on(self, spec: Preprocessing, place: PreprocessOn) -> None:
        """Take raw slices from now on, if that is asked for or, with auto, possible.

        With auto, what the GPU cannot do, or later finds no memory for, is left to the CPU.

        Raises
        ------
        DevicePreprocessingError
            If the GPU is asked for and cannot preprocess.
        SpecError
            If the specification gives slices of another size than the engine reads.
        """
        if (*spec.shape, 1) != self._slice_shape:
            raise SpecError(f"{spec.shape} slices for an engine of {self._slice_shape}")
        if place is PreprocessOn.CPU:
            return
        try:
            with self._device.current():
                self._preprocessor = open_checked(self._device, spec, self._batch.max)
        except DevicePreprocessingError as error:
            if place is PreprocessOn.CUDA:
                raise
            self._info = replace(self._info, preprocessing=f"cpu ({error})")
            return
        self._substitute = CpuPreprocessor(spec) if place is PreprocessOn.AUTO else None
        self._on_gpu = f"cuda ({self._preprocessor.binary})"
        self._info = replace(self._info, preprocessing=self._on_gpu)

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
        return self.outputs(batch).probabilities

    def outputs(self, batch: UInt8Batch) -> Outputs:
        """Classify a batch of any size, (N, H, W, 1) uint8, and give all of the outputs."""
        if batch.dtype != np.uint8 or batch.shape[1:] != self._slice_shape or not len(batch):
            raise EngineRunError(
                f"the batch is {batch.dtype} {batch.shape}; the engine reads uint8 "
                f"(N, {', '.join(map(str, self._slice_shape))}), N at least 1"
            )
        starts = range(0, len(batch), self._batch.max)
        cut = (slice(each, min(each + self._batch.max, len(batch))) for each in starts)
        return self._run(len(batch), cut, lambda index, piece: self._submit(index, batch[piece]))

    def run_raw(self, slices: Sequence[UInt8Slice]) -> Probabilities:
        """Preprocess and classify (H, W) uint8 slices of any sizes: to (N, classes) float32."""
        return self.outputs_raw(slices).probabilities

    def outputs_raw(self, slices: Sequence[UInt8Slice]) -> Outputs:
        """Preprocess and classify slices of any sizes, and give all of the outputs."""
        cut = pieces(slices, self._batch.max, STAGING_LIMIT_BYTES)
        return self._run(
            len(slices), cut, lambda index, piece: self._submit_raw(index, slices[piece])
        )

    def _run(
        self, count: int, cut: Iterable[slice], submit: Callable[[int, slice], None]
    ) -> Outputs:
        results = {
            name: np.empty((count, *shape), np.float32)
            for name, shape in self._output_shapes.items()
        }
        waiting: list[tuple[int, slice]] = []
        with self._device.current():
            try:
                for number, piece in enumerate(cut):
                    index = number % _IN_FLIGHT
                    if len(waiting) == _IN_FLIGHT:
                        self._collect(*waiting.pop(0), results)
                    submit(index, piece)
                    waiting.append((index, piece))
                for index, piece in waiting:
                    self._collect(index, piece, results)
            except BaseException:
                # What is in flight still uses the buffers that the next call would fill.
                self._synchronize()
                raise
        return Outputs.named(list(results), list(results.values()))

    def warm_up(self) -> None:
        """Run the largest batch on every buffer, so that no batch of a run is the first.

        TensorRT for RTX compiles its kernels here, for as long as minutes on a GPU that it sees
        for the first time; they are kept at once, so that no kill costs them.
        """
        self(np.zeros((_IN_FLIGHT * self._batch.max, *self._slice_shape), np.uint8))
        with self._device.current():
            self._kernels.save()

    def report_device_times(self, report: ReportDeviceTimes | None) -> None:
        """Report each batch's upload, preprocessing, compute and download in ms; None stops it."""
        with self._device.current():
            # Events live in the context: made and freed while it is current.
            driver = self._device.driver
            self._events = [BatchEvents(driver) if report else NO_EVENTS for _ in self._slots]
        self._report = report

    def _submit(self, index: int, piece: UInt8Batch) -> None:
        slot = self._slots[index]
        # A batch below the profile's least is filled up with black slices.
        size = max(len(piece), self._batch.min)
        slot.host_in[: len(piece)] = piece
        slot.host_in[len(piece) : size] = 0
        self._events[index].uploading(self._copies)
        self._device.driver.memcpy_htod_async(slot.device_in, slot.host_in[:size], self._copies)
        self._await_upload(index)
        self._finish(index, size)

    def _submit_raw(self, index: int, piece: Sequence[UInt8Slice]) -> None:
        slot, preprocessor, count = self._slots[index], self._preprocessor, len(piece)
        if preprocessor is None:
            raise EngineRunError("the runtime was not opened to preprocess on the GPU")
        self._events[index].uploading(self._copies)
        try:
            preprocessor.upload(piece, slot.staging, self._copies)
        except DeviceMemoryError as error:
            if self._substitute is None:
                raise
            self._substituted += count
            said = f"{self._on_gpu}, and of {self._substituted} slices on the CPU: {error}"
            self._info = replace(self._info, preprocessing=said)
            self._submit(index, np.stack([self._substitute(each) for each in piece])[..., None])
            return
        self._await_upload(index)
        preprocessor.launch(count, slot.staging, int(slot.device_in), self._work)
        size = max(count, self._batch.min)
        if size > count:
            end, rest = preprocessor.output_bytes(count), preprocessor.output_bytes(size - count)
            self._device.driver.memset_d8_async(int(slot.device_in) + end, 0, rest, self._work)
        self._finish(index, size)

    def _await_upload(self, index: int) -> None:
        """Have the engine's stream wait for what was put on that of copies."""
        slot, events = self._slots[index], self._events[index]
        events.uploaded(self._copies)
        slot.copied.record(self._copies)
        self._work.wait_for_event(slot.copied)
        events.preprocessing(self._work)

    def _finish(self, index: int, size: int) -> None:
        slot, events = self._slots[index], self._events[index]
        events.computing(self._work)
        self._compute(index, size)
        events.computed(self._work)
        for name, host in slot.host_out.items():
            self._device.driver.memcpy_dtoh_async(host[:size], slot.device_out[name], self._work)
        events.downloaded(self._work)
        slot.done.record(self._work)

    def _collect(
        self, index: int, piece: slice, results: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        slot = self._slots[index]
        # The next lines read what the GPU wrote: wait.
        slot.done.synchronize()
        for name, host in slot.host_out.items():
            results[name][piece] = host[: piece.stop - piece.start]
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
            and all(
                self._context.set_tensor_address(name, int(memory))
                for name, memory in slot.device_out.items()
            )
            and self._context.execute_async_v3(stream_handle=self._work.handle)
        )
        if not done or self._errors:
            reasons = "; ".join(self._errors) or "TensorRT gave no reason"
            self._errors.clear()
            raise EngineRunError(f"{self._folder} failed on a batch of {size}: {reasons}")

    def _allocate(self, driver: Any) -> None:
        self._copies, self._work = driver.Stream(), driver.Stream()
        largest = self._batch.max
        outputs = {name: (largest, *shape) for name, shape in self._output_shapes.items()}
        try:
            for _ in range(_IN_FLIGHT):
                slot = BatchSlot(driver, (largest, *self._slice_shape), outputs)
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
        if self._preprocessor is not None:
            self._preprocessor.free()
            self._preprocessor = None

    def _refused(self, doing: str) -> EngineLoadError:
        return EngineLoadError(
            str(self._folder),
            found=f"TensorRT unable {doing} it: {'; '.join(self._errors) or 'no reason given'}",
            wanted="an engine for this very installation",
            fix='build it again here with "neuroscan-edge build-engine"',
        )
