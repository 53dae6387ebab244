"""Examples, and how each is rendered."""

from dataclasses import dataclass
from enum import Enum

import numpy as np

from examples.phantoms.acquisition import move, receive
from examples.phantoms.anatomy import Field, Head
from examples.phantoms.contrast import Sequence, signal
from examples.phantoms.lesions import Lesion
from examples.phantoms.odd import knee, water_cylinder
from examples.phantoms.plane import Plane


class Encoding(Enum):
    """File format of an example."""

    GREY_PNG = "8-bit PNG"
    DEEP_PNG = "16-bit PNG"
    RGBA_PNG = "RGBA PNG"
    PALETTE_PNG = "palette PNG"
    GREY_JPEG = "grey JPEG"
    RGB_JPEG = "RGB JPEG"
    TIFF = "TIFF"
    BMP = "BMP"
    WEBP = "WebP"
    DICOM = "DICOM"
    DICOM_INVERTED = "DICOM, MONOCHROME1"


class Subject(Enum):
    """What lies in the scanner, as Body Part Examined names it."""

    HEAD = "HEAD"
    KNEE = "KNEE"
    TEST_OBJECT = "PHANTOM"


@dataclass(frozen=True, slots=True)
class Example:
    """One file of ``examples/scans``.

    Parameters
    ----------
    path : str
        Name below the folder of scans.
    label : str
        Class drawn, as in the labels of the models; empty for what is no slice to classify.
    sequence : Sequence
    plane : Plane
    encoding : Encoding
    seed : int
        Of the head, the lesion's edge and the noise.
    lesion : Lesion, optional
    noise : float
        Deviation, of the signal of fat.
    blur_px : float
        Deviation of the blur.
    window : tuple of float
        Signals that become black and white.
    motion_px : float
        Deviation of the head's motion; 0 for none.
    subject : Subject
        What lies in the scanner.
    localizer : bool
        A DICOM file says that it only serves to plan the scan.
    instance : int
        Number in its DICOM series.
    """

    path: str
    label: str
    sequence: Sequence
    plane: Plane
    encoding: Encoding
    seed: int
    lesion: Lesion | None = None
    noise: float = 0.018
    blur_px: float = 0.6
    window: tuple[float, float] = (0.03, 0.95)
    motion_px: float = 0.0
    subject: Subject = Subject.HEAD
    localizer: bool = False
    instance: int = 1

    @property
    def body_part(self) -> str:
        """Body Part Examined (0018,0015)."""
        return self.subject.value

    @property
    def expected(self) -> str:
        """Decision that a good model takes: answer, refer or rejected."""
        if self.localizer or self.subject is Subject.KNEE:
            return "rejected"
        return "refer" if self.motion_px or self.subject is Subject.TEST_OBJECT else "answer"


def render(example: Example) -> Field:
    """Draw an example; (H, W) float64, 0 to 1."""
    # Slices of one head differ in their noise.
    rng = np.random.default_rng([example.seed, 7, *example.path.encode()])
    match example.subject:
        case Subject.HEAD:
            image = _head(example)
        case Subject.KNEE:
            image = knee(example.plane, rng)
        case Subject.TEST_OBJECT:
            image = water_cylinder(example.plane, rng)
    if example.motion_px:
        image = move(image, rng, example.motion_px, jumps=9)
    image = receive(image, rng, example.noise, example.blur_px)
    low, high = example.window
    return np.clip((image - low) / (high - low), 0, 1)


def _head(example: Example) -> Field:
    seed, sequence, lesion = example.seed, example.sequence, example.lesion
    head = Head(seed)
    points = example.plane.points_mm()
    push = lesion.push(head.bend(points)) if lesion else 0.0
    tissue = head.tissue(points, push)
    image = signal(tissue, sequence, example.plane.mm_per_px, seed)
    return lesion.paint(image, tissue, sequence, seed) if lesion else image
