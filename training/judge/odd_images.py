"""Images that no slice classifier should answer on, made from noise, photographs and slices."""

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

_TILES = 4
_ZOOM = 4


def odd_images(slices: UInt8, count: int, seed: int = 0) -> Mapping[str, UInt8]:
    """Make sets of odd images by name, each (count, H, W) uint8.

    Parameters
    ----------
    slices : (N, H, W) uint8
        Resized slices, from which some sets are made.
    count : int
        Images a set.
    seed : int
        Of everything drawn.
    """
    rng = np.random.default_rng(seed)
    height, width = slices.shape[1:]
    shape = (count, height, width)
    chosen = slices[rng.choice(len(slices), count, replace=count > len(slices))]
    return {
        "noise, uniform": rng.integers(0, 256, shape, np.uint8),
        "noise, Gaussian": np.clip(rng.normal(128, 40, shape), 0, 255).astype(np.uint8),
        "noise, smooth": np.stack([_smooth(height, width, rng) for _ in range(count)]),
        "natural photographs": natural_textures(count, (height, width), rng),
        "slices, inverted": 255 - chosen,
        "slices, turned by 90 degrees": np.ascontiguousarray(np.rot90(chosen, axes=(1, 2))),
        "slices, turned by 180 degrees": np.ascontiguousarray(chosen[:, ::-1, ::-1]),
        "slices, tiles in another order": np.stack([_shuffled(each, rng) for each in chosen]),
        "slices, middle four times enlarged": np.stack([_enlarged(each) for each in chosen]),
    }


def natural_textures(count: int, shape: tuple[int, int], rng: np.random.Generator) -> UInt8:
    """Crop the photographs that scikit-learn brings, a temple and a flower; (count, H, W) uint8."""
    from sklearn.datasets import load_sample_images

    photographs = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in load_sample_images().images]
    crops = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(rng.integers(100, min(photograph.shape) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in photograph.shape)
        crop = photograph[top : top + side, left : left + side]
        crops.append(cv2.resize(crop, shape[::-1], interpolation=cv2.INTER_LINEAR))
    return np.stack(crops)


def _smooth(height: int, width: int, rng: np.random.Generator) -> UInt8:
    blurred = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), rng.uniform(2, 20))
    low, high = blurred.min(), blurred.max()
    return np.rint(255 * (blurred - low) / (high - low)).astype(np.uint8)


def _shuffled(pixels: UInt8, rng: np.random.Generator) -> UInt8:
    height, width = (side // _TILES for side in pixels.shape)
    tiles = pixels[: height * _TILES, : width * _TILES].reshape(_TILES, height, _TILES, width)
    tiles = tiles.swapaxes(1, 2).reshape(-1, height, width)[rng.permutation(_TILES**2)]
    again = tiles.reshape(_TILES, _TILES, height, width).swapaxes(1, 2)
    whole = again.reshape(height * _TILES, width * _TILES)
    return np.asarray(cv2.resize(whole, pixels.shape[::-1], interpolation=cv2.INTER_NEAREST))


def _enlarged(pixels: UInt8) -> UInt8:
    height, width = pixels.shape
    top, left = (side * (_ZOOM - 1) // (2 * _ZOOM) for side in pixels.shape)
    middle = pixels[top : top + height // _ZOOM, left : left + width // _ZOOM]
    return np.asarray(cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR))
