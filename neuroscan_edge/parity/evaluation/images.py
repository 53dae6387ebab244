"""A split in memory: every slice decoded and resized once, unreadable ones listed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DatasetError, ScanError
from neuroscan_edge.parity.evaluation.duplicates import perceptual_hashes
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import LabelledFile, Split
from neuroscan_edge.spec import Preprocessing


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file of a split that cannot be decoded.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What was found, and what to do.
    label : int
        Its class, as an index into the split's labels.
    kind : str
        The stable word for what is wrong: ``corrupt``, ``unsupported``, ``too-large``.
    """

    path: Path
    reason: str
    label: int
    kind: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Images:
    """Decoded slices with their labels.

    Parameters
    ----------
    resized : (N, H, W) uint8
        After the spec's resize, before its CLAHE: where augmentation acts.
    targets : (N,) int64
        Label indices.
    hashes : (N,) uint64
        Perceptual hashes of the slices as decoded.
    files : tuple of LabelledFile
        The file of each slice.
    unreadable : tuple of UnreadableFile
        Files left out.
    """

    resized: npt.NDArray[np.uint8]
    targets: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    files: tuple[LabelledFile, ...]
    unreadable: tuple[UnreadableFile, ...]

    def relabelled(self, labels: Sequence[str], wanted: Sequence[str]) -> "Images":
        """Renumber the targets by other labels; a class that is not among them becomes -1."""
        places = np.array([wanted.index(name) if name in wanted else -1 for name in labels])
        return replace(self, targets=places[self.targets])


def load_images(
    split: Split, spec: Preprocessing, workers: int = 4, *, every_class: bool = True
) -> Images:
    """Decode a split; 50 kB of memory a slice at 224x224.

    Parameters
    ----------
    split : Split
        What to decode.
    spec : Preprocessing
        Whose resize is done.
    workers : int
        Decoding threads.
    every_class : bool
        Whether a class of which no image can be read is an error.

    Raises
    ------
    DatasetError
        If no image can be read, or none of some class where every class is asked for.
    """
    preprocessor = CpuPreprocessor(spec)

    def load(file: LabelledFile) -> tuple[npt.NDArray[np.uint8], np.uint64] | UnreadableFile:
        try:
            pixels = next(read_scans(file.path)).pixels
        except ScanError as error:
            return UnreadableFile(file.path, str(error), file.label, error.kind)
        return preprocessor.resize(pixels), perceptual_hashes([pixels])[0]

    with ThreadPoolExecutor(workers) as pool:
        loaded = list(pool.map(load, split.files))
    pairs = list(zip(split.files, loaded, strict=True))
    kept = [(file, *each) for file, each in pairs if not isinstance(each, UnreadableFile)]
    readable = {file.label for file, _, _ in kept}
    for file, each in pairs:
        if file.label not in readable and (every_class or not kept):
            name = split.labels[file.label]
            raise DatasetError(f"no image of {name} can be read; the first is {each}")
    return Images(
        resized=np.stack([resized for _, resized, _ in kept]),
        targets=np.array([file.label for file, _, _ in kept], np.int64),
        hashes=np.array([hashed for _, _, hashed in kept], np.uint64),
        files=tuple(file for file, _, _ in kept),
        unreadable=tuple(each for each in loaded if isinstance(each, UnreadableFile)),
    )
