"""Fingerprints that find one image again, mirrored and turned copies included."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

FINGERPRINT_BITS = 255
STRICT_DISTANCE = 20
"""Bits of 255 within which two slices count as near-duplicates."""
_SIDE_PX = 64
_KEPT = 16


def fingerprints(slices: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint64]:
    """Fingerprint each slice to 255 bits.

    A bit is set where one of the 16x16 lowest DCT coefficients of the slice at 64x64 pixels,
    without the mean, exceeds their median; after imagehash's ``phash`` with a larger block.

    slices : N arrays (H, W) uint8. Returns (N, 4) uint64.
    """
    return np.stack([_fingerprint(_small(pixels)) for pixels in slices])


def variants(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Fingerprint the eight mirrored and turned copies of a slice: (H, W) uint8 to (8, 4)."""
    small = _small(pixels)
    return np.stack(
        [
            _fingerprint(np.rot90(copy, turns))
            for copy in (small, small[:, ::-1])
            for turns in range(4)
        ]
    )


def nearest(
    tests: Sequence[npt.NDArray[np.uint8]], training: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Bits between each test slice, mirrored and turned, and its nearest training slice.

    Parameters
    ----------
    tests : sequence of (H, W) uint8
        M slices.
    training : (N, 4) uint64
        Fingerprints of at least one training slice.

    Returns
    -------
    (M,) int64
    """
    found = []
    for pixels in tests:
        lowest = FINGERPRINT_BITS
        for copy in variants(pixels):
            bits = np.bitwise_count(training ^ copy).sum(axis=1, dtype=np.int64)
            lowest = min(lowest, int(bits.min()))
        found.append(lowest)
    return np.array(found, np.int64)


def _small(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    resized = cv2.resize(pixels, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


def _fingerprint(small: npt.NDArray[np.float32]) -> npt.NDArray[np.uint64]:
    low = cv2.dct(np.ascontiguousarray(small))[:_KEPT, :_KEPT].reshape(-1)[1:]
    bits = np.append(low > np.median(low), False)
    return np.packbits(bits).view(np.uint64)
