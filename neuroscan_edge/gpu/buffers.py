"""Host and device memory of one batch in flight, allocated once for the largest batch."""

from typing import Any

import numpy as np
import numpy.typing as npt


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
    output_shape : tuple of int
        Largest batch out, (N, classes) float32.
    """

    def __init__(
        self, driver: Any, input_shape: tuple[int, ...], output_shape: tuple[int, ...]
    ) -> None:
        self.host_in: npt.NDArray[np.uint8] = driver.pagelocked_empty(input_shape, np.uint8)
        self.host_out: npt.NDArray[np.float32] = driver.pagelocked_empty(output_shape, np.float32)
        self.device_in = driver.mem_alloc(self.host_in.nbytes)
        try:
            self.device_out = driver.mem_alloc(self.host_out.nbytes)
        except BaseException:
            self.device_in.free()
            raise
        self.copied = driver.Event(driver.event_flags.DISABLE_TIMING)
        self.done = driver.Event(driver.event_flags.DISABLE_TIMING)

    def free(self) -> None:
        """Free the device memory now rather than when Python gets to it."""
        self.device_in.free()
        self.device_out.free()
