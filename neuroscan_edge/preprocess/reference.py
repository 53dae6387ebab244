"""The preprocessing oracle: NumPy, readable, and the definition that fast paths must equal.

The arithmetic is that of OpenCV's 8-bit single-channel `resize` and `CLAHE` on x86-64 (modules
imgproc: resize.cpp, clahe.cpp), restated from their behaviour. It is integer or single-rounded
float32 throughout: a fused multiply-add anywhere changes grey levels, and CLAHE turns one grey
level of resize error into as many as 22.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.spec import Interpolation, Preprocessing

UInt8Image = npt.NDArray[np.uint8]

_COEFFICIENT_BITS = 11
_COEFFICIENT_ONE = 1 << _COEFFICIENT_BITS
_BINS = 256


def preprocess(pixels: UInt8Image, spec: Preprocessing) -> UInt8Image:
    """Resize and equalise one slice.

    pixels : (H, W) uint8. Returns (spec.height, spec.width) uint8.
    """
    resized = resize(pixels, spec.height, spec.width, spec.interpolation)
    return clahe(resized, spec.clip_limit, spec.tile_grid)


def resize(pixels: UInt8Image, height: int, width: int, interpolation: Interpolation) -> UInt8Image:
    """Resize as ``cv2.resize(pixels, (width, height), interpolation=...)`` does on x86-64.

    pixels : (H, W) uint8. Returns (height, width) uint8. Equal sizes are copied.
    """
    source_height, source_width = pixels.shape
    if (source_height, source_width) == (height, width):
        return np.array(pixels)
    if interpolation is Interpolation.NEAREST:
        rows = _nearest_indices(source_height, height)
        columns = _nearest_indices(source_width, width)
        return np.asarray(pixels[rows[:, None], columns[None, :]])
    if (source_height, source_width) == (2 * height, 2 * width):
        return _halve(pixels)
    return _resize_linear(pixels, height, width)


def clahe(pixels: UInt8Image, clip_limit: float, tile_grid: tuple[int, int]) -> UInt8Image:
    """Equalise as ``cv2.createCLAHE(clip_limit, tile_grid).apply(pixels)`` does.

    pixels : (H, W) uint8. Returns (H, W) uint8. `tile_grid` is (columns, rows).
    """
    columns, rows = tile_grid
    padded = _pad_to_tiles(pixels, columns, rows)
    tile_height, tile_width = padded.shape[0] // rows, padded.shape[1] // columns
    tiles = padded.reshape(rows, tile_height, columns, tile_width).swapaxes(1, 2)
    luts = np.stack([[_tile_lut(tile, clip_limit) for tile in row] for row in tiles])
    return _blend(pixels, luts, tile_height, tile_width)


def _to_uint8(values: npt.NDArray[Any]) -> UInt8Image:
    return np.asarray(np.clip(values, 0, 255).astype(np.uint8))


def _nearest_indices(source: int, target: int) -> npt.NDArray[np.intp]:
    scale = 1.0 / (np.float64(target) / source)
    indices = np.floor(np.arange(target) * scale).astype(np.intp)
    return np.asarray(np.minimum(indices, source - 1))


def _halve(pixels: UInt8Image) -> UInt8Image:
    # Exactly half size on both axes: OpenCV switches to a 2x2 box, whatever was asked for.
    wide = pixels.astype(np.uint16)
    total = wide[0::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 0::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def _linear_taps(
    source: int, target: int, *, clamp_fraction: bool
) -> tuple[
    npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    scale = 1.0 / (np.float64(target) / source)
    position = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    start = np.floor(position)
    fraction = position - start
    index = start.astype(np.intp)
    if clamp_fraction:
        outside = (index < 0) | (index >= source - 1)
        fraction = np.where(outside, np.float32(0), fraction)
        index = np.clip(index, 0, source - 1)
    # The vertical pass clamps the rows it reads but keeps the fraction.
    first = np.clip(index, 0, source - 1)
    second = np.clip(index + 1, 0, source - 1)
    one = np.float32(1)
    weight_first = np.rint((one - fraction) * np.float32(_COEFFICIENT_ONE)).astype(np.int64)
    weight_second = np.rint(fraction * np.float32(_COEFFICIENT_ONE)).astype(np.int64)
    return first, second, weight_first, weight_second


def _resize_linear(pixels: UInt8Image, height: int, width: int) -> UInt8Image:
    left, right, a0, a1 = _linear_taps(pixels.shape[1], width, clamp_fraction=True)
    top, bottom, b0, b1 = _linear_taps(pixels.shape[0], height, clamp_fraction=False)
    wide = pixels.astype(np.int64)
    horizontal = wide[:, left] * a0 + wide[:, right] * a1
    upper = (b0[:, None] * (horizontal[top] >> 4)) >> 16
    lower = (b1[:, None] * (horizontal[bottom] >> 4)) >> 16
    # Two truncating halves, not one rounded sum: that would differ on 6 % of pixels.
    return _to_uint8((upper + lower + 2) >> 2)


def _pad_to_tiles(pixels: UInt8Image, columns: int, rows: int) -> UInt8Image:
    height, width = pixels.shape
    if height % rows == 0 and width % columns == 0:
        return pixels
    # As soon as one side does not divide, the other is padded too, by a whole `rows` or `columns`.
    padding = ((0, rows - height % rows), (0, columns - width % columns))
    return np.pad(pixels, padding, mode="reflect")


def _tile_lut(tile: UInt8Image, clip_limit: float) -> UInt8Image:
    area = tile.size
    histogram = np.bincount(tile.reshape(-1), minlength=_BINS).astype(np.int64)
    limit = max(int(clip_limit * area / _BINS), 1)
    excess = int(np.maximum(histogram - limit, 0).sum())
    histogram = np.minimum(histogram, limit) + excess // _BINS
    residual = excess % _BINS
    if residual:
        step = max(_BINS // residual, 1)
        histogram[np.arange(0, _BINS, step)[:residual]] += 1
    scale = np.float32(_BINS - 1) / np.float32(area)
    cumulative = np.cumsum(histogram).astype(np.float32)
    return _to_uint8(np.rint(cumulative * scale))


def _tile_taps(
    size: int, tile: int, tiles: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    inverse = np.float32(1) / np.float32(tile)
    position = np.arange(size, dtype=np.float32) * inverse - np.float32(0.5)
    start = np.floor(position)
    fraction = (position - start).astype(np.float32)
    index = start.astype(np.intp)
    return np.maximum(index, 0), np.minimum(index + 1, tiles - 1), fraction


def _blend(pixels: UInt8Image, luts: UInt8Image, tile_height: int, tile_width: int) -> UInt8Image:
    height, width = pixels.shape
    top, bottom, ya = _tile_taps(height, tile_height, luts.shape[0])
    left, right, xa = _tile_taps(width, tile_width, luts.shape[1])
    one = np.float32(1)
    xa, xa1 = xa[None, :], one - xa[None, :]
    ya, ya1 = ya[:, None], one - ya[:, None]

    def mapped(rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return luts[rows[:, None], cols[None, :], pixels].astype(np.float32)

    upper = mapped(top, left) * xa1 + mapped(top, right) * xa
    lower = mapped(bottom, left) * xa1 + mapped(bottom, right) * xa
    # NumPy rounds after every operation; keep it so: no float64, no fused form of this line.
    blended = upper * ya1 + lower * ya
    return _to_uint8(np.rint(blended))
