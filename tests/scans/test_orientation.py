"""Planes and directions of slices in the patient."""

import math

import numpy as np
import pytest

from neuroscan_edge.scans.orientation import from_cosines, from_letters
from neuroscan_edge.spec import Plane

STRAIGHT = {
    "axial": ([1, 0, 0, 0, 1, 0], Plane.AXIAL, "LPS"),
    "axial, head first turned": ([-1, 0, 0, 0, 1, 0], Plane.AXIAL, "RPI"),
    "coronal": ([1, 0, 0, 0, 0, -1], Plane.CORONAL, "LIP"),
    "sagittal": ([0, 1, 0, 0, 0, -1], Plane.SAGITTAL, "PIR"),
}


@pytest.mark.parametrize(("cosines", "plane", "axes"), STRAIGHT.values(), ids=STRAIGHT)
def test_straight(cosines, plane, axes):
    found = from_cosines(cosines)
    assert (found.plane, found.axes) == (plane, axes)


def tilted(degrees):
    """An axial slice whose back is lifted."""
    angle = math.radians(degrees)
    return [1, 0, 0, 0, math.cos(angle), math.sin(angle)]


@pytest.mark.parametrize("degrees", [0, 15, 30, 36])
def test_tilted_heads_are_axial(degrees):
    assert from_cosines(tilted(degrees)).plane is Plane.AXIAL
    assert from_cosines(tilted(-degrees)).plane is Plane.AXIAL


@pytest.mark.parametrize("degrees", [38, 45, 52])
def test_between_two_planes_it_is_oblique(degrees):
    assert from_cosines(tilted(degrees)).plane is Plane.OBLIQUE


@pytest.mark.parametrize("degrees", [54, 75, 90])
def test_beyond_it_is_coronal(degrees):
    assert from_cosines(tilted(degrees)).plane is Plane.CORONAL


NONE = {
    "nothing": [],
    "five numbers": [1, 0, 0, 0, 1],
    "a number missing": [1, 0, 0, 0, 1, None],
    "zeros": [0] * 6,
    "one direction twice": [1, 0, 0, 1, 0, 0],
    "no directions": [5, 0, 0, 0, 7, 0],
    "not perpendicular": [1, 0, 0, 0.5, math.sqrt(0.75), 0],
    "infinite": [math.inf, 0, 0, 0, 1, 0],
    "not a number": [math.nan, 0, 0, 0, 1, 0],
}


@pytest.mark.parametrize("cosines", NONE.values(), ids=NONE)
def test_what_is_no_orientation_is_none(cosines):
    assert from_cosines(cosines) is None


def test_rounded_cosines_are_taken():
    cosines = np.round(tilted(20), 2).tolist()
    assert from_cosines(cosines).plane is Plane.AXIAL


LETTERS = {
    "axial": (["L", "P"], Plane.AXIAL),
    "coronal": (["L", "F"], Plane.CORONAL),
    "sagittal": (["A", "F"], Plane.SAGITTAL),
    "sagittal, tilted": (["PF", "FR"], Plane.SAGITTAL),
}


@pytest.mark.parametrize(("letters", "plane"), LETTERS.values(), ids=LETTERS)
def test_letters(letters, plane):
    assert from_letters(letters).plane is plane
    assert from_letters(letters).axes is None


@pytest.mark.parametrize("letters", [[], ["L"], ["L", "R"], ["X", "P"], ["", "P"], ["L", "P", "F"]])
def test_letters_that_are_none(letters):
    assert from_letters(letters) is None
