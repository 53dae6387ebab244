"""The samples: real scans of one slice each, or noise; read once before anything is timed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import ScanError, UsageError
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes.protocol import UInt8Batch
from neuroscan_edge.scans import Scan, find_scans, read_scans
from neuroscan_edge.scans.quality import examine
from neuroscan_edge.spec import Preprocessing

NOISE_SIDE = 512


@dataclass(frozen=True, slots=True)
class Library:
    """Files that can be measured on, and their preprocessed slices.

    Parameters
    ----------
    files : tuple of Path
        One slice each.
    slices : (N, H, W, 1) uint8
        What the graph reads of them.
    left_out : int
        Files that cannot be decoded, hold several slices or are no slice that is classified.
    kind : str
        ``scans`` or ``noise``.
    """

    files: tuple[Path, ...]
    slices: UInt8Batch
    left_out: int
    kind: str


@contextmanager
def open_library(
    inputs: tuple[Path, ...], spec: Preprocessing, most: int, *, noise: bool = False
) -> Iterator[Library]:
    """Read scans, or make noise files for the block.

    Parameters
    ----------
    inputs : tuple of Path
        Files and folders; empty for noise.
    spec : Preprocessing
        Of the model.
    most : int
        Samples at most, spread evenly over what is found.
    noise : bool
        Use random noise instead of scans.

    Raises
    ------
    UsageError
        If there is nothing to measure on.
    """
    if noise:
        with TemporaryDirectory(prefix="neuroscan-noise-") as place:
            yield _read(_write_noise(Path(place), most), spec, "noise", found=most)
        return
    if not inputs:
        raise UsageError("there are no scans; name files or folders, or give --noise")
    found = find_scans(inputs).files
    spaced = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    yield _read(tuple(found[index] for index in spaced), spec, "scans", found=len(found))


def _read(files: tuple[Path, ...], spec: Preprocessing, kind: str, found: int) -> Library:
    preprocess = CpuPreprocessor(spec)
    usable: list[Path] = []
    slices: list[npt.NDArray[np.uint8]] = []
    for path in files:
        try:
            scans = list(read_scans(path))
        except ScanError:
            continue
        if len(scans) == 1 and isinstance(scans[0], Scan):
            if any(finding.rejects for finding in examine(scans[0])):
                continue
            usable.append(path)
            slices.append(preprocess(scans[0].pixels))
    if not usable:
        raise UsageError(
            f"there are no scans to measure on: {found} files found, {len(files)} tried, none of "
            "them a single readable slice; give DICOM, PNG, JPEG, TIFF, BMP or WebP, or --noise"
        )
    return Library(tuple(usable), np.stack(slices)[..., None], len(files) - len(usable), kind)


def _write_noise(place: Path, count: int) -> tuple[Path, ...]:
    rng = np.random.default_rng(0)
    files = []
    for index in range(count):
        pixels = rng.integers(0, 256, (NOISE_SIDE, NOISE_SIDE), np.uint8)
        path = place / f"{index:04}.png"
        cv2.imwrite(str(path), pixels)
        files.append(path)
    return tuple(files)
