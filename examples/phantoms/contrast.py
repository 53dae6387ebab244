"""Signals of T1, contrast T1, T2 and FLAIR from the tissue of a head."""

from enum import Enum

import numpy as np
from scipy import ndimage

from examples.phantoms.anatomy import (
    FLUID,
    GLOBE_RADIUS_MM,
    GLOBES_MM,
    GREY,
    WHITE,
    Field,
    Tissue,
    Waves,
    smoothstep,
)


class Sequence(Enum):
    """Kinds of MR contrast."""

    T1 = "T1"
    T1C = "T1 with contrast medium"
    T2 = "T2"
    FLAIR = "FLAIR"


# Signal of the brain over that of the template, and of the surroundings over their T1 signal. The
# curves of T2 and FLAIR fall from grey to white matter; that of FLAIR suppresses fluid.
_BRAIN = {
    Sequence.T1: ((0, FLUID, 0.45, GREY, WHITE), (0.05, 0.10, 0.24, 0.40, 0.53)),
    Sequence.T1C: ((0, FLUID, 0.45, GREY, WHITE), (0.04, 0.08, 0.21, 0.34, 0.42)),
    Sequence.T2: ((0, FLUID, 0.42, 0.54, GREY, WHITE), (1.0, 0.95, 0.72, 0.55, 0.46, 0.30)),
    Sequence.FLAIR: ((0, FLUID, 0.40, 0.52, GREY, WHITE), (0.04, 0.05, 0.22, 0.42, 0.52, 0.38)),
}
_SURROUNDINGS = {
    Sequence.T1: ((0, 0.1, 0.45, 1), (0, 0.06, 0.36, 0.95)),
    Sequence.T1C: ((0, 0.1, 0.45, 1), (0, 0.06, 0.38, 0.95)),
    Sequence.T2: ((0, 0.1, 0.45, 1), (0, 0.04, 0.20, 0.62)),
    Sequence.FLAIR: ((0, 0.1, 0.45, 1), (0, 0.04, 0.22, 0.66)),
}
_FLUID = {Sequence.T1: 0.10, Sequence.T1C: 0.08, Sequence.T2: 0.92, Sequence.FLAIR: 0.05}
_VITREOUS = {Sequence.T1: 0.12, Sequence.T1C: 0.12, Sequence.T2: 0.95, Sequence.FLAIR: 0.10}
ENHANCED = 0.72


def sharpen(image: Field, sigma_px: float, amount: float) -> Field:
    """Undo some of the blur of averaging."""
    return image + amount * (image - ndimage.gaussian_filter(image, sigma_px))


def signal(tissue: Tissue, sequence: Sequence, mm_per_px: float, seed: int) -> Field:
    """Signal of a head without a lesion, (H, W), fat about 1 on T1."""
    brain = np.interp(sharpen(tissue.brain, 1.6 / mm_per_px, 0.7), *_BRAIN[sequence])
    outside = np.clip(sharpen(tissue.outside, 2.5 / mm_per_px, 0.6), 0, 1.05)
    around = np.interp(outside, *_SURROUNDINGS[sequence])
    around = _with_globes(around, tissue.points_mm, sequence)
    rim = smoothstep(tissue.height_mm, 2.4, 0.8) * smoothstep(tissue.points_mm[..., 2], -12, 0)
    around = around * (1 - rim) + _FLUID[sequence] * rim
    image = around * (1 - tissue.inside) + brain * tissue.inside
    if sequence is Sequence.T1C:
        share = enhancement(tissue, np.random.default_rng([seed, 2]))
        image = image * (1 - share) + ENHANCED * share
    return image


def enhancement(tissue: Tissue, rng: np.random.Generator) -> Field:
    """Share of blood and dura, 0 to 1: what contrast medium brightens in every head."""
    x, y, z = np.moveaxis(tissue.points_mm, -1, 0)
    height = tissue.height_mm
    fluid = smoothstep(tissue.brain, 0.60, 0.40)
    sagittal = np.exp(-((x / 3.0) ** 2)) * smoothstep(height, -5, -1) * smoothstep(height, 5, 3)
    lowest = np.interp(y, (-110, 0, 60), (-22, -5, 12))
    sagittal *= smoothstep(z - lowest, 0, 10)
    transverse = np.exp(-(((z + 20 + 0.1 * (y + 100)) / 3.5) ** 2)) * smoothstep(-y, 55, 70)
    transverse *= smoothstep(height, -2, 0) * smoothstep(height, 5, 3)
    falx = 0.45 * np.exp(-((x / 0.9) ** 2)) * fluid * tissue.inside * smoothstep(z, 5, 25)
    dura = 0.30 * np.exp(-(((height - 1.2) / 0.9) ** 2)) * smoothstep(z, 0, 20)
    # Veins of the surface: threads of noise in the sulci.
    threads = np.abs(Waves.draw(rng, 16).at(tissue.points_mm)) + 0.4 * np.abs(
        Waves.draw(rng, 9).at(tissue.points_mm)
    )
    veins = 0.75 * smoothstep(threads, 0.34, 0.12) * fluid * smoothstep(-height, 9, 3)
    veins *= tissue.inside
    plexus = np.zeros_like(x)
    for side in (-1, 1):
        place = ((x - 23 * side) / 4) ** 2 + ((y + 38) / 7) ** 2 + ((z - 8) / 8) ** 2
        plexus = np.maximum(plexus, 0.7 * fluid * np.exp(-place))
    gland = 0.75 * np.exp(-((x / 6.0) ** 4) - ((y - 3) / 4.5) ** 4 - ((z + 32.5) / 3.2) ** 4)
    stalk = 0.6 * np.exp(-((x / 1.3) ** 2) - ((y - 1) / 1.5) ** 2) * smoothstep(z, -31, -28)
    stalk *= smoothstep(z, -20, -23)
    return np.clip(
        np.max([sagittal, transverse, falx, dura, veins, plexus, gland, stalk], axis=0), 0, 1
    )


def _with_globes(around: Field, points_mm: Field, sequence: Sequence) -> Field:
    for centre in GLOBES_MM:
        distance = np.linalg.norm(points_mm - np.array(centre), axis=-1)
        share = smoothstep(distance, GLOBE_RADIUS_MM - 0.3, GLOBE_RADIUS_MM - 1.5)
        around = around * (1 - share) + _VITREOUS[sequence] * share
        offset = (points_mm - np.array(centre)) / np.array((4.5, 2.2, 4.5)) - np.array((0, 4.0, 0))
        lens = smoothstep(np.linalg.norm(offset, axis=-1), 1.1, 0.9)
        around = around * (1 - lens) + 0.25 * lens
    return around
