"""The labelled slices that a certificate speaks of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import ParityError
from neuroscan_edge.model.bundle import CALIBRATION, Bundle
from neuroscan_edge.parity.evaluation.duplicates import (
    DEFAULT_DISTANCE,
    duplicate_groups,
    without_duplicates_in,
)
from neuroscan_edge.parity.evaluation.images import Images, UnreadableFile, load_images
from neuroscan_edge.preprocess import reference
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import LabelledFile, Split, SplitName, has_split, load_split

Part = Literal["whole", "leak-free"]
REFERENCE_CHECKED = 8
"""Slices preprocessed by the slow reference too, spread over the set."""


@dataclass(frozen=True, slots=True)
class LabelledSlices:
    """Decoded, preprocessed slices with their labels.

    Parameters
    ----------
    labels : tuple of str
        The model's classes; a target indexes them.
    part : {"whole", "leak-free"}
        Whether slices with a near-duplicate in training were left out.
    fingerprint : str
        SHA-256 over label and file hash of each file of the part.
    files : tuple of LabelledFile
        N readable files.
    targets : (N,) int64
        Label indices.
    shown : (N, H, W) uint8
        Resized, before CLAHE: for people.
    inputs : (N, H, W, 1) uint8
        What every stage is given.
    groups : (N,) int32
        Slices of one number are near-duplicates.
    unreadable : tuple of UnreadableFile
        Files of the split that cannot be decoded.
    left_out : int
        Readable slices of the split that are not of the part.
    overlap : int
        Slices of the part that the INT8 graph was calibrated on.
    """

    labels: tuple[str, ...]
    part: Part
    fingerprint: str
    files: tuple[LabelledFile, ...]
    targets: npt.NDArray[np.int64]
    shown: npt.NDArray[np.uint8]
    inputs: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.int32]
    unreadable: tuple[UnreadableFile, ...]
    left_out: int
    overlap: int

    @property
    def counts(self) -> dict[str, int]:
        """Readable images of each class."""
        return {name: int((self.targets == i).sum()) for i, name in enumerate(self.labels)}

    @property
    def group_counts(self) -> dict[str, int]:
        """Readable images of each class, near-duplicates as one."""
        return {
            name: len(np.unique(self.groups[self.targets == i]))
            for i, name in enumerate(self.labels)
        }

    @property
    def hashes(self) -> list[str]:
        """SHA-256 of each file."""
        return [file.sha256 for file in self.files]


def load_slices(
    bundle: Bundle, data: Path, part: Part = "whole", *, allow_overlap: bool = False
) -> LabelledSlices:
    """Load the test split of a data set, or a folder of class folders, as a bundle sees it.

    Raises
    ------
    DatasetError
        If the data is not laid out as needed, has unknown classes, or nothing can be read.
    ParityError
        If slices are of the calibration sample and that is not allowed, or none is left.
    """
    split = load_split(data, _split_name(data, part), bundle.labels)
    images = load_images(split, bundle.preprocessing, every_class=False)
    kept = np.full(len(images.files), True)
    if part == "leak-free":
        kept = _without_leaks(images, load_split(data, "training", bundle.labels), bundle)
        if not kept.any():
            raise ParityError(f"every test image of {data} has a near-duplicate in training")
    files = tuple(file for file, keep in zip(images.files, kept, strict=True) if keep)
    sampled = _calibration_sample(bundle)
    overlap = sum(file.sha256 in sampled for file in files)
    if overlap and not allow_overlap:
        raise ParityError(
            f"{overlap} of {len(files)} images of {data} were in the sample that the INT8 graph "
            "was calibrated on: they cannot speak for others. Give images that were not, or "
            "--allow-overlap, which the certificate will state"
        )
    preprocessor = CpuPreprocessor(bundle.preprocessing)
    shown = images.resized[kept]
    # The part's own files: with unreadable ones where it is the whole.
    judged = split if part == "whole" else replace(split, files=files)
    return LabelledSlices(
        labels=bundle.labels,
        part=part,
        fingerprint=judged.fingerprint,
        files=files,
        targets=images.targets[kept],
        shown=shown,
        inputs=np.stack([preprocessor.equalise(pixels) for pixels in shown])[..., None],
        groups=duplicate_groups(images.hashes[kept], DEFAULT_DISTANCE),
        unreadable=images.unreadable,
        left_out=int((~kept).sum()),
        overlap=overlap,
    )


def preprocessing_differs(
    slices: LabelledSlices, bundle: Bundle, recorded: Sequence[str] | None, found: Sequence[str]
) -> list[int]:
    """List the slices that this machine preprocesses otherwise than the baseline was given them.

    Parameters
    ----------
    slices : LabelledSlices
        N slices.
    bundle : Bundle
        Its specification.
    recorded, found : sequence of str
        Hashes of the N inputs as the baseline was given them, None where that was not recorded,
        and as they are here.
    """
    differing = {i for i, each in enumerate(found) if recorded and recorded[i] != each}
    spread = np.unique(np.linspace(0, len(slices.files) - 1, REFERENCE_CHECKED).astype(int))
    for index in spread:
        pixels = next(read_scans(slices.files[index].path)).pixels
        wanted = reference.preprocess(pixels, bundle.preprocessing)
        if not np.array_equal(wanted, slices.inputs[index, ..., 0]):
            differing.add(int(index))
    return sorted(differing)


def _split_name(data: Path, part: Part) -> SplitName:
    # A folder of class folders alone is what somebody else's test set often is.
    bare = not has_split(data, "testing") and not has_split(data, "training")
    return "training" if bare and part == "whole" else "testing"


def _without_leaks(images: Images, training: Split, bundle: Bundle) -> npt.NDArray[np.bool_]:
    known = load_images(training, bundle.preprocessing, every_class=False)
    return without_duplicates_in(images.hashes, known.hashes, DEFAULT_DISTANCE)


def _calibration_sample(bundle: Bundle) -> set[str]:
    if CALIBRATION not in bundle.files:
        return set()
    table = json.loads(bundle.read(CALIBRATION))
    return {each["sha256"] for each in table.get("images", [])}
