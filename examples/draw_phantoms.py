"""Draw synthetic brain-MRI phantoms and write them to ``examples/scans/``.

Every file is drawn from outlines in this script and from seeded noise: no scan of a person is
involved. The files show that the software runs on many sizes, depths and formats; they say nothing
about how well it decides. Research use only, not for diagnosis.

Coordinates are millimetres from the image centre, x to the right and y downwards. Grey levels are
those of a contrast-enhanced T1 image: dark fluid, grey cortex, lighter white matter, bright fat.

Usage: ``python examples/draw_phantoms.py [--output DIR]``
"""

import argparse
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Points = tuple[tuple[float, float], ...]

FIELD_OF_VIEW_MM = 240.0
SLICE_SPACING_MM = 7.0
SUPERSAMPLING = 2
NOISE_GRID_MM = 300

AIR = 0.01
BONE = 0.05
FLUID = 0.13
MUSCLE = 0.33
MARROW = 0.52
GREY_MATTER = 0.45
DEEP_GREY = 0.52
WHITE_MATTER = 0.66
ENHANCED = 0.92
FAT = 0.95

STATEMENT = (
    "Synthetic phantom drawn by examples/draw_phantoms.py; no person was scanned. "
    "Research use only, not for diagnosis."
)


class Lesion(Enum):
    """What is drawn into the head."""

    NONE = "none"
    GLIOMA = "glioma"
    MENINGIOMA = "meningioma"
    PITUITARY = "pituitary"


class Encoding(Enum):
    """File format and sample layout."""

    GREY_PNG = "grey PNG"
    RGBA_PNG = "RGBA PNG"
    PALETTE_PNG = "palette PNG"
    GREY_JPEG = "grey JPEG"
    RGB_JPEG = "RGB JPEG"
    TIFF = "TIFF"
    BMP = "BMP"
    WEBP = "lossless WebP"
    DICOM = "DICOM, MONOCHROME2"
    DICOM_INVERTED = "DICOM, MONOCHROME1"


@dataclass(frozen=True, slots=True)
class Shape:
    """A closed outline, or an open line of some width, painted in one grey level.

    Parameters
    ----------
    points_mm : sequence of (x, y)
        Control points; the curve runs smoothly through them.
    grey : float
        0 to 1.
    line_mm : float
        Width of an open line; 0 fills a closed outline.
    mirrored : bool
        Whether the mirror image at x = 0 is painted as well.
    """

    points_mm: Points
    grey: float
    line_mm: float = 0.0
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """The anatomy of one plane.

    Parameters
    ----------
    head_mm, cavity_mm : sequence of (x, y)
        Closed outlines of the skin and of the inner table of the skull.
    cerebrum_mm : sequence of (x, y)
        Closed outline of the folded brain; empty where it fills the cavity.
    extracranial : sequence of Shape
        Painted on the tissue around the skull, before the brain.
    fissures : sequence of Shape
        Fluid-filled clefts, lined by cortex.
    deep : sequence of Shape
        Painted on the finished brain, in order.
    sulcus_depth_mm : float
        How far folds reach into the cerebrum.
    cerebellum_mm : sequence of (x, y)
        Closed outline of the finely folded part; may be empty.
    """

    head_mm: Points
    cavity_mm: Points
    cerebrum_mm: Points
    extracranial: tuple[Shape, ...]
    fissures: tuple[Shape, ...]
    deep: tuple[Shape, ...]
    sulcus_depth_mm: float
    cerebellum_mm: Points = ()


@dataclass(frozen=True, slots=True)
class Phantom:
    """One file to draw.

    Parameters
    ----------
    name : str
        Path below the output folder, with suffix.
    view : str
        Key of `VIEWS`.
    width_px, height_px : int
        Image size; the longer side spans `FIELD_OF_VIEW_MM`.
    encoding : Encoding
        What the file is.
    bits : int
        Bits of a sample in use: 8, or 12 to 16 in a 16-bit sample.
    seed : int
        Of folds and textures; slices of one head share it.
    lesion : Lesion
        What to draw into the head.
    lesion_centre_mm : (float, float)
        Middle of the lesion.
    lesion_radius_mm : float
        Its mean radius, without oedema.
    level_mm : float
        Height of an axial slice above the widest one: the head narrows, the folds move on.
    noise_sigma : float
        Standard deviation of each of the two noise channels, on the scale 0 to 1.
    bias : float
        Peak-to-peak relative shading across the field.
    """

    name: str
    view: str
    width_px: int
    height_px: int
    encoding: Encoding
    bits: int
    seed: int
    lesion: Lesion = Lesion.NONE
    lesion_centre_mm: tuple[float, float] = (0.0, 0.0)
    lesion_radius_mm: float = 0.0
    level_mm: float = 0.0
    noise_sigma: float = 0.015
    bias: float = 0.2

    @property
    def mm_per_px(self) -> float:
        """Pixel pitch, the same along both axes."""
        return FIELD_OF_VIEW_MM / max(self.width_px, self.height_px)


def mirror_outline(right_half_mm: Points) -> Points:
    """Close a right half, listed from the top to the bottom of the midline, by its mirror."""
    left_half = tuple((-x, y) for x, y in reversed(right_half_mm) if x != 0)
    return right_half_mm + left_half


def ellipse(x_mm: float, y_mm: float, half_width_mm: float, half_height_mm: float) -> Points:
    """Control points of an upright ellipse."""
    angles = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    return tuple(
        (x_mm + half_width_mm * float(np.cos(a)), y_mm + half_height_mm * float(np.sin(a)))
        for a in angles
    )


