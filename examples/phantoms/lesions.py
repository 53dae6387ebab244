"""Tumours drawn into a head: where they push the brain, and their signals."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from examples.phantoms.anatomy import GREY, WHITE, Field, Tissue, Waves, smoothstep
from examples.phantoms.contrast import Sequence

Point = tuple[float, float, float]
T1, T1C, T2, FLAIR = Sequence.T1, Sequence.T1C, Sequence.T2, Sequence.FLAIR


class Lesion(Protocol):
    """A mass in a head."""

    def push(self, points_mm: Field) -> Field:
        """Where the mass moves the brain, (H, W, 3) in mm."""
        ...

    def paint(self, image: Field, tissue: Tissue, sequence: Sequence, seed: int) -> Field:
        """Draw the mass over the signal of the head, (H, W)."""
        ...


def _blend(image: Field, value: Field | float, share: Field) -> Field:
    return image * (1 - share) + value * share


def _radius(points_mm: Field, centre: Point, radii: Point) -> Field:
    """Distance from the centre; 1 on the surface of an ellipsoid."""
    return np.linalg.norm((points_mm - np.array(centre)) / np.array(radii), axis=-1)


def _outward(points_mm: Field, centre: Point, radius: Field, push_mm: float) -> Field:
    away = points_mm - np.array(centre)
    length = np.linalg.norm(away, axis=-1, keepdims=True)
    strength = push_mm * np.exp(-np.clip(radius - 1, 0, None) / 1.1) * smoothstep(radius, 0, 0.6)
    return away / np.maximum(length, 1e-6) * strength[..., None]


def _oedema(
    image: Field, tissue: Tissue, sequence: Sequence, beyond_mm: Field, reach_mm: float, seed: int
) -> Field:
    """Fluid in the white matter around a mass, with fingers between the gyri."""
    value = {T1: 0.33, T1C: 0.28, T2: 0.76, FLAIR: 0.82}[sequence]
    waves = Waves.draw(np.random.default_rng([seed, 4]), 30)
    fingers = np.clip(1 + 0.35 * waves.at(tissue.points_mm), 0.4, 1.2)
    near = smoothstep(beyond_mm / fingers, reach_mm, 0.55 * reach_mm)
    white = smoothstep(tissue.brain, GREY + 0.02, WHITE - 0.06)
    return _blend(image, value, 0.9 * near * white * tissue.inside)


@dataclass(frozen=True, slots=True)
class Glioma:
    """A mass in the brain with an irregular edge.

    Parameters
    ----------
    centre, radii : tuple of float
        Millimetres of the template.
    high_grade : bool
        Necrotic core within an enhancing ring, and oedema; else homogeneous without enhancement.
    push_mm : float
        Shift of the brain at the edge.
    oedema_mm : float
        Reach of the oedema.
    """

    centre: Point
    radii: Point
    high_grade: bool = True
    push_mm: float = 7.0
    oedema_mm: float = 22.0

    def push(self, points_mm: Field) -> Field:
        """See Lesion."""
        radius = _radius(points_mm, self.centre, self.radii)
        return _outward(points_mm, self.centre, radius, self.push_mm)

    def _edge(self, points_mm: Field, seed: int) -> Field:
        rng = np.random.default_rng([seed, 3])
        size = float(np.mean(self.radii))
        rough = 0.13 * Waves.draw(rng, 1.6 * size).at(points_mm)
        rough += 0.07 * Waves.draw(rng, 0.7 * size).at(points_mm)
        radius = _radius(points_mm, self.centre, self.radii)
        # Only the edge is rough: further out, the oedema would leap.
        return radius + rough * np.minimum(radius, 1)

    def paint(self, image: Field, tissue: Tissue, sequence: Sequence, seed: int) -> Field:
        """See Lesion."""
        size = float(np.mean(self.radii))
        radius = self._edge(tissue.points_mm, seed)
        texture = Waves.draw(np.random.default_rng([seed, 5]), 7.0, count=30).at(tissue.points_mm)
        image = _oedema(image, tissue, sequence, (radius - 1) * size, self.oedema_mm, seed)
        if not self.high_grade:
            value = {T1: 0.27, T1C: 0.24, T2: 0.80, FLAIR: 0.74}[sequence]
            share = smoothstep(radius, 1.14, 0.84) * tissue.inside
            patches = Waves.draw(np.random.default_rng([seed, 6]), 20).at(tissue.points_mm)
            grain = 1 + 0.03 * texture + 0.05 * patches
            return _blend(image, value * grain, 0.95 * share)
        edge = 1.2 / size
        mass = smoothstep(radius, 1 + edge, 1 - edge) * tissue.inside
        # The ring varies in width: the core reaches further in some directions.
        lobes = Waves.draw(np.random.default_rng([seed, 6]), 1.3 * size).at(tissue.points_mm)
        limit = np.clip(0.76 + 0.08 * lobes, None, 0.90)
        core = smoothstep(radius - limit, 0.08, -0.08) * tissue.inside
        rim = {T1: 0.34, T1C: 0.70, T2: 0.50, FLAIR: 0.66}[sequence]
        necrosis = {T1: 0.17, T1C: 0.14, T2: 0.88, FLAIR: 0.46}[sequence]
        image = _blend(image, rim * (1 + 0.09 * texture + 0.10 * lobes), mass)
        return _blend(image, necrosis * (1 + 0.08 * texture), core)


@dataclass(frozen=True, slots=True)
class Meningioma:
    """A sharply bounded mass on the dura, with a tail along it.

    Parameters
    ----------
    centre, radii : tuple of float
        Millimetres of the template; the centre lies near the surface of the brain or the falx.
    push_mm, oedema_mm : float
        As of Glioma.
    tail_mm : float
        Length of the dural tails beyond the mass.
    """

    centre: Point
    radii: Point
    push_mm: float = 8.0
    oedema_mm: float = 0.0
    tail_mm: float = 14.0

    def push(self, points_mm: Field) -> Field:
        """See Lesion."""
        radius = _radius(points_mm, self.centre, self.radii)
        return _outward(points_mm, self.centre, radius, self.push_mm)

    def paint(self, image: Field, tissue: Tissue, sequence: Sequence, seed: int) -> Field:
        """See Lesion."""
        size = float(np.mean(self.radii))
        rng = np.random.default_rng([seed, 3])
        rough = 0.05 * Waves.draw(rng, 1.8 * size).at(tissue.points_mm)
        radius = _radius(tissue.points_mm, self.centre, self.radii) * (1 + rough)
        beyond_mm = (radius - 1) * size
        within_skull = smoothstep(tissue.height_mm, 2.6, 1.6)
        if self.oedema_mm:
            image = _oedema(image, tissue, sequence, beyond_mm, self.oedema_mm, seed)
        # A cleft of fluid parts the mass from the brain.
        cleft = {T1: 0.16, T1C: 0.14, T2: 0.90, FLAIR: 0.20}[sequence]
        share = smoothstep(beyond_mm, 2.2, 1.2) * smoothstep(tissue.height_mm, 0.0, -2.0)
        image = _blend(image, cleft, 0.7 * share)
        value = {T1: 0.36, T1C: 0.74, T2: 0.56, FLAIR: 0.62}[sequence]
        texture = Waves.draw(rng, 6.0, count=30).at(tissue.points_mm)
        image = _blend(
            image,
            value * (1 + 0.035 * texture),
            smoothstep(beyond_mm, 0.6, -0.6) * within_skull,
        )
        if sequence is T1C:
            taper = 2.6 * smoothstep(beyond_mm, self.tail_mm, 0.0)
            along = np.abs(tissue.height_mm - 0.6)
            tail = smoothstep(along - 0.5 * taper, 0.5, -0.5) * smoothstep(taper, 0.2, 0.6)
            image = _blend(image, 0.9 * value, tail * within_skull)
        return image


@dataclass(frozen=True, slots=True)
class PituitaryTumour:
    """A mass in the sella that grows upwards through the diaphragm, narrowest there.

    Parameters
    ----------
    sellar, suprasellar : tuple of float
        Radii in mm of the parts below and above the diaphragm.
    rise_mm : float
        Distance of the upper part's centre above that of the lower.
    """

    sellar: Point
    suprasellar: Point
    rise_mm: float
    push_mm: float = 6.0

    def _parts(self) -> tuple[tuple[Point, Point], tuple[Point, Point]]:
        low = (0.0, 5.0, -33.0)
        high = (1.0, 4.0, low[2] + self.rise_mm)
        return (low, self.sellar), (high, self.suprasellar)

    def push(self, points_mm: Field) -> Field:
        """See Lesion."""
        centre, radii = self._parts()[1]
        return _outward(points_mm, centre, _radius(points_mm, centre, radii), self.push_mm)

    def paint(self, image: Field, tissue: Tissue, sequence: Sequence, seed: int) -> Field:
        """See Lesion."""
        rng = np.random.default_rng([seed, 3])
        rough = 1 + 0.06 * Waves.draw(rng, 16).at(tissue.points_mm)
        (low, sellar), (high, suprasellar) = self._parts()
        radius = np.minimum(
            _radius(tissue.points_mm, low, sellar), _radius(tissue.points_mm, high, suprasellar)
        )
        size = float(np.mean(self.suprasellar))
        beyond_mm = (radius * rough - 1) * size
        cleft = {T1: 0.12, T1C: 0.10, T2: 0.85, FLAIR: 0.15}[sequence]
        image = _blend(image, cleft, 0.6 * smoothstep(beyond_mm, 2.4, 1.2) * tissue.inside)
        value = {T1: 0.38, T1C: 0.64, T2: 0.56, FLAIR: 0.60}[sequence]
        texture = Waves.draw(rng, 6.0, count=30).at(tissue.points_mm)
        return _blend(image, value * (1 + 0.04 * texture), smoothstep(beyond_mm, 0.7, -0.7))
