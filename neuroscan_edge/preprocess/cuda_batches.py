"""Batches preprocessed on the GPU and brought back: the GPU's twin of `CpuPreprocessor`.

TensorRT's adapter works on `CudaPreprocessor` itself. This is for checking a GPU, for measuring it,
and for runtimes that are given an address on the GPU, or bytes on the host.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.preprocess.cuda import STAGING_LIMIT_BYTES, CudaPreprocessor
from neuroscan_edge.preprocess.packing import check_slice, pieces
from neuroscan_edge.preprocess.reference import UInt8Image
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.cuda.buffers import StagingBuffer
from neuroscan_edge.system.cuda.context import Device


class CudaBatches:
    """Callable that turns slices into the bytes a graph reads, on a stream of its own.

    A context manager; for one thread at a time.

    Parameters
    ----------
    device : Device
        The GPU; given back when this is closed.
    spec : Preprocessing
        What to compute.
    max_batch : int
        Most slices that are in GPU memory at once; more go through it in turns.

    Raises
    ------
    DevicePreprocessingError
        If this GPU cannot preprocess.
    """

    def __init__(self, device: Device, spec: Preprocessing, max_batch: int = 64) -> None:
        self.spec = spec
        self._device = device
        self._max_batch = max_batch
        try:
            with device.current():
                self.preprocessor = CudaPreprocessor(device, spec, max_batch)
                self._staging = StagingBuffer(device.driver)
                self._output = StagingBuffer(device.driver)
                self._stream: Any = device.driver.Stream()
        except BaseException:
            device.release()
            raise

    def __enter__(self) -> "CudaBatches":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._device.current():
            self._stream.synchronize()
            self._staging.free()
            self._output.free()
            self.preprocessor.free()
            # In this context, while it is there.
            del self.preprocessor, self._stream
        self._device.release()

    def __call__(self, slices: Sequence[UInt8Image]) -> npt.NDArray[np.uint8]:
        """Preprocess (H, W) uint8 slices of any sizes: to (N, height, width, 1) uint8.

        Raises
        ------
        ScanError
            If a slice has no pixel, or too many.
        DeviceMemoryError
            If a piece of the batch finds no memory on the GPU.
        """
        for each in slices:
            check_slice(each)
        results = np.empty((len(slices), *self.spec.shape, 1), np.uint8)
        with self._device.current():
            for piece in pieces(slices, self._max_batch, STAGING_LIMIT_BYTES):
                results[piece] = self._piece(slices[piece])
        return results

    def synchronize(self) -> None:
        """Wait until what `on_device` returned is there."""
        with self._device.current():
            self._stream.synchronize()

    def on_device(self, slices: Sequence[UInt8Image]) -> int:
        """Preprocess and leave the bytes on the GPU; nothing is waited for.

        Parameters
        ----------
        slices : sequence of (H, W) uint8
            At most `max_batch`, passed by `check_slice`. Nothing of the call before may be in
            flight any more.

        Returns
        -------
        int
            Device address of (N, height, width, 1) uint8, there once the stream has got so far,
            and until the next call.

        Raises
        ------
        DeviceMemoryError
            If the batch finds no memory on the GPU.
        """
        with self._device.current():
            self._output.reserve(self.preprocessor.output_bytes(len(slices)))
            self.preprocessor.upload(slices, self._staging, self._stream)
            output = int(self._output.device)
            self.preprocessor.launch(len(slices), self._staging, output, self._stream)
        return output

    def _piece(self, slices: Sequence[UInt8Image]) -> npt.NDArray[np.uint8]:
        self.on_device(slices)
        host = self._output.host[: self.preprocessor.output_bytes(len(slices))]
        self._device.driver.memcpy_dtoh_async(host, self._output.device, self._stream)
        # The next lines read what the GPU wrote: wait.
        self._stream.synchronize()
        return host.reshape(len(slices), *self.spec.shape, 1)