_AXIAL_HEAD = mirror_outline(
    ((0, -98), (28, -94), (50, -80), (64, -58), (71, -30), (75, 0))
    + ((77, 25), (73, 50), (60, 74), (36, 90), (0, 97))
)
_AXIAL_CAVITY = mirror_outline(
    ((0, -83), (24, -81), (44, -70), (55, -52), (60, -28), (64, 0))
    + ((66, 25), (62, 47), (50, 67), (28, 80), (0, 85))
)
_SAGITTAL_SINUS = Shape(((-4, 84), (4, 84), (0, 78)), ENHANCED)

VIEWS = {
    "axial": View(
        head_mm=_AXIAL_HEAD,
        cavity_mm=_AXIAL_CAVITY,
        cerebrum_mm=(),
        extracranial=(),
        fissures=(
            Shape(((0, -84), (0.6, -60), (0, -38)), FLUID, line_mm=1.8),
            Shape(((0, 40), (-0.6, 60), (0, 85)), FLUID, line_mm=1.8),
            Shape(((62, -16), (48, -12), (40, -13), (37, -2), (38, 8)), FLUID, 2.6, True),
        ),
        deep=(
            Shape(
                ((21, -19), (27, -16), (31, -2), (26, 8), (19, -2), (17, -11)), DEEP_GREY, 0, True
            ),
            Shape(((3, 3), (9, -1), (15, 6), (17, 16), (10, 20), (4, 15)), DEEP_GREY, 0, True),
            Shape(((9, -20), (14, -27), (16, -20), (12, -11), (9, -12)), DEEP_GREY, 0, True),
            Shape(((1.5, -13), (2, -22), (9, -31), (14, -31), (9, -20), (5, -11)), FLUID, 0, True),
            Shape(((12, 22), (18, 22), (24, 31), (25, 45), (21, 42), (16, 31)), FLUID, 0, True),
            Shape(((15, 24), (19, 29), (20, 35)), 0.7, 2.2, True),
            Shape(((0, -2), (0, 6), (0, 14)), FLUID, line_mm=3.2),
            _SAGITTAL_SINUS,
        ),
        sulcus_depth_mm=29,
    ),
    "axial-high": View(
        head_mm=_AXIAL_HEAD,
        cavity_mm=_AXIAL_CAVITY,
        cerebrum_mm=(),
        extracranial=(),
        fissures=(
            Shape(((0, -84), (0.8, -60), (0, -34)), FLUID, line_mm=1.8),
            Shape(((0, 36), (-0.8, 60), (0, 85)), FLUID, line_mm=1.8),
        ),
        deep=(
            Shape(((13, -22), (18, -14), (18, 2), (15, 10), (12, 0)), DEEP_GREY, 0, True),
            Shape(
                ((2, -16), (5, -27), (11, -29), (12, -16), (12, 4), (19, 22), (24, 36))
                + ((17, 33), (8, 18), (3, 2)),
                FLUID,
                mirrored=True,
            ),
            Shape(((7, 6), (12, 17), (17, 27)), 0.66, 2.2, True),
            _SAGITTAL_SINUS,
        ),
        sulcus_depth_mm=31,
    ),
    "coronal": View(
        head_mm=mirror_outline(
            ((0, -94), (30, -89), (55, -72), (69, -48), (75, -18), (75, 10), (72, 35))
            + ((67, 58), (64, 80), (58, 104), (50, 140), (0, 150))
        ),
        cavity_mm=mirror_outline(
            ((0, -80), (26, -76), (47, -62), (59, -40), (64, -14), (64, 8), (60, 27))
            + ((50, 40), (34, 43), (23, 36), (13, 29), (0, 30))
        ),
        cerebrum_mm=(),
        extracranial=(
            Shape(((56, 50), (63, 66), (58, 90), (48, 96), (50, 70)), 0.4, 0, True),
            Shape(((45, 56), (47, 80), (43, 108)), BONE, 8.0, True),
            Shape(((45, 58), (47, 80), (43, 106)), MARROW, 4.0, True),
            Shape(((22, 52), (38, 56), (38, 80), (26, 78)), 0.36, 0, True),
            Shape(ellipse(0, 46, 17, 10), BONE),
            Shape(ellipse(8.5, 46, 7, 8), AIR, 0, True),
            Shape(((-13, 68), (0, 63), (13, 68), (9, 80), (0, 77), (-9, 80)), AIR),
            Shape(((-26, 92), (0, 85), (26, 92), (24, 125), (-24, 125)), 0.42),
        ),
        fissures=(
            Shape(((0, -80), (0.7, -58), (0, -32)), FLUID, line_mm=1.8),
            Shape(((64, -2), (48, 0), (41, -7), (39, -18)), FLUID, 2.6, True),
            Shape(((41, -4), (38, 5), (36, 9)), FLUID, 2.4, True),
            Shape(
                ((-4, 9), (4, 9), (15, 13), (24, 28), (23, 38), (0, 34), (-23, 38))
                + ((-24, 28), (-15, 13)),
                FLUID,
            ),
        ),
        deep=(
            Shape(((3, -8), (10, -11), (15, -4), (11, 4), (4, 5)), DEEP_GREY, 0, True),
            Shape(((21, -12), (28, -14), (31, -4), (24, 4), (19, -3)), DEEP_GREY, 0, True),
            Shape(((16, -22), (21, -20), (18, -14), (14, -15)), DEEP_GREY, 0, True),
            Shape(((1.5, -23), (9, -27), (18, -26), (15, -20), (8, -16), (3, -11)), FLUID, 0, True),
            Shape(((0, -9), (0, 0), (0, 10)), FLUID, line_mm=3.0),
            Shape(((27, 17), (33, 17), (35, 20), (30, 21)), FLUID, 0, True),
            Shape(((-14, 16), (-7, 13), (0, 14), (7, 13), (14, 16)), 0.6, 2.2),
            Shape(((0, 14), (0, 25)), ENHANCED, 1.6),
            Shape(ellipse(12.5, 28, 5, 6.5), 0.8, 0, True),
            Shape(ellipse(0, 29, 7.5, 3.8), 0.86),
            Shape(ellipse(12, 27, 2.4, 2.4), BONE, 0, True),
            Shape(((-4.5, -79), (4.5, -79), (0, -72)), ENHANCED),
        ),
        sulcus_depth_mm=26,
    ),
    "sagittal": View(
        head_mm=(
            ((-87, -36), (-72, -68), (-42, -90), (-5, -98), (35, -93), (68, -73), (87, -40))
            + ((91, -8), (84, 22), (74, 45), (68, 65), (70, 90), (78, 140), (-14, 140))
            + ((-26, 114), (-46, 107), (-66, 108), (-78, 98), (-77, 84), (-84, 78), (-82, 71))
            + ((-87, 64), (-86, 54), (-103, 46), (-104, 38), (-95, 18), (-89, 2), (-92, -14))
        ),
        cavity_mm=(
            ((-75, -30), (-62, -58), (-37, -76), (-4, -84), (34, -79), (60, -60), (75, -34))
            + ((78, -8), (71, 16), (58, 36), (40, 45), (27, 50), (24, 64), (27, 140), (6, 140))
            + ((4, 62), (-3, 46), (-11, 26), (-16, 14), (-20, 20), (-27, 20), (-31, 12))
            + ((-42, 8), (-60, 3), (-73, -10))
        ),
        cerebrum_mm=(
            ((-72, -30), (-60, -55), (-36, -73), (-4, -81), (33, -76), (57, -58), (72, -34))
            + ((75, -8), (69, 6), (52, 3), (36, -6), (22, -10), (8, -6), (-8, -3))
            + ((-22, 1), (-38, 5), (-58, 0), (-70, -12))
        ),
        extracranial=(
            Shape(((-84, -16), (-79, -18), (-77, -6), (-82, 2)), AIR),
            Shape(((-86, 34), (-72, 12), (-46, 16), (-42, 38), (-58, 50), (-84, 50)), 0.2),
            Shape(((-78, 28), (-62, 24), (-48, 26)), AIR, 4.0),
            Shape(((-80, 44), (-62, 42), (-44, 40), (-30, 44)), AIR, 5.0),
            Shape(((-76, 36), (-62, 33), (-46, 33)), 0.7, 4.5),
            Shape(((-40, 17), (-29, 24), (-21, 25), (-22, 36), (-36, 38)), AIR),
            Shape(((-84, 56), (-62, 53), (-40, 52)), BONE, 4.5),
            Shape(((-26, 46), (-19, 60), (-17, 80), (-16, 104), (-14, 135)), AIR, 7.0),
            Shape(((-72, 64), (-52, 59), (-32, 64), (-25, 82), (-34, 98), (-62, 92)), 0.43),
            Shape(((-74, 92), (-66, 90), (-65, 102), (-72, 103)), BONE),
            Shape(((-71, 94), (-67, 93), (-67, 100), (-71, 100)), MARROW),
            Shape(((-14, 27), (-8, 32), (0, 48), (-4, 50), (-12, 38)), 0.75),
            Shape(((-3, 62), (-2, 80), (-1, 100), (0, 135)), BONE, 15.0),
            Shape(((-3, 62), (-2.5, 78)), MARROW, 11.0),
            Shape(((-2, 86), (-1.5, 96)), MARROW, 11.0),
            Shape(((-1, 104), (-0.5, 116)), MARROW, 11.0),
            Shape(((38, 70), (52, 74), (54, 92), (40, 88)), 0.3),
            Shape(((40, 100), (54, 104), (56, 125), (42, 122)), 0.3),
        ),
        fissures=(
            Shape(((-36, -4), (-44, -18), (-41, -34), (-24, -49), (4, -52), (30, -46)), FLUID, 1.6),
            Shape(((30, -46), (40, -62), (42, -72)), FLUID, 1.6),
            Shape(((34, -10), (46, -22), (58, -44), (62, -54)), FLUID, 1.8),
            Shape(((42, -16), (56, -13), (72, -8)), FLUID, 1.4),
            Shape(
                ((-29, -2), (-38, -14), (-37, -29), (-21, -43), (3, -45), (24, -40), (36, -26))
                + ((32, -14),),
                FLUID,
                1.0,
            ),
        ),
        deep=(
            Shape(
                ((-26, -14), (-20, -30), (2, -36), (20, -31), (25, -24), (14, -22), (-4, -24))
                + ((-14, -14), (-20, -8)),
                0.2,
            ),
            Shape(ellipse(2, -16, 14, 8), DEEP_GREY),
            Shape(((-14, -18), (-16, -10), (-18, -3)), FLUID, 3.0),
            Shape(((22, -23), (8, -27), (-8, -25), (-17, -14)), 0.62, 2.2),
            Shape(
                ((-24, -8), (-31, -13), (-33, -22), (-29, -31), (-17, -38), (2, -40), (19, -36))
                + ((29, -27), (29, -19)),
                0.76,
                line_mm=6.0,
            ),
            Shape(
                ((-4, -7), (8, -9), (15, -3), (15, 8), (14, 20), (16, 34), (18, 48), (20, 64))
                + ((23, 140), (11, 140), (9, 64), (6, 50), (2, 44), (-6, 36), (-9, 26), (-6, 14)),
                0.62,
            ),
            Shape(((-9, 19), (-5, 24), (-3, 36)), 0.57, 4.0),
            Shape(((12, -4), (13, 6), (15, 14)), FLUID, 1.6),
            Shape(((15, 13), (20, 22), (25, 26), (19, 30), (16, 38)), FLUID),
            Shape(((-20, 1), (-21, 8), (-23, 15)), ENHANCED, 1.5),
            Shape(((-29, 14), (-18, 14), (-18, 19), (-27, 19)), 0.86),
            Shape(((74, 4), (58, 8), (42, 2), (30, -8)), ENHANCED, 2.2),
        ),
        sulcus_depth_mm=55,
        cerebellum_mm=(
            ((20, -2), (33, 1), (50, 9), (63, 15), (60, 28), (48, 38), (33, 43), (24, 40))
            + ((19, 32), (24, 26), (18, 14))
        ),
    ),
}

