"""How a slice lies in the patient: its plane, and where its columns, rows and normal point."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuroscan_edge.spec import Plane

MIN_COSINE = 0.8
"""Cosine of the angle between a slice's normal and an axis of the body from which the slice is of
that plane, 37 degrees: heads are tilted by 20 to 30. Below it for every axis it is oblique."""

_MAX_DEVIATION = 0.05
# Of patients in DICOM's coordinates: x to the left, y to the back, z to the head (PS3.3, C.7.6.2).
_LETTERS = ("RL", "AP", "IS")
_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)
_AXIS_OF = {"R": 0, "L": 0, "A": 1, "P": 1, "H": 2, "F": 2, "I": 2, "S": 2}


@dataclass(frozen=True, slots=True)
class Orientation:
    """Of one slice.

    Parameters
    ----------
    plane : Plane
        Axial, coronal, sagittal or oblique.
    axes : str or None
        Three letters of L, R, A, P, S, I: the side of the patient that columns, rows and the
        normal point to most, such as ``LPS`` of an axial slice seen from the feet. None where only
        the plane is known.
    """

    plane: Plane
    axes: str | None


def from_cosines(values: Sequence[float | None]) -> Orientation | None:
    """Return the orientation by the direction cosines of rows and columns (PS3.3, C.7.6.2.1.1).

    Parameters
    ----------
    values : sequence of float or None
        Image Orientation (Patient): three of the row, along which the column index rises, and
        three of the column. Anything but two perpendicular directions gives None.
    """
    if len(values) != 6 or any(value is None for value in values):
        return None
    numbers = np.array(values, np.float64)
    if not np.isfinite(numbers).all():
        return None
    return from_directions(numbers[:3], numbers[3:])


def from_directions(along_row: np.ndarray, along_column: np.ndarray) -> Orientation | None:
    """Return the orientation by two directions, (3,) float64 in DICOM's patient coordinates.

    None if they are not two perpendicular directions of length 1.
    """
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    tilted = abs(float(along_row @ along_column))
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), tilted) > _MAX_DEVIATION:
        return None
    normal = np.cross(along_row, along_column)
    axis = int(np.argmax(np.abs(normal)))
    straight = abs(normal[axis]) >= MIN_COSINE * np.linalg.norm(normal)
    plane = _PLANES[axis] if straight else Plane.OBLIQUE
    return Orientation(plane, "".join(_letter(each) for each in (along_row, along_column, normal)))


def from_letters(values: Sequence[str]) -> Orientation | None:
    """Return the plane by Patient Orientation (PS3.3, C.7.6.1.1.1), such as ``L`` and ``P``.

    Of each value the first letter is the main direction.
    """
    if len(values) != 2 or not all(value[:1] in _AXIS_OF for value in values):
        return None
    first, second = (_AXIS_OF[value[0]] for value in values)
    if first == second:
        return None
    return Orientation(_PLANES[3 - first - second], None)


def _letter(direction: np.ndarray) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return _LETTERS[axis][int(direction[axis] > 0)]
