"""Raw slices through ONNX Runtime's CUDA provider: preprocessed on the GPU, read there by it."""

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from neuroscan_edge.errors import DeviceMemoryError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.preprocess.cuda import STAGING_LIMIT_BYTES
from neuroscan_edge.preprocess.cuda_batches import CudaBatches
from neuroscan_edge.preprocess.cuda_self_test import open_checked
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.packing import pieces
from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime
from neuroscan_edge.runtimes.protocol import (
    Outputs,
    Probabilities,
    RuntimeInfo,
    UInt8Batch,
    UInt8Slice,
)
from neuroscan_edge.system.cuda.context import Device

_DEVICE = "cuda"


class RawOnnxRuntime:
    """An `OnnxRuntime` on the GPU that also takes raw slices.

    Parameters
    ----------
    runtime : OnnxRuntime
        On the GPU; closed with this.
    session : object
        Its ``onnxruntime.InferenceSession``.
    device : Device
        The GPU; given back when this is closed.
    bundle : Bundle
        The contract: preprocessing and tensor names.
    max_batch : int
        Most slices that are preprocessed at once.
    fall_back : bool
        Whether a batch that finds no memory on the GPU is preprocessed on the CPU.

    Raises
    ------
    DevicePreprocessingError
        If the GPU cannot preprocess, or gives other bytes than the CPU.
    """

    takes_raw = True

    def __init__(
        self,
        runtime: OnnxRuntime,
        session: Any,
        device: Device,
        bundle: Bundle,
        max_batch: int,
        *,
        fall_back: bool,
    ) -> None:
        self._runtime, self._session = runtime, session
        self._input, self._names = bundle.input_name, runtime.output_names
        self._max_batch = max_batch
        self._shape = (*bundle.preprocessing.shape, 1)
        self._cpu = CpuPreprocessor(bundle.preprocessing) if fall_back else None
        self._substituted = 0
        try:
            with device.current():
                open_checked(device, bundle.preprocessing, 1).free()
        except BaseException:
            device.release()
            raise
        self._batches = CudaBatches(device, bundle.preprocessing, max_batch)
        self._place = f"cuda ({self._batches.preprocessor.binary})"
        self._info = replace(runtime.info, preprocessing=self._place)

    @property
    def info(self) -> RuntimeInfo:
        """What is running."""
        return self._info

    def __enter__(self) -> "RawOnnxRuntime":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._batches.__exit__(kind, error, trace)
        del self._session
        self._runtime.__exit__(kind, error, trace)

    def __call__(self, batch: UInt8Batch) -> Probabilities:
        """Classify a preprocessed batch: (N, H, W, 1) uint8 to (N, classes) float32."""
        return self._runtime(batch)

    def run_raw(self, slices: Sequence[UInt8Slice]) -> Probabilities:
        """Preprocess and classify (H, W) uint8 slices of any sizes: to (N, classes) float32."""
        return self.outputs_raw(slices).probabilities

    def outputs(self, batch: UInt8Batch) -> Outputs:
        """Classify a preprocessed batch, and give all of the graph's outputs."""
        return self._runtime.outputs(batch)

    def outputs_raw(self, slices: Sequence[UInt8Slice]) -> Outputs:
        """Preprocess and classify slices, and give all of the graph's outputs."""
        cut = pieces(slices, self._max_batch, STAGING_LIMIT_BYTES)
        return Outputs.joined([self._piece(slices[each]) for each in cut])

    def _piece(self, slices: Sequence[UInt8Slice]) -> Outputs:
        try:
            address = self._batches.on_device(slices)
        except DeviceMemoryError as error:
            if self._cpu is None:
                raise
            self._substituted += len(slices)
            said = f"{self._place}, and of {self._substituted} slices on the CPU: {error}"
            self._info = replace(self._info, preprocessing=said)
            return self._runtime.outputs(np.stack([self._cpu(each) for each in slices])[..., None])
        # ONNX Runtime works on a stream of its own, which does not wait for this one.
        self._batches.synchronize()
        binding = self._session.io_binding()
        shape = (len(slices), *self._shape)
        binding.bind_input(self._input, _DEVICE, 0, np.uint8, shape, address)
        for name in self._names:
            binding.bind_output(name, _DEVICE)
        self._session.run_with_iobinding(binding)
        # Copies on the host, which are the caller's.
        values = [np.array(each.numpy(), np.float32) for each in binding.get_outputs()]
        return Outputs.named(self._names, values)
