"""From where on a slice's pixels are found fault with, chosen on the training split."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import DatasetError, ScanError, SpecError
from neuroscan_edge.scans import Scan, read_scans
from neuroscan_edge.scans.dataset import Split, load_splits
from neuroscan_edge.scans.quality import PixelMeasures, QualityThresholds, examine, measure
from neuroscan_edge.spec import Finding


@dataclass(frozen=True, slots=True)
class QualityOptions:
    """How thresholds are chosen.

    Parameters
    ----------
    coverage : float
        Share of the training slices that each measure passes, before any margin; above 0.5.
    margin : float
        What rejects does so only at this many times less than what the training split shows: a
        slice that is rejected gets no answer at all. At least 1.
    """

    coverage: float = 0.999
    margin: float = 2.0

    def __post_init__(self) -> None:
        if not 0.5 < self.coverage <= 1:
            raise SpecError(f"coverage is {self.coverage}; give a share above 0.5, at most 1")
        if not self.margin >= 1:
            raise SpecError(f"margin is {self.margin}; give at least 1")


@dataclass(frozen=True, slots=True)
class ChosenQuality:
    """Thresholds, and what they find in the data they were chosen on and beside it.

    Parameters
    ----------
    thresholds : QualityThresholds
        What was chosen.
    options : QualityOptions
        How.
    fingerprint : str
        Of the training split.
    slices : mapping of str to int
        Slices read, by split.
    touched : mapping of str to mapping of str to int
        Slices with each finding, by split.
    """

    thresholds: QualityThresholds
    options: QualityOptions
    fingerprint: str
    slices: Mapping[str, int]
    touched: Mapping[str, Mapping[str, int]]

    def to_json(self) -> dict[str, Any]:
        """Return what a bundle says of its thresholds."""
        return {
            "quality": self.thresholds.to_json(),
            "quality_chosen": {
                "coverage": self.options.coverage,
                "margin": self.options.margin,
                "training_fingerprint": self.fingerprint,
                "slices": dict(self.slices),
                "touched": {split: dict(counts) for split, counts in self.touched.items()},
            },
        }


def choose_quality(data: Path, options: QualityOptions | None = None) -> ChosenQuality:
    """Choose thresholds on a data set's training split and count what they find in every split.

    Parameters
    ----------
    data : Path
        Folder of the data set.
    options : QualityOptions, optional
        Coverage and margin.

    Raises
    ------
    DatasetError
        If the data set is not laid out as one, or no training slice can be read.
    """
    options = options or QualityOptions()
    splits = load_splits(data)
    measures = [measure(scan.pixels) for scan in _readable(splits["training"])]
    if not measures:
        raise DatasetError(f"no training slice in {data} can be read; give the data set's folder")
    thresholds = thresholds_of(measures, options)
    slices: dict[str, int] = {}
    touched: dict[str, dict[str, int]] = {}
    for name, split in splits.items():
        found = [examine(scan, thresholds) for scan in _readable(split)]
        slices[name] = len(found)
        touched[name] = {
            str(finding): count
            for finding in Finding
            if (count := sum(finding in each for each in found))
        }
    return ChosenQuality(thresholds, options, splits["training"].fingerprint, slices, touched)


def thresholds_of(measures: Sequence[PixelMeasures], options: QualityOptions) -> QualityThresholds:
    """Choose thresholds from the measures of at least one training slice.

    Of `saturated`, which only refers, the threshold is what the share `coverage` of the slices does
    not exceed; of side and contrast, which reject, `margin` times less than what that share
    reaches.
    """
    spare = int((1 - options.coverage) * len(measures) + 1e-9)
    sides = sorted(each.side_px for each in measures)
    contrasts = sorted(each.contrast for each in measures)
    saturated = sorted(each.saturated for each in measures)
    return QualityThresholds(
        least_side_px=max(int(sides[spare] / options.margin), 1),
        # Rounded away from what training slices have.
        least_contrast=int(contrasts[spare] / options.margin * 100) / 100,
        most_saturated=min(int(saturated[-1 - spare] * 10_000 + 1) / 10_000, 1.0),
    )


def _readable(split: Split) -> Iterator[Scan]:
    for file in split.files:
        try:
            # Frames that cannot be decoded are no scans.
            yield from (scan for scan in read_scans(file.path) if isinstance(scan, Scan))
        except ScanError:
            continue
