"""Slices through the head: direction, place and size."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from examples.phantoms.anatomy import Field


class View(Enum):
    """Directions of the columns and rows of a slice: x right, y front, z up, as in the template.

    The patient's right is on the left of axial and coronal slices; faces look to the left.
    """

    AXIAL = ((-1, 0, 0), (0, -1, 0))
    CORONAL = ((-1, 0, 0), (0, 0, -1))
    SAGITTAL = ((0, -1, 0), (0, 0, -1))


@dataclass(frozen=True, slots=True)
class Plane:
    """A slice through the head.

    Parameters
    ----------
    view : View
    centre_mm : tuple of float
        Middle of the slice in the template.
    field_mm : float
        Width of the slice.
    width_px, height_px : int
    turn_degrees : tuple of float
        Rotation of the head in the scanner about x, y and z.
    """

    view: View
    centre_mm: tuple[float, float, float]
    field_mm: float = 220.0
    width_px: int = 256
    height_px: int = 256
    turn_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def mm_per_px(self) -> float:
        """Distance of two pixels."""
        return self.field_mm / self.width_px

    def axes(self) -> tuple[Field, Field]:
        """Directions in which columns and rows grow, (3,) each."""
        columns, rows = (self._turned(np.array(axis, np.float64)) for axis in self.view.value)
        return columns, rows

    def points_mm(self) -> Field:
        """Points of the pixels, (H, W, 3)."""
        columns, rows = self.axes()
        across = (np.arange(self.width_px) - (self.width_px - 1) / 2) * self.mm_per_px
        down = (np.arange(self.height_px) - (self.height_px - 1) / 2) * self.mm_per_px
        return (
            np.array(self.centre_mm) + across[None, :, None] * columns + down[:, None, None] * rows
        )

    def _turned(self, axis: Field) -> Field:
        for index, degrees in enumerate(self.turn_degrees):
            angle = np.deg2rad(degrees)
            first, second = (index + 1) % 3, (index + 2) % 3
            turned = axis.copy()
            turned[first] = np.cos(angle) * axis[first] - np.sin(angle) * axis[second]
            turned[second] = np.sin(angle) * axis[first] + np.cos(angle) * axis[second]
            axis = turned
        return axis
