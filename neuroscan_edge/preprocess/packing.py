"""Many slices of different sizes as one run of bytes: one upload a batch. Pure functions.

A packed batch is a table of `SLICE`, one entry a slice, and then the pixels of each, row by row,
with nothing between. The kernels read it as ``Slice`` in ``kernels/resize_clahe.cu``.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError, SpecError
from neuroscan_edge.preprocess.reference import UInt8Image
from neuroscan_edge.spec import Preprocessing

SLICE = np.dtype(
    [("offset", "<u8"), ("height", "<i4"), ("width", "<i4"), ("scale_y", "<f8"), ("scale_x", "<f8")]
)
"""Where a slice's pixels begin, its sides in pixels, and source pixels per output pixel."""

MAX_SOURCE_PIXELS = 1 << 24
"""Largest slice in pixels: float32 tells no more positions apart, and offsets stay in 32 bits."""


def check_slice(pixels: UInt8Image) -> None:
    """Refuse what the kernels cannot read.

    pixels : (H, W) uint8.

    Raises
    ------
    CorruptScanError
        If there is no pixel.
    ScanTooLargeError
        If there are more than `MAX_SOURCE_PIXELS`.
    SpecError
        If it is no (H, W) uint8 array.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise SpecError(f"a slice is {pixels.dtype} {pixels.shape}; give uint8 (H, W)")
    if not pixels.size:
        raise CorruptScanError(
            f"the image is {pixels.shape[0]}x{pixels.shape[1]} and has no pixel; export it again"
        )
    if pixels.size > MAX_SOURCE_PIXELS:
        raise ScanTooLargeError(
            f"the image has {pixels.size} pixels; the GPU takes at most {MAX_SOURCE_PIXELS}"
        )


def packed_bytes(slices: Sequence[UInt8Image]) -> int:
    """Size of the packed batch in bytes."""
    return len(slices) * SLICE.itemsize + sum(each.size for each in slices)


def pack(
    slices: Sequence[UInt8Image], spec: Preprocessing, into: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Write a packed batch.

    Parameters
    ----------
    slices : sequence of (H, W) uint8
        Of any sizes, checked by `check_slice`; they need not be contiguous.
    spec : Preprocessing
        For the size that each is resized to.
    into : (bytes,) uint8
        At least `packed_bytes` long.

    Returns
    -------
    (packed_bytes,) uint8
        The part of `into` that was written.
    """
    table = np.empty(len(slices), SLICE)
    end = table.nbytes
    for index, pixels in enumerate(slices):
        height, width = pixels.shape
        # As the reference divides: the quotient the other way round may differ in the last bit.
        scale_y = 1.0 / (np.float64(spec.height) / height)
        scale_x = 1.0 / (np.float64(spec.width) / width)
        table[index] = (end, height, width, scale_y, scale_x)
        into[end : end + pixels.size].reshape(pixels.shape)[...] = pixels
        end += pixels.size
    into[: table.nbytes] = table.view(np.uint8)
    return into[:end]


def pieces(slices: Sequence[UInt8Image], most: int, limit_bytes: int) -> Iterator[slice]:
    """Cut a batch where a piece would exceed `most` slices or `limit_bytes` packed bytes.

    A single slice may exceed the bytes: it cannot be cut.
    """
    start, size = 0, 0
    for index, pixels in enumerate(slices):
        added = packed_bytes([pixels])
        if index > start and (index - start == most or size + added > limit_bytes):
            yield slice(start, index)
            start, size = index, 0
        size += added
    if start < len(slices):
        yield slice(start, len(slices))
