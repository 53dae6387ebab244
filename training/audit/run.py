"""Auditing a data set: what it holds, which images occur twice, and which tests leaked."""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DatasetError, ScanError, UsageError
from neuroscan_edge.parity.evaluation.duplicates import (
    DEFAULT_DISTANCE,
    MAX_DISTANCE,
    nearest_distances,
    perceptual_hashes,
    reduced,
)
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import LabelledFile, Split, SplitName, load_splits, open_dataset
from training.audit.duplicate_pairs import DecodedImage, find_pairs
from training.audit.page import audit_page
from training.audit.record import (
    Audit,
    AuditedImage,
    ClassAudit,
    LeakFreeImage,
    SplitAudit,
    Unreadable,
    audit_json,
    leak_free_csv,
)
from training.audit.stored_format import stored_format
from training.report.folder import make_report_folder, write_report

HASH_BITS = 64


def audit(data: Path, output: Path, distance: int = DEFAULT_DISTANCE) -> Audit:
    """Audit a data set and write ``audit.json``, ``audit.html`` and ``leak-free.csv``.

    The last is written only where there is a test split; one of an earlier audit is removed.

    Parameters
    ----------
    data : Path
        Data set folder or zip.
    output : Path
        Folder of the report.
    distance : int
        Perceptual-hash bits, of 64, within which two images are near-duplicates.

    Raises
    ------
    DatasetError
        If the data set is not laid out as needed, or no training image can be read.
    UsageError
        If the distance is out of its domain.
    OutputError
        If the report cannot be written.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise UsageError(f"the distance is {distance} bits; it must be 0 to {MAX_DISTANCE}")
    make_report_folder(output)
    with tempfile.TemporaryDirectory(prefix="neuroscan-") as work:
        root = open_dataset(data, Path(work))
        found = audit_folder(root, distance)
        page = audit_page(found, root)
    files = {
        "audit.html": page.encode(),
        "leak-free.csv": None if found.leak_free is None else leak_free_csv(found.leak_free),
        # Last: other commands rely on it.
        "audit.json": audit_json(found),
    }
    write_report(output, files)
    return found


def audit_folder(root: Path, distance: int, workers: int = 4) -> Audit:
    """Audit an unpacked data set; nothing is written.

    Raises
    ------
    DatasetError
        If the data set is not laid out as needed, or no training image can be read.
    """
    splits = load_splits(root)

    with ThreadPoolExecutor(workers) as pool:
        reads = [
            pool.submit(_read, root, name, split.labels[file.label], file)
            for name, split in splits.items()
            for file in split.files
        ]
        found = [read.result() for read in reads]
    unreadable = tuple(each for each in found if isinstance(each, Unreadable))
    images = [each for each in found if isinstance(each, DecodedImage)]
    training = [image for image in images if image.split == "training"]
    tests = [image for image in images if image.split == "testing"]
    if not training:
        raise DatasetError(
            f"no training image can be read; the first is {unreadable[0].path}: "
            f"{unreadable[0].reason}"
        )
    nearest = nearest_distances(_hashes(tests), _hashes(training))
    leak_free = [
        LeakFreeImage(test.path, test.label, test.file.sha256, int(bits))
        for test, bits in zip(tests, nearest, strict=True)
        if bits > distance
    ]
    pairs = find_pairs(images, distance)
    return Audit(
        distance=distance,
        labels=splits["training"].labels,
        splits={name: _split_audit(name, split, images) for name, split in splits.items()},
        unreadable=unreadable,
        duplicates=pairs.listed,
        conflicting_training=tuple(
            AuditedImage(image.path, image.label, image.file.sha256)
            for image in training
            if image.path in pairs.doubtful
        ),
        leak_free=tuple(leak_free) if "testing" in splits else None,
        tests_by_nearest_distance=tuple(np.bincount(nearest, minlength=HASH_BITS + 1).tolist()),
        unlisted=pairs.unlisted,
    )


def _read(
    root: Path, split: SplitName, label: str, file: LabelledFile
) -> DecodedImage | Unreadable:
    path = file.path.relative_to(root).as_posix()
    try:
        pixels = next(read_scans(file.path)).pixels
    except ScanError as error:
        return Unreadable(path, str(error))
    shape = np.array(pixels.shape, np.int64)
    return DecodedImage(
        file=file,
        path=path,
        label=label,
        split=split,
        stored=stored_format(file.path),
        pixels_sha256=hashlib.sha256(shape.tobytes() + pixels.tobytes()).hexdigest(),
        perceptual_hash=perceptual_hashes([pixels])[0],
        reduced=reduced(pixels),
    )


def _hashes(images: Sequence[DecodedImage]) -> npt.NDArray[np.uint64]:
    return np.array([image.perceptual_hash for image in images], np.uint64)


def _split_audit(name: SplitName, split: Split, images: Sequence[DecodedImage]) -> SplitAudit:
    classes = {}
    for label, files in split.counts.items():
        stored = [image.stored for image in images if (image.split, image.label) == (name, label)]
        classes[label] = ClassAudit(
            files=files,
            unreadable=files - len(stored),
            sizes_px=_frequencies(f"{each.width}x{each.height}" for each in stored),
            bits=_frequencies(str(each.bits) for each in stored),
            channels=_frequencies(str(each.channels) for each in stored),
        )
    return SplitAudit(split.fingerprint, classes)


def _frequencies(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())
