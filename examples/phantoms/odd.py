"""Signals of what is no head: a knee, and a test object of a scanner."""

import numpy as np

from examples.phantoms.anatomy import Field, Waves, smoothstep
from examples.phantoms.plane import Plane


def knee(plane: Plane, rng: np.random.Generator) -> Field:
    """T1 signal of a knee from the side, (H, W): femur, tibia, kneecap, muscle and fat."""
    x, y, points = _flat(plane, rng, 1.0)
    grain = 1 + 0.05 * Waves.draw(rng, 6, count=30).at(points)
    width = 58 - 8 * smoothstep(y, -80, 0) + 3 * smoothstep(y, 0, 80)
    image = 0.90 * grain * smoothstep(np.abs(x + 4) - width, 0.8, -0.8)
    image = _over(image, 0.34 * grain, smoothstep(np.abs(x - 4) - width + 12, 1.0, -1.0))
    tendon = smoothstep(np.abs(x + 36 - 0.08 * y), 3.5, 2.0)
    image = _over(image, 0.08, tendon)
    pad = _ellipse_mm(x + 24, y - 12, 14, 20)
    image = _over(image, 0.75 * grain, smoothstep(pad, 0.7, -0.7))
    femur = np.minimum(_ellipse_mm(x - 6, y + 78, 14, 70), _ellipse_mm(x - 4, y + 20, 28, 22))
    femur = np.minimum(femur, _ellipse_mm(x - 14, y + 14, 22, 19))
    tibia = np.minimum(_ellipse_mm(x - 2, y - 90, 14, 72), _ellipse_mm(x - 5, y - 24, 29, 14))
    kneecap = _ellipse_mm(x + 34, y + 24, 8, 18)
    for bone in (femur, tibia, kneecap):
        image = _over(image, 0.45, smoothstep(bone, 2.6, 1.6) * smoothstep(np.abs(y - 2), 22, 16))
        image = _over(image, 0.06, smoothstep(bone, 0.6, -0.6))
        image = _over(image, 0.80 * grain, smoothstep(bone, -1.6, -2.8))
    return image


def water_cylinder(plane: Plane, rng: np.random.Generator) -> Field:
    """Signal of a water cylinder with a grid, a wedge and rods, (H, W)."""
    x, y, _ = _flat(plane, rng, 0.3)
    image = 0.80 * smoothstep(np.hypot(x, y), 88.5, 87.5)
    lines = np.minimum(np.abs((x + 5) % 20 - 10), np.abs((y + 5) % 20 - 10))
    square = smoothstep(np.maximum(np.abs(x), np.abs(y - 8)), 52, 51)
    image = _over(image, 0.08, square * smoothstep(lines, 1.4, 0.8))
    wedge = smoothstep(np.abs(y + 66), 6, 5.4) * smoothstep(np.abs(x), 36, 35)
    image = _over(image, np.clip(0.4 + x / 90, 0.05, 0.75), wedge)
    for number in range(5):
        rod = np.hypot(x - 14 * (number - 2), y - 72)
        image = _over(image, 0.05, smoothstep(rod, 1.4 + number, 0.8 + number))
    return image


def _flat(plane: Plane, rng: np.random.Generator, bend_mm: float) -> tuple[Field, Field, Field]:
    across = (np.arange(plane.width_px) - (plane.width_px - 1) / 2) * plane.mm_per_px
    down = (np.arange(plane.height_px) - (plane.height_px - 1) / 2) * plane.mm_per_px
    x, y = np.meshgrid(across, down)
    points = np.stack([x, y, np.zeros_like(x)], axis=-1)
    bends = [Waves.draw(rng, 70).at(points) for _ in range(2)]
    return x + bend_mm * bends[0], y + bend_mm * bends[1], points


def _ellipse_mm(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    """Distance from an ellipse, about, negative inside."""
    return (np.hypot(x / half_width, y / half_height) - 1) * min(half_width, half_height)


def _over(image: Field, value: Field | float, share: Field) -> Field:
    return image * (1 - share) + value * share
