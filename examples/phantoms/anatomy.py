"""A head of averaged anatomy: which tissue lies at which point.

Points are (..., 3) float64 in millimetres of the ICBM 2009a symmetric template: x to the right,
y to the front, z up. The brain is that template (nilearn ships it); face and neck are
``average_head.nii.gz``; skull and scalp of the vault are shells around the brain. Each seed bends
this head a little, so that no two examples show the same one.
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

Field = npt.NDArray[np.float64]

BRAIN_FILE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
HEAD_FILE = Path(__file__).with_name("average_head.nii.gz")

# Signals of the template: fluid, grey matter, white matter (of 1).
FLUID, GREY, WHITE = 0.24, 0.65, 0.86
# T1 signals outside the brain (fat is 1).
BONE, MARROW, SKIN, MUSCLE = 0.05, 0.42, 0.55, 0.42

GLOBES_MM = ((-32.0, 61.0, -41.0), (32.0, 61.0, -41.0))
GLOBE_RADIUS_MM = 12.5
SPAN_MM = 20.0
# Height outside the template.
FAR_MM = 99.0


@dataclass(frozen=True, slots=True)
class Volume:
    """An image in millimetres of the template; 0 outside.

    Parameters
    ----------
    values : (X, Y, Z) float32
    origin_mm : (3,) float64
        Position of the first voxel.
    step_mm : float
        Voxel size.
    """

    values: npt.NDArray[np.float32]
    origin_mm: Field
    step_mm: float
    outside: float = 0.0

    def at(self, points_mm: Field) -> Field:
        """Values at (..., 3) points, trilinear."""
        voxels = np.moveaxis((points_mm - self.origin_mm) / self.step_mm, -1, 0)
        return ndimage.map_coordinates(
            self.values, voxels, output=np.float64, order=1, cval=self.outside
        )


@dataclass(frozen=True, slots=True)
class Waves:
    """Smooth noise of mean 0 and deviation 1: a sum of plane waves of about one length."""

    vectors: Field
    phases: Field

    @classmethod
    def draw(cls, rng: np.random.Generator, length_mm: float, count: int = 14) -> "Waves":
        """Draw waves whose lengths lie within a third of ``length_mm``."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = length_mm * rng.uniform(0.7, 1.4, size=(count, 1))
        return cls(2 * np.pi * directions / lengths, rng.uniform(0, 2 * np.pi, size=count))

    def at(self, points_mm: Field) -> Field:
        """Values at (..., 3) points."""
        turns = points_mm @ self.vectors.T + self.phases
        return np.cos(turns).sum(axis=-1) * np.sqrt(2 / len(self.phases))


@dataclass(frozen=True, slots=True)
class Tissue:
    """What lies at the points of a slice; every field has the shape of the slice.

    Parameters
    ----------
    brain : float64
        Signal of the template: about FLUID, GREY and WHITE.
    outside : float64
        T1 signal of everything around the brain; fat is 1.
    inside : float64
        Share of the brain, 0 to 1.
    height_mm : float64
        Distance from the brain's surface; negative inside.
    points_mm : (..., 3) float64
        Where in the template each point lies.
    """

    brain: Field
    outside: Field
    inside: Field
    height_mm: Field
    points_mm: Field


def smoothstep(values: Field, low: float, high: float) -> Field:
    """Rise from 0 at ``low`` to 1 at ``high`` (or fall, if ``high`` is less)."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


@cache
def _volumes() -> tuple[Volume, Volume, Volume, Volume]:
    """Read brain and head; returns brain, heights above brain and vault in mm, head."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise SystemExit('nilearn is missing: run "pip install -e .[examples]" first')
    template = nib.load(Path(spec.origin).parent / "datasets" / "data" / BRAIN_FILE)
    brain = np.asarray(template.dataobj, dtype=np.float32) / 255
    origin = np.asarray(template.affine[:3, 3], dtype=np.float64)
    height = _height_mm(ndimage.binary_fill_holes(brain > 0))
    # The skull spans the fissures of the brain: grow and shrink again.
    vault = _height_mm(_height_mm(brain > 0) < SPAN_MM) + SPAN_MM
    # Fill the rim of the template, so that interpolation does not darken it.
    rim = ndimage.distance_transform_edt(brain == 0, return_distances=False, return_indices=True)
    brain = np.where(height < 4, brain[tuple(rim)], brain)
    average = nib.load(HEAD_FILE)
    head = np.asarray(average.dataobj, dtype=np.float32) / 255
    return (
        Volume(brain, origin, 1.0),
        Volume(ndimage.gaussian_filter(height, 0.7).astype(np.float32), origin, 1.0, FAR_MM),
        Volume(ndimage.gaussian_filter(vault, 4.5).astype(np.float32), origin, 1.0, FAR_MM),
        Volume(head, np.asarray(average.affine[:3, 3], dtype=np.float64), 2.0),
    )


