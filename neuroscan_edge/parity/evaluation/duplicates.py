"""Near-duplicates: slices that perceptual hashing cannot tell apart.

The published split of the public data set leaks: many test images have a near-duplicate in
training. The same measure keeps duplicates on one side of the validation split and names the
leak-free tests.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from neuroscan_edge.system.optional import require

DEFAULT_DISTANCE = 4
"""Bits of 64. Beyond 6, different patients' slices begin to chain into one group."""
MAX_DISTANCE = 16
"""Unrelated hashes lie 32 bits apart; beyond half of that, everything would be a duplicate."""
ALIKE_CORRELATION = 0.95
"""From here on two slices show one image.

In the public set, near-duplicates of different labels are either one image (0.999 and more) or two
patients (0.83 at most).
"""
PairBlock = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.uint8]]

_BLOCK = 256
_COMPARED_PX = 64


def perceptual_hashes(slices: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint64]:
    """Hash each slice to 64 bits (DCT hash, `imagehash.phash`).

    slices : N arrays (H, W) uint8. Returns (N,) uint64.
    """
    imagehash = require("imagehash", extra="parity", why="to find near-duplicates")
    bits = [imagehash.phash(Image.fromarray(pixels)).hash.reshape(-1) for pixels in slices]
    return np.packbits(np.array(bits, bool).reshape(-1, 64), axis=1).view(np.uint64).reshape(-1)


def reduced(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reduce a slice to what `correlation` compares, (H, W) uint8 to (64, 64) uint8."""
    size = (_COMPARED_PX, _COMPARED_PX)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def correlation(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Pearson's correlation of two reduced slices, -1 to 1; of constant ones 1 if equal, else 0.

    Where hashes can agree by chance, it tells copies from different slices.
    """
    if np.array_equal(first, second):
        return 1.0
    one, other = (pixels - pixels.mean() for pixels in (first, second))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale else 0.0


def distances(
    first: npt.NDArray[np.uint64], second: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint8]:
    """Hamming distance of every pair, (N,) and (M,) uint64 to (N, M) uint8."""
    differing: npt.NDArray[np.uint8] = np.bitwise_count(first[:, None] ^ second[None, :])
    return differing


def near_pair_blocks(hashes: npt.NDArray[np.uint64], distance: int) -> Iterator[PairBlock]:
    """Yield what `near_pairs` lists, in blocks; one takes memory by the number of hashes."""
    for start in range(0, len(hashes), _BLOCK):
        # Column 0 is position `start`, so that k=1 leaves out each slice's pair with itself.
        bits = distances(hashes[start : start + _BLOCK], hashes[start:])
        rows, columns = np.nonzero(np.triu(bits <= distance, k=1))
        yield rows + start, columns + start, bits[rows, columns]


def near_pairs(hashes: npt.NDArray[np.uint64], distance: int) -> PairBlock:
    """List the pairs of hashes within `distance` bits.

    Returns three arrays of one length: the positions of the first and of the second, the first
    being the lower, in order, and their distances.
    """
    blocks = list(near_pair_blocks(hashes, distance))
    if not blocks:
        none = np.zeros(0, np.intp)
        return none, none, np.zeros(0, np.uint8)
    first, second, bits = (np.concatenate(column) for column in zip(*blocks, strict=True))
    return first, second, bits


def nearest_distances(
    tests: npt.NDArray[np.uint64], training: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint8]:
    """Bits between each test hash and the nearest training hash, of which there is at least one.

    Returns (N,) uint8.
    """
    blocks = [
        distances(tests[start : start + _BLOCK], training).min(axis=1)
        for start in range(0, len(tests), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, np.uint8), *blocks])


def duplicate_groups(hashes: npt.NDArray[np.uint64], distance: int) -> npt.NDArray[np.int32]:
    """Label each hash with its group, connected by pairs within `distance` bits; (N,) int32."""
    why = "to group near-duplicates"
    sparse = require("scipy.sparse", extra="parity", why=why)
    csgraph = require("scipy.sparse.csgraph", extra="parity", why=why)
    # Equal hashes once: a thousand blank slices would make half a million pairs.
    _, places, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    # By first place, for groups are numbered in the order in which they begin.
    order = np.argsort(places)
    first, second, _ = near_pairs(hashes[places[order]], distance)
    shape = (len(order), len(order))
    near = sparse.csr_array((np.ones(len(first), bool), (first, second)), shape=shape)
    _, groups = csgraph.connected_components(near, directed=False)
    return np.asarray(groups[np.argsort(order)[inverse]], np.int32)


def without_duplicates_in(
    tests: npt.NDArray[np.uint64], training: npt.NDArray[np.uint64], distance: int
) -> npt.NDArray[np.bool_]:
    """Tell which test hashes have no training hash within `distance` bits; (N,) bool."""
    clean = [
        ~(distances(tests[start : start + _BLOCK], training) <= distance).any(axis=1)
        for start in range(0, len(tests), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, bool), *clean])
