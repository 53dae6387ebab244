"""Judging a decoded slice before any model sees it: by its pixels, and by what its file says.

The pixels are looked at on a regular subsample of at most 128x128, so that the cost does not grow
with the image.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError, SpecError
from neuroscan_edge.scans.header_quality import header_findings
from neuroscan_edge.scans.scan import Scan
from neuroscan_edge.spec import Finding

FOREGROUND_LEVEL = 20
"""Grey level above which a pixel is taken for tissue: the background of an MR slice is black."""

SATURATED_LEVEL = 250
"""Grey level from which a pixel counts as saturated: JPEG spreads 255 a little."""

_SAMPLES_A_SIDE = 128
_COARSE_SIDE = 16
_RANGES = {"least_side_px": 4096.0, "least_contrast": 255.0, "most_saturated": 1.0}


@dataclass(frozen=True, slots=True)
class QualityThresholds:
    """From where on pixels are found fault with; the defaults suit any model, a bundle's its own.

    Parameters
    ----------
    least_side_px : int
        A slice with a shorter side is too small, 1 to 4096 pixels.
    least_contrast : float
        A slice of less `PixelMeasures.contrast` is blank, 0 to 255 grey levels.
    most_saturated : float
        A slice of more `PixelMeasures.saturated` is clipped, 0 to 1.

    Raises
    ------
    SpecError
        If a threshold is out of its range.
    """

    least_side_px: int = 32
    least_contrast: float = 2.0
    most_saturated: float = 0.5

    def __post_init__(self) -> None:
        for name, most in _RANGES.items():
            value = getattr(self, name)
            least = 1 if name == "least_side_px" else 0
            kinds = int if name == "least_side_px" else int | float
            known = isinstance(value, kinds) and not isinstance(value, bool)
            if not known or not least <= value <= most:
                raise SpecError(f"{name} is {value!r}; give a number from {least} to {most:g}")

    def to_json(self) -> dict[str, Any]:
        """Return the thresholds as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "QualityThresholds":
        """Read `to_json` values.

        Raises
        ------
        SpecError
            If a threshold is missing, unknown or out of its range.
        """
        if not isinstance(fields, Mapping) or set(fields) != set(_RANGES):
            raise SpecError(f"quality thresholds are {fields!r}; wanted {', '.join(_RANGES)}")
        return cls(**fields)


@dataclass(frozen=True, slots=True)
class PixelMeasures:
    """What is measured of a slice's pixels.

    Parameters
    ----------
    side_px : int
        The shorter side.
    contrast : float
        Standard deviation, in grey levels, of the slice averaged down to 16x16: large structure
        counts, while noise without an object averages out.
    saturated : float
        Share of the pixels above `FOREGROUND_LEVEL` that are at least `SATURATED_LEVEL`, 0 to 1.
    """

    side_px: int
    contrast: float
    saturated: float


_DEFAULT_THRESHOLDS = QualityThresholds()


def examine(scan: Scan, thresholds: QualityThresholds = _DEFAULT_THRESHOLDS) -> tuple[Finding, ...]:
    """Judge a slice; the findings that reject come first.

    Parameters
    ----------
    scan : Scan
        As it was decoded.
    thresholds : QualityThresholds
        The bundle's.

    Raises
    ------
    CorruptScanError
        If there is no pixel.
    """
    measures = measure(scan.pixels)
    found = [*scan.findings, *header_findings(scan.facts)]
    if measures.side_px < thresholds.least_side_px:
        found.append(Finding.TOO_SMALL)
    if measures.contrast < thresholds.least_contrast:
        found.append(Finding.BLANK)
    if measures.saturated > thresholds.most_saturated:
        found.append(Finding.CLIPPED)
    return tuple(sorted(found, key=lambda finding: not finding.rejects))


def measure(pixels: npt.NDArray[np.uint8]) -> PixelMeasures:
    """Measure a slice, (H, W) uint8.

    Raises
    ------
    CorruptScanError
        If there is no pixel.
    """
    rows, columns = pixels.shape
    if not pixels.size:
        raise CorruptScanError(f"the image is {columns}x{rows} and has no pixel; export it again")
    step_down, step_right = -(-rows // _SAMPLES_A_SIDE), -(-columns // _SAMPLES_A_SIDE)
    sample = np.ascontiguousarray(pixels[::step_down, ::step_right])
    coarse = cv2.resize(sample, (_COARSE_SIDE, _COARSE_SIDE), interpolation=cv2.INTER_AREA)
    _, deviation = cv2.meanStdDev(coarse)
    foreground = int(np.count_nonzero(sample > FOREGROUND_LEVEL))
    saturated = int(np.count_nonzero(sample >= SATURATED_LEVEL))
    return PixelMeasures(
        side_px=min(rows, columns),
        contrast=float(deviation[0, 0]),
        saturated=saturated / max(foreground, 1),
    )