def _height_mm(mask: npt.NDArray[np.bool_]) -> Field:
    """Distance from the surface of a mask in voxels of 1 mm, negative inside."""
    outside = ndimage.distance_transform_edt(~mask)
    return np.asarray(outside - ndimage.distance_transform_edt(mask), dtype=np.float64)


class Head:
    """A head bent and scaled by a seed."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng([seed, 1])
        self.scale = 1 + rng.normal(0, 0.025, size=3)
        self._coarse = [Waves.draw(rng, 90) for _ in range(3)]
        self._fine = [Waves.draw(rng, 24) for _ in range(3)]
        self._skull, self._scalp, self._fluid = (Waves.draw(rng, 70) for _ in range(3))
        self._texture = Waves.draw(rng, 5, count=30)

    def bend(self, points_mm: Field) -> Field:
        """Points of the template that this head has at given points."""
        return points_mm / self.scale + _vector(self._coarse, points_mm)

    def tissue(self, points_mm: Field, push: Field | float = 0.0) -> Tissue:
        """Tissue at (H, W, 3) points; ``push`` (H, W, 3) in mm is where a mass moved the brain."""
        brain, height, vault, head = _volumes()
        template_mm = self.bend(points_mm)
        height_mm = height.at(template_mm)
        # A mass moves the brain, not the skull.
        held = smoothstep(-height_mm, 0.0, 12.0)[..., None]
        folds = 0.7 * _vector(self._fine, points_mm)
        return Tissue(
            brain=brain.at(template_mm - (push + folds) * held),
            outside=self._surroundings(head.at(template_mm), template_mm, vault.at(template_mm)),
            inside=smoothstep(-height_mm, -0.6, 0.6),
            height_mm=height_mm,
            points_mm=template_mm,
        )

    def _surroundings(self, face: Field, points_mm: Field, height_mm: Field) -> Field:
        """T1 signal outside the brain: shells around the vault, and the average face below."""
        x, y, z = np.moveaxis(points_mm, -1, 0)
        fluid = np.clip(1.8 + 0.4 * self._fluid.at(points_mm), 0.8, None)
        forehead = smoothstep(y, 35, 75) * smoothstep(np.abs(x), 70, 0)
        skull = np.clip(6.8 + 0.8 * self._skull.at(points_mm), 5, None) + 3 * forehead
        temple = smoothstep(np.abs(x), 35, 60) * smoothstep(y, -80, 10) * smoothstep(y, 65, 25)
        muscle = 6.5 * temple * smoothstep(z, 42, -12)
        scalp = np.clip(5.8 + 0.6 * self._scalp.at(points_mm), 4, None)
        above = height_mm - fluid
        texture = 1 + 0.05 * self._texture.at(points_mm)
        shell = np.full(height_mm.shape, 0.6 * FLUID)
        for layer, start_mm in (
            (BONE, 0.0),
            (MARROW * texture, 1.7),
            (BONE, skull - 1.8),
            (MUSCLE * texture, skull),
            (0.92 * texture, skull + muscle),
            (SKIN, skull + muscle + scalp - 1.6),
            (0.0, skull + muscle + scalp),
        ):
            share = smoothstep(above - start_mm, -0.6, 0.6)
            shell = shell * (1 - share) + layer * share
        # The average blurs brain into bone: darken a rim beside temporal lobes and cerebellum.
        side = smoothstep(np.abs(x), 38, 50) + smoothstep(-y, 50, 70)
        rim = smoothstep(height_mm, -0.5, 1.5) * smoothstep(height_mm, 6.5, 3.0)
        rim = rim * smoothstep(z, -66, -45)
        face = face * (1 - 0.75 * np.clip(side, 0, 1) * rim)
        upper = smoothstep(z - 0.22 * (y - 60), -10, 14)
        return upper * shell + (1 - upper) * face


def _vector(waves: list[Waves], points_mm: Field) -> Field:
    return np.stack([each.at(points_mm) for each in waves], axis=-1)
