"""Host and device memory of one batch in flight, owned in one place."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DeviceMemoryError


class StagingBuffer:
    """Pinned host memory and device memory of the same size, for what is copied as it is.

    It grows to at least twice its size, so that a run of ever larger batches allocates few times,
    and is not made smaller.

    Parameters
    ----------
    driver : module
        ``pycuda.driver``.
    """

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self.host: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        self.device: Any = None

    def reserve(self, size_bytes: int) -> None:
        """Make room; nothing may be in flight from or to this buffer, and its content is lost.

        Raises
        ------
        DeviceMemoryError
            If there is too little memory; the buffer is then empty.
        """
        if size_bytes <= self.host.nbytes:
            return
        grown = max(size_bytes, 2 * self.host.nbytes)
        self.free()
        try:
            self._allocate(grown)
        except self._driver.MemoryError:
            self._allocate_exactly(size_bytes)

    def free(self) -> None:
        """Free the memory now rather than when Python gets to it."""
        self.host = np.empty(0, np.uint8)
        if self.device is not None:
            self.device.free()
            self.device = None

    def _allocate(self, size_bytes: int) -> None:
        host = self._driver.pagelocked_empty((size_bytes,), np.uint8)
        self.device = self._driver.mem_alloc(size_bytes)
        self.host = host

    def _allocate_exactly(self, size_bytes: int) -> None:
        try:
            self._allocate(size_bytes)
        except self._driver.MemoryError as error:
            raise DeviceMemoryError(
                f"the GPU has too little memory for a batch of {size_bytes} bytes to preprocess "
                f"({error}); use --preprocess cpu or a smaller --batch-size"
            ) from error


class BatchSlot:
    """Pinned host buffers, device buffers and the event that says when their batch is done.

    Between `submit` and `collect` nothing may touch the host buffers: the GPU reads and writes
    them on its own time.

    Parameters
    ----------
    driver : module
        ``pycuda.driver``.
    input_shape : tuple of int
        Largest batch in, (N, H, W, 1) uint8.
    output_shapes : mapping of str to tuple of int
        Largest batch out, (N, ...) float32, by tensor name.
    """

    def __init__(
        self,
        driver: Any,
        input_shape: tuple[int, ...],
        output_shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.host_in: npt.NDArray[np.uint8] = driver.pagelocked_empty(input_shape, np.uint8)
        self.host_out: dict[str, npt.NDArray[np.float32]] = {
            name: driver.pagelocked_empty(shape, np.float32)
            for name, shape in output_shapes.items()
        }
        self.device_in = driver.mem_alloc(self.host_in.nbytes)
        self.device_out: dict[str, Any] = {}
        try:
            for name, host in self.host_out.items():
                self.device_out[name] = driver.mem_alloc(host.nbytes)
        except BaseException:
            self._free_tensors()
            raise
        self.copied = driver.Event(driver.event_flags.DISABLE_TIMING)
        self.done = driver.Event(driver.event_flags.DISABLE_TIMING)
        self.staging = StagingBuffer(driver)

    def free(self) -> None:
        """Free the device memory now rather than when Python gets to it."""
        self.staging.free()
        self._free_tensors()

    def _free_tensors(self) -> None:
        self.device_in.free()
        for memory in self.device_out.values():
            memory.free()
        self.device_out.clear()
