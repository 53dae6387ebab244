"""What grey levels a class has, and where."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GREY_LEVELS = 256


@dataclass(frozen=True, slots=True)
class Intensities:
    """Grey levels of a stack of slices.

    Parameters
    ----------
    images : int
        Slices in the stack.
    mean : (H, W) float64
        Mean over the slices at each pixel, in grey levels.
    variance : (H, W) float64
        Population variance over the slices at each pixel, in grey levels squared.
    histogram : (256,) int64
        Pixels of all slices at each grey level.
    """

    images: int
    mean: npt.NDArray[np.float64]
    variance: npt.NDArray[np.float64]
    histogram: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ClassIntensities:
    """Grey levels of one class.

    Parameters
    ----------
    label : str
        Class name.
    before, after : Intensities
        Before and after CLAHE.
    """

    label: str
    before: Intensities
    after: Intensities

    @property
    def stages(self) -> dict[str, Intensities]:
        """What a reader calls the two, in order."""
        return {"before CLAHE": self.before, "after CLAHE": self.after}


def intensities(slices: npt.NDArray[np.uint8]) -> Intensities:
    """Measure a stack of at least one slice, (N, H, W) uint8."""
    count = len(slices)
    # Whole numbers: exact, and no float64 copy of the stack.
    total = slices.sum(axis=0, dtype=np.int64)
    squares = sum(pixels.astype(np.int64) ** 2 for pixels in slices)
    return Intensities(
        images=count,
        mean=total / count,
        variance=(count * squares - total**2) / count**2,
        histogram=np.bincount(slices.reshape(-1), minlength=GREY_LEVELS),
    )
