"""Preprocessing on the GPU: the same bytes as the reference, left where an engine reads them.

Only launching is here: packing and geometry are pure functions beside it, the arithmetic is in
``kernels/resize_clahe.cu``. Nothing here waits for the GPU.
"""

from collections.abc import Sequence
from typing import Any

from neuroscan_edge.errors import DeviceMemoryError
from neuroscan_edge.preprocess.kernel_binaries import fitting_binaries
from neuroscan_edge.preprocess.launch_geometry import SIGNATURES, THREADS, Geometry
from neuroscan_edge.preprocess.packing import pack, packed_bytes
from neuroscan_edge.preprocess.reference import UInt8Image
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.cuda.buffers import StagingBuffer
from neuroscan_edge.system.cuda.context import Device
from neuroscan_edge.system.cuda.kernel_module import load_module

STAGING_LIMIT_BYTES = 1 << 28
"""Largest packed batch that is uploaded at once; callers cut larger ones into pieces."""


class CudaPreprocessor:
    """Kernels and scratch memory on a GPU. The device's context must be the calling thread's.

    Parameters
    ----------
    device : Device
        The GPU.
    spec : Preprocessing
        What to compute.
    max_batch : int
        Most slices a batch.

    Raises
    ------
    KernelNotAvailableError
        If no shipped kernel loads on this GPU.
    DeviceMemoryError
        If the GPU has too little memory for the look-up tables.
    DevicePreprocessingError
        If the specification needs too many of them.
    """

    def __init__(self, device: Device, spec: Preprocessing, max_batch: int) -> None:
        self.spec = spec
        self._driver = device.driver
        self._geometry = Geometry(spec)
        loaded = load_module(device, fitting_binaries(device.compute_capability))
        # Kept: functions live no longer than their module.
        self._loaded = loaded
        self._functions = {name: loaded.function(name, each) for name, each in SIGNATURES.items()}
        size = self._geometry.scratch_bytes(self._geometry.turn(max_batch))
        try:
            self._scratch: Any = self._driver.mem_alloc(size)
        except self._driver.MemoryError as error:
            raise DeviceMemoryError(
                f"the GPU has too little memory for {size} bytes of look-up tables to preprocess "
                f"({error}); use --preprocess cpu"
            ) from error

    @property
    def binary(self) -> str:
        """Name of the kernel binary that was loaded."""
        return self._loaded.name

    def output_bytes(self, count: int) -> int:
        """Size of so many preprocessed slices in bytes."""
        return count * self._geometry.plane_bytes

    def upload(self, slices: Sequence[UInt8Image], staging: StagingBuffer, stream: Any) -> None:
        """Pack slices and put their copy to the GPU on a stream.

        Parameters
        ----------
        slices : sequence of (H, W) uint8
            Of any sizes, checked by `check_slice`.
        staging : StagingBuffer
            Grown as needed. Nothing may be in flight from it, and nothing may touch it until what
            is launched after this has run.
        stream : object
            ``pycuda.driver.Stream``.

        Raises
        ------
        DeviceMemoryError
            If the buffer has to grow and cannot.
        """
        staging.reserve(packed_bytes(slices))
        packed = pack(slices, self.spec, staging.host)
        self._driver.memcpy_htod_async(staging.device, packed, stream)

    def launch(self, count: int, staging: StagingBuffer, output: int, stream: Any) -> None:
        """Put the preprocessing of uploaded slices on a stream, after their copy.

        Parameters
        ----------
        count : int
            Slices in the staging buffer, at most `max_batch`.
        staging : StagingBuffer
            As `upload` filled it.
        output : int
            Device address of [count, height, width] uint8, divisible by 4.
        stream : object
            The stream of the engine that reads `output`. All launches of one preprocessor go to
            one stream, for they share the look-up tables.
        """
        block = (THREADS, 1, 1)
        places = (int(staging.device), output, int(self._scratch))
        for each in self._geometry.launches(count, *places):
            function = self._functions[each.kernel]
            function.prepared_async_call((*each.grid, 1), block, stream, *each.arguments)

    def free(self) -> None:
        """Free the scratch memory."""
        self._scratch.free()
