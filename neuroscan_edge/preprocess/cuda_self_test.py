"""No GPU preprocesses for an engine before it has shown here that it gives the CPU's bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DevicePreprocessingError
from neuroscan_edge.preprocess.cuda import CudaPreprocessor
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.reference import UInt8Image
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.cuda.buffers import StagingBuffer
from neuroscan_edge.system.cuda.context import Device

# Small, for memory; for the default specification one is made larger and one longer side smaller.
_SIZES = ((97, 131), (301, 60))


def open_checked(device: Device, spec: Preprocessing, max_batch: int) -> CudaPreprocessor:
    """Load the kernels and try them on two slices. Waits for the GPU.

    Parameters are those of `CudaPreprocessor`.

    Raises
    ------
    DevicePreprocessingError
        If they cannot be loaded, do not run, or give other bytes than the CPU.
    """
    preprocessor = CudaPreprocessor(device, spec, max_batch)
    buffers = StagingBuffer(device.driver), StagingBuffer(device.driver)
    try:
        _check(device, preprocessor, *buffers)
    except BaseException:
        preprocessor.free()
        raise
    finally:
        for each in buffers:
            each.free()
    return preprocessor


def _check(
    device: Device, preprocessor: CudaPreprocessor, staging: StagingBuffer, output: StagingBuffer
) -> None:
    cpu, stream = CpuPreprocessor(preprocessor.spec), device.driver.Stream()
    for rows, columns in _SIZES:
        pixels = _textured(rows, columns)
        found = _run(device, preprocessor, pixels, staging, output, stream)
        right = cpu(pixels)
        wrong = int(np.count_nonzero(found != right.reshape(-1)))
        if wrong:
            raise DevicePreprocessingError(
                f"{device.name} preprocesses to other bytes with {preprocessor.binary}: {wrong} of "
                f"{right.size} pixels differ from the CPU's; use --preprocess cpu, and report it"
            )


def _run(
    device: Device,
    preprocessor: CudaPreprocessor,
    pixels: UInt8Image,
    staging: StagingBuffer,
    output: StagingBuffer,
    stream: Any,
) -> npt.NDArray[np.uint8]:
    size = preprocessor.output_bytes(1)
    output.reserve(size)
    try:
        preprocessor.upload([pixels], staging, stream)
        preprocessor.launch(1, staging, int(output.device), stream)
        device.driver.memcpy_dtoh_async(output.host[:size], output.device, stream)
        # The next lines read what the GPU wrote: wait.
        stream.synchronize()
    except device.driver.Error as error:
        raise DevicePreprocessingError(
            f"{device.name} does not run {preprocessor.binary} ({error}); use --preprocess cpu"
        ) from error
    return output.host[:size]


def _textured(rows: int, columns: int) -> UInt8Image:
    """Draw a textured disc on black: every level, and tiles that are clipped; integers only."""
    down, across = np.mgrid[0:rows, 0:columns]
    texture = (down * 37 + across * 101 + down * across) % 256
    inside = (2 * down - rows) ** 2 * columns**2 + (2 * across - columns) ** 2 * rows**2
    disc = inside < (rows * columns) ** 2 * 3 // 4
    return np.asarray(np.where(disc, texture, texture // 40), np.uint8)