_GLIOMA, _MENINGIOMA, _PITUITARY = Lesion.GLIOMA, Lesion.MENINGIOMA, Lesion.PITUITARY
_SERIES_SEED = 100

PHANTOMS = (
    Phantom("axial-01-none.png", "axial", 512, 512, Encoding.GREY_PNG, 8, 1),
    Phantom("axial-02-glioma.jpg", "axial", 512, 512, Encoding.GREY_JPEG, 8, 2,
            _GLIOMA, (32, -34), 17),
    Phantom("axial-03-meningioma.png", "axial-high", 240, 240, Encoding.GREY_PNG, 12, 3,
            _MENINGIOMA, (-56, 14), 16),
    Phantom("axial-04-glioma.tiff", "axial-high", 192, 240, Encoding.TIFF, 16, 4,
            _GLIOMA, (-34, 28), 13),
    Phantom("coronal-05-none.jpg", "coronal", 630, 630, Encoding.RGB_JPEG, 8, 5),
    Phantom("coronal-06-pituitary.png", "coronal", 256, 256, Encoding.RGBA_PNG, 8, 6,
            _PITUITARY, (0, 20), 13),
    Phantom("coronal-07-meningioma.bmp", "coronal", 240, 240, Encoding.BMP, 8, 7,
            _MENINGIOMA, (36, -62), 15),
    Phantom("coronal-08-glioma.webp", "coronal", 256, 320, Encoding.WEBP, 8, 8,
            _GLIOMA, (-44, 22), 12),
    Phantom("sagittal-09-none.webp", "sagittal", 320, 320, Encoding.WEBP, 8, 9),
    Phantom("sagittal-10-pituitary.png", "sagittal", 256, 256, Encoding.PALETTE_PNG, 8, 10,
            _PITUITARY, (-23, 9), 12),
    Phantom("sagittal-11-glioma.jpg", "sagittal", 512, 512, Encoding.GREY_JPEG, 8, 11,
            _GLIOMA, (-48, -36), 14),
    Phantom("sagittal-12-meningioma.png", "sagittal", 240, 240, Encoding.GREY_PNG, 8, 12,
            _MENINGIOMA, (-2, -72), 15),
    *(
        Phantom(f"series-01/slice-{number:02d}.dcm", view, 256, 256, Encoding.DICOM, 12,
                _SERIES_SEED, _GLIOMA, (-30, 30), radius_mm, SLICE_SPACING_MM * (number - 1))
        for number, view, radius_mm in (
            (1, "axial", 9), (2, "axial", 14), (3, "axial-high", 15), (4, "axial-high", 10),
        )
    ),
    Phantom("mono1.dcm", "axial", 192, 192, Encoding.DICOM_INVERTED, 12, 101),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Grid:
    """The drawing surface.

    Parameters
    ----------
    width_px, height_px : int
        Its size, supersampled.
    mm_per_px : float
        Pixel pitch in head millimetres.
    """

    width_px: int
    height_px: int
    mm_per_px: float

    def positions_mm(self) -> tuple[Field, Field]:
        """Return the x and the y of each pixel centre, two (H, W) fields."""
        x_mm = (np.arange(self.width_px) + 0.5 - self.width_px / 2) * self.mm_per_px
        y_mm = (np.arange(self.height_px) + 0.5 - self.height_px / 2) * self.mm_per_px
        grid_x, grid_y = np.meshgrid(x_mm.astype(np.float32), y_mm.astype(np.float32))
        return grid_x, grid_y


def smooth_curve(points_mm: Points, *, closed: bool) -> npt.NDArray[np.float64]:
    """Run a Catmull-Rom spline through control points; returns (N, 2) points in millimetres."""
    points = np.asarray(points_mm, np.float64)
    if closed:
        padded = np.vstack([points[-1], points, points[:2]])
    else:
        padded = np.vstack([points[0], points, points[-1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2
               + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]  # fmt: skip
    return np.vstack([*pieces, padded[-2:-1]])


def shape_mask(grid: Grid, points_mm: Points, line_mm: float = 0.0) -> Mask:
    """Pixels inside a smooth closed outline, or on a smooth open line of a given width."""
    curve_mm = smooth_curve(points_mm, closed=line_mm == 0)
    centre_px = np.array([grid.width_px, grid.height_px]) / 2 - 0.5
    shift_bits = 4
    curve_px = np.rint((curve_mm / grid.mm_per_px + centre_px) * (1 << shift_bits))
    mask = np.zeros((grid.height_px, grid.width_px), np.uint8)
    polygon = [curve_px.astype(np.int32)]
    if line_mm == 0:
        cv2.fillPoly(mask, polygon, 1, shift=shift_bits)
    else:
        thickness_px = max(1, round(line_mm / grid.mm_per_px))
        cv2.polylines(mask, polygon, False, 1, thickness_px, shift=shift_bits)
    return mask.astype(bool)


def painted_mask(grid: Grid, shape: Shape) -> Mask:
    """Pixels of a shape and, if it has one, of its mirror image."""
    mask = shape_mask(grid, shape.points_mm, shape.line_mm)
    if shape.mirrored:
        other_side = tuple((-x, y) for x, y in shape.points_mm)
        mask = mask | shape_mask(grid, other_side, shape.line_mm)
    return mask


def depth_mm(grid: Grid, mask: Mask) -> Field:
    """Distance of each pixel inside a mask to its edge; 0 outside."""
    # The border of the image is no edge: structures may run out of the field of view.
    padded = np.pad(mask.astype(np.uint8), 1, mode="edge")
    distance_px = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return np.asarray(distance_px * grid.mm_per_px, np.float32)


def blur(image: Field, sigma_px: float) -> Field:
    """Smooth with a Gaussian."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.float32)


def shrink(image: Field, width_px: int, height_px: int) -> Field:
    """Average down to a smaller size."""
    smaller = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.float32)


def noise_field(rng: np.random.Generator, scale_mm: float) -> Field:
    """Smooth noise of unit variance on a square grid of 1 mm pitch around the origin."""
    white = rng.standard_normal((NOISE_GRID_MM, NOISE_GRID_MM)).astype(np.float32)
    smooth = blur(white, scale_mm)
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def sample(field: Field, x_mm: Field, y_mm: Field) -> Field:
    """Read a noise field at positions in millimetres."""
    middle = (NOISE_GRID_MM - 1) / 2
    values = cv2.remap(
        field, x_mm + middle, y_mm + middle, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(values, np.float32)


def fold_field(
    grid: Grid,
    rng: np.random.Generator,
    spacing_mm: float,
    phase: float,
    centre_mm: tuple[float, float],
) -> Field:
    """Noise whose zero lines run mostly towards a centre, like sulci seen in a slice.

    Parameters
    ----------
    grid : Grid
        The drawing surface.
    rng : Generator
        Source of the folds.
    spacing_mm : float
        Smoothing scale; zero lines lie about four times as far apart.
    phase : float
        Angle in radians between two independent patterns: near angles give near patterns.
    centre_mm : (float, float)
        Where the folds point to.
    """
    x_mm, y_mm = grid.positions_mm()
    warps = [2.5 * sample(noise_field(rng, 7), x_mm, y_mm) for _ in range(2)]
    x_mm = x_mm - np.float32(centre_mm[0]) + warps[0]
    y_mm = y_mm - np.float32(centre_mm[1]) + warps[1]
    radius_mm = np.hypot(x_mm, y_mm) + np.float32(1e-3)
    # Radii are squeezed around this one, which stretches the pattern along them.
    ring_mm, squeeze = 55.0, 0.45
    stretch = (ring_mm + squeeze * (radius_mm - ring_mm)) / radius_mm
    first, second = noise_field(rng, spacing_mm), noise_field(rng, spacing_mm)
    blended = np.cos(phase) * first + np.sin(phase) * second
    return sample(blended.astype(np.float32), x_mm * stretch, y_mm * stretch)


def draw_head(grid: Grid, view: View, rng: np.random.Generator) -> Field:
    """Skin, fat, muscle and skull, with fluid in the cavity; air around."""
    x_mm, y_mm = grid.positions_mm()
    head = shape_mask(grid, view.head_mm)
    cavity = shape_mask(grid, view.cavity_mm)
    skin_mm = depth_mm(grid, head)
    skull_mm = depth_mm(grid, ~cavity)
    fat_mm = 5.5 + 1.1 * sample(noise_field(rng, 9), x_mm, y_mm)
    marbling = sample(noise_field(rng, 3), x_mm, y_mm)
    tissue = MUSCLE + 0.05 * marbling + 0.4 * (marbling > 1.1)
    image = np.where(head, tissue, AIR).astype(np.float32)
    for shape in view.extracranial:
        image[painted_mask(grid, shape) & head] = shape.grey
    image[head & (skin_mm < fat_mm)] = FAT
    image += 0.05 * marbling * (head & (skin_mm < fat_mm))
    image[head & (skin_mm < 1.4)] = 0.5
    diploe = (skull_mm > 2.4) & (skull_mm < 5.0 + 0.6 * marbling)
    shell = (skull_mm > 0) & (skull_mm < 7.2) & (skin_mm > 2.5)
    image[shell] = BONE
    image[shell & diploe] = 0.36
    image[cavity] = FLUID
    dura = cavity & (depth_mm(grid, cavity) < 0.7)
    image[dura] = 0.3
    return image


def paint_folded(
    grid: Grid,
    image: Field,
    tissue: Mask,
    folds: Field,
    reach_mm: Field | float,
    cortex_mm: float,
    fold_width: float,
) -> Field:
    """Fill a region with cortex along its edge and its folds, and white matter within.

    Parameters
    ----------
    grid : Grid
        The drawing surface.
    image : (H, W) float32
        What lies below.
    tissue : (H, W) bool
        The region, without the clefts known beforehand.
    folds : (H, W) float32
        Noise whose zero lines become clefts.
    reach_mm : float or (H, W) float32
        Depth at which a cleft has closed.
    cortex_mm : float
        Thickness of the cortex.
    fold_width : float
        Half-width of a cleft at the surface, in units of `folds`.
    """
    surface_mm = depth_mm(grid, tissue)
    opening = fold_width * np.clip(1 - surface_mm / reach_mm, 0, 1)
    solid = tissue & (np.abs(folds) >= opening)
    from_cleft_mm = depth_mm(grid, solid)
    # Half a millimetre of transition stands in for partial volume.
    white = np.clip((from_cleft_mm - cortex_mm) / 0.8 + 0.5, 0, 1)
    matter = GREY_MATTER + (WHITE_MATTER - GREY_MATTER) * white
    return np.where(solid, matter, image).astype(np.float32)


def draw_brain(
    grid: Grid, view: View, rng: np.random.Generator, phase: float, image: Field
) -> Field:
    """Paint the folded brain, its deep structures and the ventricles into the cavity."""
    x_mm, y_mm = grid.positions_mm()
    cavity = shape_mask(grid, view.cavity_mm)
    rim_mm = 2.6 + 0.5 * sample(noise_field(rng, 8), x_mm, y_mm)
    cerebrum = depth_mm(grid, cavity) > rim_mm
    if view.cerebrum_mm:
        cerebrum = cerebrum & shape_mask(grid, view.cerebrum_mm)
    for fissure in view.fissures:
        cerebrum = cerebrum & ~painted_mask(grid, fissure)
    reach_mm = view.sulcus_depth_mm * np.clip(
        0.75 + 0.3 * sample(noise_field(rng, 10), x_mm, y_mm), 0.3, 1.3
    )
    folds = fold_field(grid, rng, 2.5, phase, (0, -10))
    image = paint_folded(grid, image, cerebrum, folds, reach_mm, 3.0, 0.26)
    if view.cerebellum_mm:
        cerebellum = shape_mask(grid, view.cerebellum_mm)
        folia = fold_field(grid, rng, 1.3, phase, (20, 24))
        image = paint_folded(grid, image, cerebellum, folia, 11.0, 1.5, 0.25)
    for shape in view.deep:
        image[painted_mask(grid, shape)] = shape.grey
    texture = 0.012 * sample(noise_field(rng, 2), x_mm, y_mm)
    return image + texture * cavity


def lesion_distance_mm(grid: Grid, phantom: Phantom, rng: np.random.Generator) -> Field:
    """Distance from the lesion's centre, wobbling so that its level lines are irregular."""
    x_mm, y_mm = grid.positions_mm()
    centre_x_mm, centre_y_mm = phantom.lesion_centre_mm
    wobble = sample(noise_field(rng, 6), x_mm, y_mm)
    distance_mm = np.hypot(x_mm - centre_x_mm, y_mm - centre_y_mm)
    return np.asarray(distance_mm + 0.1 * phantom.lesion_radius_mm * wobble, np.float32)


def draw_glioma(
    grid: Grid, view: View, phantom: Phantom, rng: np.random.Generator, image: Field
) -> Field:
    """Draw a ring that enhances around a dark core, in oedema that follows the white matter."""
    x_mm, y_mm = grid.positions_mm()
    radius_mm = phantom.lesion_radius_mm
    distance_mm = lesion_distance_mm(grid, phantom, rng)
    inside = depth_mm(grid, shape_mask(grid, view.cavity_mm)) > 2.5
    fingers = sample(noise_field(rng, 5), x_mm, y_mm)
    oedema = np.clip((1.9 * radius_mm + 4 * fingers - distance_mm) / 6, 0, 1)
    swollen = np.where(image > 0.35, 0.37 + 0.15 * (image - 0.37), 0.28)
    image = np.where(inside, image + oedema * (swollen - image), image)
    ring_mm = radius_mm * (0.26 + 0.07 * sample(noise_field(rng, 4), x_mm, y_mm))
    patchy = ENHANCED + 0.07 * sample(noise_field(rng, 2.5), x_mm, y_mm)
    core = 0.2 + 0.04 * sample(noise_field(rng, 2), x_mm, y_mm)
    image = np.where(inside & (distance_mm < radius_mm), patchy, image)
    return np.where(inside & (distance_mm < radius_mm - ring_mm), core, image).astype(np.float32)


def draw_meningioma(
    grid: Grid, view: View, phantom: Phantom, rng: np.random.Generator, image: Field
) -> Field:
    """Draw an even, bright mass on the dura with a thinning tail and a fluid cleft to the brain."""
    x_mm, y_mm = grid.positions_mm()
    radius_mm = phantom.lesion_radius_mm
    cavity = shape_mask(grid, view.cavity_mm)
    edge_mm = depth_mm(grid, cavity)
    distance_mm = lesion_distance_mm(grid, phantom, rng)
    even = 0.88 + 0.02 * sample(noise_field(rng, 2.5), x_mm, y_mm)
    pushed = np.clip((1.45 * radius_mm - distance_mm) / (0.4 * radius_mm), 0, 1)
    image = np.where(cavity & (image > 0.5), image - 0.13 * pushed, image)
    tail_mm = 4.0 * np.clip((2.3 * radius_mm - distance_mm) / radius_mm, 0, 1)
    cleft_mm = 0.9 + 0.5 * sample(noise_field(rng, 4), x_mm, y_mm)
    image = np.where(cavity & (distance_mm < radius_mm + cleft_mm), FLUID, image)
    image = np.where(cavity & (edge_mm < tail_mm), even, image)
    return np.where(cavity & (distance_mm < radius_mm), even, image).astype(np.float32)


def draw_pituitary(
    grid: Grid, _view: View, phantom: Phantom, rng: np.random.Generator, image: Field
) -> Field:
    """Draw a lobed, bright mass that rises from the widened sella, waisted at its entrance."""
    x_mm, y_mm = grid.positions_mm()
    radius_mm = phantom.lesion_radius_mm
    centre_x_mm, centre_y_mm = phantom.lesion_centre_mm
    wobble_mm = 0.06 * radius_mm * sample(noise_field(rng, 5), x_mm, y_mm)
    upper_mm = np.hypot(x_mm - centre_x_mm, y_mm - centre_y_mm) + wobble_mm - radius_mm
    lower_y_mm = centre_y_mm + 1.15 * radius_mm
    lower_mm = np.hypot(x_mm - centre_x_mm, y_mm - lower_y_mm) + wobble_mm - 0.82 * radius_mm
    outside_mm = np.minimum(upper_mm, lower_mm)
    body = 0.78 + 0.06 * sample(noise_field(rng, 3), x_mm, y_mm)
    image = np.where((upper_mm < 1.4) & (image > 0.2), FLUID, image)
    return np.where(outside_mm < 0, body, image).astype(np.float32)


LesionPainter = Callable[[Grid, View, Phantom, np.random.Generator, Field], Field]
LESION_PAINTERS: dict[Lesion, LesionPainter] = {
    Lesion.GLIOMA: draw_glioma,
    Lesion.MENINGIOMA: draw_meningioma,
    Lesion.PITUITARY: draw_pituitary,
}


def shade(image: Field, bias: float, rng: np.random.Generator) -> Field:
    """Multiply by a smooth field that varies by `bias` from its lowest to its highest value."""
    height_px, width_px = image.shape
    y, x = np.mgrid[-1 : 1 : height_px * 1j, -1 : 1 : width_px * 1j]
    slope_x, slope_y, bowl = rng.uniform(-1, 1, 3)
    field = slope_x * x + slope_y * y + bowl * (x * x + y * y)
    field = (field - field.min()) / (field.max() - field.min()) - 0.5
    return np.asarray(image * (1 + bias * field), np.float32)


def add_rician_noise(image: Field, sigma: float, rng: np.random.Generator) -> Field:
    """Take the magnitude of a signal with Gaussian noise in both of its channels."""
    real = image + sigma * rng.standard_normal(image.shape)
    imaginary = sigma * rng.standard_normal(image.shape)
    return np.hypot(real, imaginary).astype(np.float32)


def render(phantom: Phantom) -> Field:
    """Draw a phantom.

    Returns
    -------
    (H, W) float32
        0 to 1, at the size of the phantom.
    """
    view = VIEWS[phantom.view]
    narrowing = float(np.sqrt(1 - (phantom.level_mm / 95) ** 2))
    grid = Grid(
        phantom.width_px * SUPERSAMPLING,
        phantom.height_px * SUPERSAMPLING,
        phantom.mm_per_px / SUPERSAMPLING / narrowing,
    )
    # One stream a part: a lesion then leaves the folds of the same head as they are.
    head, brain, lesion, field = (np.random.default_rng([phantom.seed, k]) for k in range(4))
    noise = np.random.default_rng([phantom.seed, 4, round(phantom.level_mm * 1000)])
    image = draw_head(grid, view, head)
    image = draw_brain(grid, view, brain, phantom.level_mm / 18, image)
    if phantom.lesion is not Lesion.NONE:
        image = LESION_PAINTERS[phantom.lesion](grid, view, phantom, lesion, image)
    image = shrink(blur(image, 0.45 / grid.mm_per_px), phantom.width_px, phantom.height_px)
    image = shade(0.95 * image, phantom.bias, field)
    return np.clip(add_rician_noise(image, phantom.noise_sigma, noise), 0, 1)


def quantise(image: Field, bits: int) -> npt.NDArray[np.unsignedinteger]:
    """Round 0..1 to unsigned integers of a number of bits; uint8 up to 8 bits, else uint16."""
    levels = np.rint(image * ((1 << bits) - 1))
    return levels.astype(np.uint8 if bits <= 8 else np.uint16)


def derived_uid(*parts: object) -> UID:
    """Make a fixed UID under the 2.25 root: the decimal form of a UUID made from names."""
    name = "/".join(["neuroscan-edge-phantom", *map(str, parts)])
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")


def dicom_dataset(phantom: Phantom, values: npt.NDArray[np.unsignedinteger]) -> Dataset:
    """Describe a slice as an MR Image Storage instance, without file meta information.

    Parameters
    ----------
    phantom : Phantom
        What was drawn.
    values : (H, W) uint16
        Brighter means larger; they are inverted here for MONOCHROME1.
    """
    inverted = phantom.encoding is Encoding.DICOM_INVERTED
    highest = (1 << phantom.bits) - 1
    stored = highest - values if inverted else values
    slope, intercept = 1.5, -20.0
    # The window holds the whole range but for the brightest tenth, which lies at the low end of
    # inverted values.
    window_low, window_high = (0.1, 1.0) if inverted else (0.0, 0.9)
    centre = slope * highest * (window_low + window_high) / 2 + intercept
    width = slope * highest * (window_high - window_low)
    instance_number = 1 + round(phantom.level_mm / SLICE_SPACING_MM)
    pitch = f"{phantom.mm_per_px:.6g}"
    half_extent_mm = (phantom.width_px - 1) / 2 * phantom.mm_per_px

    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = derived_uid(phantom.seed, "instance", phantom.name)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20200101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = "examples/draw_phantoms.py"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic phantom"
    dataset.SeriesDescription = "Synthetic phantom, T1-like"
    dataset.PatientName = "PHANTOM"
    dataset.PatientID = "PHANTOM-0001"
    # The standard wants these present, and allows them empty.
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientComments = STATEMENT
    dataset.BodyPartExamined = "HEAD"
    dataset.ScanningSequence = "RM"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = "5"
    dataset.SpacingBetweenSlices = f"{SLICE_SPACING_MM:g}"
    dataset.RepetitionTime = ""
    dataset.EchoTime = ""
    dataset.EchoTrainLength = ""
    dataset.PatientPosition = "HFS"
    dataset.StudyInstanceUID = derived_uid(phantom.seed, "study")
    dataset.SeriesInstanceUID = derived_uid(phantom.seed, "series")
    dataset.StudyID = str(phantom.seed)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = instance_number
    dataset.ImagePositionPatient = [
        f"{-half_extent_mm:.6g}",
        f"{-half_extent_mm:.6g}",
        f"{phantom.level_mm:.6g}",
    ]
    dataset.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
    dataset.FrameOfReferenceUID = derived_uid(phantom.seed, "frame-of-reference")
    dataset.PositionReferenceIndicator = ""
    dataset.SliceLocation = f"{phantom.level_mm:.6g}"
    dataset.ImageComments = STATEMENT
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows = phantom.height_px
    dataset.Columns = phantom.width_px
    dataset.PixelSpacing = [pitch, pitch]
    dataset.BitsAllocated = 16
    dataset.BitsStored = phantom.bits
    dataset.HighBit = phantom.bits - 1
    dataset.PixelRepresentation = 0
    dataset.QualityControlImage = "YES"
    dataset.BurnedInAnnotation = "NO"
    dataset.WindowCenter = f"{centre:.6g}"
    dataset.WindowWidth = f"{width:.6g}"
    dataset.RescaleIntercept = f"{intercept:g}"
    dataset.RescaleSlope = f"{slope:g}"
    dataset.RescaleType = "US"
    dataset.PixelData = stored.astype("<u2").tobytes()
    return dataset


def write_dicom(path: Path, phantom: Phantom, values: npt.NDArray[np.unsignedinteger]) -> None:
    """Write a slice as a DICOM file, Explicit VR Little Endian, with preamble and file meta."""
    dataset = dicom_dataset(phantom, values)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Else pydicom puts in its own, which change with its version.
    meta.ImplementationClassUID = derived_uid("implementation")
    meta.ImplementationVersionName = "DRAW_PHANTOMS"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def write_raster(path: Path, phantom: Phantom, image: Field) -> None:
    """Quantise a slice and write it as a picture."""
    values = quantise(image, phantom.bits)
    grey = Image.fromarray(values)
    match phantom.encoding:
        case Encoding.GREY_PNG:
            grey.save(path, format="PNG", optimize=True)
        case Encoding.RGBA_PNG:
            # Transparent outside the head: readers must composite over black.
            opaque = blur(image, 3.0) > 0.06
            alpha = Image.fromarray(np.where(opaque, 255, 0).astype(np.uint8))
            Image.merge("RGBA", (grey, grey, grey, alpha)).save(path, format="PNG", optimize=True)
        case Encoding.PALETTE_PNG:
            # The ramp falls: a reader that takes indices for grey levels shows a negative.
            indexed = Image.fromarray(255 - values)
            indexed.putpalette([level for level in range(255, -1, -1) for _ in range(3)])
            indexed.save(path, format="PNG", optimize=False)
        case Encoding.GREY_JPEG:
            grey.save(path, format="JPEG", quality=92)
        case Encoding.RGB_JPEG:
            grey.convert("RGB").save(path, format="JPEG", quality=92)
        case Encoding.TIFF:
            grey.save(path, format="TIFF", compression="tiff_adobe_deflate")
        case Encoding.BMP:
            grey.save(path, format="BMP")
        case Encoding.WEBP:
            grey.convert("RGB").save(path, format="WEBP", lossless=True, quality=100, method=4)
        case _:
            raise ValueError(f"{phantom.encoding} is not a picture format")


def write_phantom(folder: Path, phantom: Phantom) -> Path:
    """Draw a phantom and write it below a folder; returns its path."""
    path = folder / phantom.name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = render(phantom)
    if phantom.encoding in {Encoding.DICOM, Encoding.DICOM_INVERTED}:
        write_dicom(path, phantom, quantise(image, phantom.bits))
    else:
        write_raster(path, phantom, image)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all phantoms."""
    parser = argparse.ArgumentParser(description="Draw synthetic brain-MRI phantoms.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent / "scans",
        metavar="DIR",
        help="folder to write to (default: examples/scans)",
    )
    output: Path = parser.parse_args(arguments).output
    for phantom in PHANTOMS:
        path = write_phantom(output, phantom)
        print(f"{path}: {phantom.width_px}x{phantom.height_px}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
