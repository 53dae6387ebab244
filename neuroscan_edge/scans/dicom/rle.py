"""DICOM's run-length encoding (PS3.5, annex G), of one greyscale frame.

Other decoders write as long as the stream says: 2 bytes can say 128. This one stops at the size
that the header declares.
"""

import struct

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError

_HEADER_BYTES = 64
_MOST_SEGMENTS = 15


def begins(data: bytes, segments: int) -> bool:
    """Whether bytes begin as a frame of so many segments does: with their offsets."""
    if len(data) < _HEADER_BYTES:
        return False
    count, *offsets = struct.unpack_from("<16I", data)
    if count != segments or count > _MOST_SEGMENTS:
        return False
    starts = offsets[:count]
    ascending = all(low < high for low, high in zip(starts, starts[1:], strict=False))
    return starts[0] == _HEADER_BYTES and ascending and starts[-1] < len(data)


def decode(stream: bytes, pixels: int, bytes_per_pixel: int) -> npt.NDArray[np.uint8]:
    """Decode a frame of so many pixels.

    Returns
    -------
    (pixels, bytes_per_pixel) uint8
        The bytes of each pixel, least significant first.

    Raises
    ------
    CorruptScanError
        If the stream is cut, or not of a frame like that.
    """
    if len(stream) < _HEADER_BYTES:
        raise _damaged()
    count, *offsets = struct.unpack_from("<16I", stream)
    starts = offsets[:count] if count <= _MOST_SEGMENTS else []
    if len(starts) != bytes_per_pixel:
        raise _damaged()
    ends = [*starts[1:], len(stream)]
    planes = np.empty((pixels, bytes_per_pixel), np.uint8)
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not _HEADER_BYTES <= start <= end <= len(stream):
            raise _damaged()
        # The most significant byte comes first.
        planes[:, bytes_per_pixel - 1 - index] = _segment(stream[start:end], pixels)
    return planes


def _segment(data: bytes, wanted: int) -> npt.NDArray[np.uint8]:
    decoded = bytearray()
    at = 0
    while len(decoded) < wanted and at + 1 < len(data):
        control = data[at]
        if control < 128:
            decoded += data[at + 1 : at + 2 + control]
            at += 2 + control
        elif control > 128:
            decoded += data[at + 1 : at + 2] * (257 - control)
            at += 2
        else:
            at += 1
    if len(decoded) < wanted:
        raise _damaged()
    return np.frombuffer(bytes(decoded[:wanted]), np.uint8)


def _damaged() -> CorruptScanError:
    return CorruptScanError("the run-length encoded frame is damaged; export the image again")
