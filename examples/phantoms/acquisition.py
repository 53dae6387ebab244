"""From the signal of a slice to the picture that a scanner would store."""

import numpy as np
from scipy import fft, ndimage

from examples.phantoms.anatomy import Field


def receive(image: Field, rng: np.random.Generator, noise: float, blur_px: float) -> Field:
    """Add the coil's uneven sensitivity, blur and Rician noise; (H, W), 0 to about 1."""
    height, width = image.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    a, b, c = rng.uniform(-0.10, 0.10, size=3)
    shaded = image * (1 + a * x + b * y + c * (x * x + y * y) - 0.04)
    blurred = ndimage.gaussian_filter(shaded, blur_px)
    # The noise is a little correlated, as that of an interpolated reconstruction.
    real, imaginary = (
        noise * 1.6 * ndimage.gaussian_filter(rng.normal(size=image.shape), 0.55) for _ in range(2)
    )
    return np.hypot(blurred + real, imaginary)


def move(image: Field, rng: np.random.Generator, shift_px: float, jumps: int) -> Field:
    """Blur and repeat the head along the rows, as motion between the lines of k-space does."""
    lines = image.shape[0]
    starts = np.sort(rng.integers(0, lines, size=jumps))
    place = np.searchsorted(starts, np.arange(lines), side="right")
    shifts = np.concatenate([[0.0], rng.normal(0, shift_px, size=jumps)])[place]
    sway = 0.5 * shift_px * np.sin(2 * np.pi * np.arange(lines) / 7.3)
    frequency = fft.fftshift(fft.fftfreq(lines))
    ramp = np.exp(-2j * np.pi * frequency * (shifts + sway))
    spectrum = fft.fftshift(fft.fft(image, axis=0), axes=0)
    return np.abs(fft.ifft(fft.ifftshift(spectrum * ramp[:, None], axes=0), axis=0))
