"""Random changes that imitate other scanners, sequences and windows.

All act on the resized slice in grey levels 0..255, before CLAHE, so that the network sees what
CLAHE makes of them. (Contrast changes after scaling to [-1, 1] would clip: they destroy the image.)
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from training.recipe.recipe import Augmentation

UInt8Image = npt.NDArray[np.uint8]
UInt8Images = npt.NDArray[np.uint8]
Donor = Callable[[np.random.Generator], UInt8Image]
_LEVELS = np.arange(256, dtype=np.float32)


def augment(
    pixels: UInt8Image,
    recipe: Augmentation,
    rng: np.random.Generator,
    donor: Donor | None = None,
) -> UInt8Image:
    """Draw one changed copy of a slice.

    Parameters
    ----------
    pixels : (H, W) uint8
        A resized slice.
    recipe : Augmentation
        What may be changed, and how much.
    rng : numpy.random.Generator
        The same state gives the same bytes.
    donor : callable, optional
        Draws a slice that may lend its histogram or spectrum; without it, none is lent.

    Returns
    -------
    (H, W) uint8
    """
    if rng.random() < recipe.reframe:
        pixels = _reframe(pixels, rng)
    pixels = _move(pixels, recipe, rng)
    if rng.random() < recipe.random_convolution:
        pixels = _random_convolution(pixels, rng)
    if donor is not None:
        lender = donor(rng)
        if rng.random() < recipe.spectrum:
            pixels = _swap_spectrum(pixels, lender, rng)
        if rng.random() < recipe.histogram:
            pixels = cv2.LUT(pixels, _matching_table(pixels, lender))
    pixels = cv2.LUT(pixels, _intensity_table(recipe, rng))
    values = pixels.astype(np.float32)
    if recipe.bias_field:
        values *= _bias_field(values.shape, recipe.bias_field, rng)
    if rng.random() < recipe.blur:
        values = _blur_or_sharpen(values, rng)
    if recipe.noise:
        sigma = rng.uniform(0, recipe.noise)
        values += rng.normal(0, sigma, values.shape).astype(np.float32)
    if rng.random() < recipe.cutout:
        _cut_out(values, rng)
    changed = _as_pixels(values)
    # Last, and without a draw where it is not wanted: recipes without it draw what they drew.
    if recipe.recompression and rng.random() < recipe.recompression:
        changed = _recompress(changed, rng)
    return changed


def head_box(pixels: UInt8Image) -> tuple[int, int, int, int]:
    """Find the head: (top, bottom, left, right) of what is not dark background.

    pixels : (H, W) uint8. An image without a dark background is its own box.
    """
    smooth = cv2.blur(pixels, (5, 5))
    bright = smooth > max(0.12 * np.percentile(smooth, 99), 8)
    # A few bright pixels, such as burnt-in letters, are no head.
    rows = np.flatnonzero(bright.mean(axis=1) > 0.05)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.05)
    if not len(rows) or not len(columns):
        return 0, pixels.shape[0], 0, pixels.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _reframe(pixels: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """Frame the head as another site would: from cropped into it to a wide margin."""
    height, width = pixels.shape
    top, bottom, left, right = head_box(pixels)
    margins = rng.uniform(-0.1, 0.25) + rng.uniform(-0.06, 0.06, 4)
    rows, columns = bottom - top, right - left
    source = np.array(
        [
            [left - margins[0] * columns, top - margins[1] * rows],
            [right + margins[2] * columns, top - margins[1] * rows],
            [left - margins[0] * columns, bottom + margins[3] * rows],
        ],
        np.float32,
    )
    target = np.array([[0, 0], [width, 0], [0, height]], np.float32)
    matrix = cv2.getAffineTransform(source, target)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _random_convolution(pixels: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """Pass the slice through a small network of random weights and blend it with itself.

    Shapes stay, contrasts between tissues become arbitrary and need not be monotone; after
    "global intensity non-linear augmentation", Ouyang et al., IEEE TMI 42 (2023).
    """
    brightest = max(float(np.percentile(pixels, 99.5)), 1.0)
    original = pixels.astype(np.float32) / brightest
    planes = [original]
    # What the network makes of pure background, to be taken off again: it stays dark.
    black = [np.zeros((9, 9), np.float32)]
    for outputs in (2, 2, 2, 1):
        size = int(rng.choice((1, 3)))
        kernels = rng.normal(0, 1, (outputs, len(planes), size, size)).astype(np.float32)
        shifts = rng.normal(0, 0.5, outputs)
        planes = _folded(planes, kernels, shifts)
        black = _folded(black, kernels, shifts)
    changed = np.abs(planes[0] - black[0][4, 4])
    changed /= max(float(np.percentile(changed, 99.5)), 1e-6)
    share = np.float32(rng.uniform(0, 1))
    return _as_pixels((share * changed + (1 - share) * original) * brightest)


def _folded(
    planes: list[npt.NDArray[np.float32]],
    kernels: npt.NDArray[np.float32],
    shifts: npt.NDArray[np.float64],
) -> list[npt.NDArray[np.float32]]:
    made = []
    for weights, shift in zip(kernels, shifts, strict=True):
        pairs = zip(planes, weights, strict=True)
        filtered = [
            cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_REPLICATE)
            for plane, kernel in pairs
        ]
        total = np.sum(filtered, axis=0) + np.float32(shift)
        # A fold, where a leaky ReLU would bend: more of the contrasts are not monotone.
        made.append(np.where(total > 0, total, np.float32(-0.4) * total))
    return made


def _swap_spectrum(pixels: UInt8Image, donor: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """Lend the donor's low-frequency amplitudes, keep the slice's phases.

    After "Fourier domain adaptation", Yang and Soatto, CVPR 2020.
    """
    spectrum, lent = np.fft.rfft2(pixels), np.fft.rfft2(donor)
    reach = rng.uniform(0.01, 0.08)
    vertical = np.abs(np.fft.fftfreq(pixels.shape[0]))[:, None] < reach
    low = vertical & (np.fft.rfftfreq(pixels.shape[1])[None, :] < reach)
    share = rng.uniform(0.3, 1)
    amplitude = np.abs(spectrum)
    wanted = np.where(low, share * np.abs(lent) + (1 - share) * amplitude, amplitude)
    changed = np.fft.irfft2(spectrum * (wanted / np.maximum(amplitude, 1e-6)), pixels.shape)
    return _as_pixels(changed)


def _matching_table(pixels: UInt8Image, donor: UInt8Image) -> UInt8Image:
    """Map the slice's histogram to the donor's."""
    own = np.cumsum(np.bincount(pixels.reshape(-1), minlength=256)) / pixels.size
    wanted = np.cumsum(np.bincount(donor.reshape(-1), minlength=256)) / donor.size
    return np.searchsorted(wanted, own - 1e-9).clip(0, 255).astype(np.uint8)


def _move(pixels: UInt8Image, recipe: Augmentation, rng: np.random.Generator) -> UInt8Image:
    height, width = pixels.shape
    mirror_x = -1 if rng.random() < recipe.horizontal_flip else 1
    mirror_y = -1 if rng.random() < recipe.vertical_flip else 1
    angle = np.deg2rad(rng.uniform(-1, 1) * recipe.rotation_degrees)
    scale = np.exp(rng.uniform(-1, 1) * np.log1p(recipe.zoom))
    stretch = np.exp(rng.uniform(-1, 1) * np.log1p(recipe.zoom / 3))
    shift = rng.uniform(-1, 1, 2) * recipe.shift * (width, height)
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    linear = turn @ np.diag([mirror_x * scale * stretch, mirror_y * scale / stretch])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = centre - linear @ centre + shift
    matrix = np.column_stack([linear, offset])
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)


def _intensity_table(recipe: Augmentation, rng: np.random.Generator) -> UInt8Image:
    """One look-up table for window, gamma, curve and inversion."""
    low, high = rng.uniform(0, 1, 2) * recipe.window
    level = np.clip((_LEVELS / 255 - low) / (1 - low - high), 0, 1)
    level = level ** np.exp(rng.uniform(-1, 1) * np.log(recipe.gamma))
    if rng.random() < recipe.curve:
        knots = np.sort(rng.uniform(0, 1, 4))
        level = np.interp(level, np.linspace(0, 1, 6), [0, *knots, 1])
    if rng.random() < recipe.inversion:
        # Background stays dark, as it does between T1 and T2: only tissue is inverted.
        tissue = rng.uniform(0.05, 0.2)
        level = np.interp(level, [0, tissue, 1], [0, 1, tissue])
    return np.rint(level * 255).astype(np.uint8)


def _bias_field(
    shape: tuple[int, ...], strength: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    height, width = shape
    coarse = rng.uniform(-strength, strength, (3, 3)).astype(np.float32)
    return np.exp(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def _blur_or_sharpen(
    values: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    smooth = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.5, 2.0))
    if rng.random() < 0.5:
        return smooth
    return values + rng.uniform(0.3, 1.5) * (values - smooth)


def _cut_out(values: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    height, width = values.shape
    box_height = int(rng.uniform(0.1, 0.34) * height)
    box_width = int(rng.uniform(0.1, 0.34) * width)
    top = rng.integers(0, height - box_height + 1)
    left = rng.integers(0, width - box_width + 1)
    values[top : top + box_height, left : left + box_width] = 0


def _recompress(pixels: UInt8Image, rng: np.random.Generator) -> UInt8Image:
    """Reduce, compress as JPEG, restore: a picture that has been on web pages."""
    height, width = pixels.shape
    share = rng.uniform(0.55, 1.0)
    reduced = (max(round(width * share), 8), max(round(height * share), 8))
    small = cv2.resize(pixels, reduced, interpolation=cv2.INTER_AREA)
    quality = int(rng.integers(30, 91))
    _, stream = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(stream, cv2.IMREAD_GRAYSCALE)
    return np.asarray(cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR))


def _as_pixels(values: npt.NDArray[np.floating]) -> UInt8Image:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)
