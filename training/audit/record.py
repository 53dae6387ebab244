"""The record of an audit: what ``audit.json`` holds, for the commands that rely on it."""

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.parity.evaluation.duplicates import ALIKE_CORRELATION, MAX_DISTANCE
from neuroscan_edge.scans.dataset import Split, SplitName
from neuroscan_edge.spec import RESEARCH_USE
from training.report.typed_json import from_json

AUDIT_SCHEMA = 1

Match = Literal["file", "pixels", "near"]


@dataclass(frozen=True, slots=True)
class ClassAudit:
    """The files of one class in one split.

    Parameters
    ----------
    files : int
        Files listed, unreadable ones included.
    unreadable : int
        Files that cannot be decoded; the counts below leave them out.
    sizes_px : mapping of str to int
        Images by "WIDTHxHEIGHT" as stored, the most frequent first; so are the next two.
    bits : mapping of str to int
        Images by bits of a sample.
    channels : mapping of str to int
        Images by samples of a pixel.
    """

    files: int
    unreadable: int
    sizes_px: Mapping[str, int]
    bits: Mapping[str, int]
    channels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class SplitAudit:
    """One split.

    Parameters
    ----------
    fingerprint : str
        `neuroscan_edge.scans.dataset.Split.fingerprint`.
    classes : mapping of str to ClassAudit
        By class name.
    """

    fingerprint: str
    classes: Mapping[str, ClassAudit]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that was listed and left out.

    Parameters
    ----------
    path : str
        Relative to the data set, as every path of an audit.
    reason : str
        What was found, and what to do.
    """

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two images that perceptual hashing cannot tell apart.

    Parameters
    ----------
    paths : tuple of str
        Of the two, a training image first.
    labels : tuple of str
        Their class names.
    splits : tuple of {"training", "testing"}
        Their splits.
    distance : int
        Bits in which their perceptual hashes differ, of 64.
    match : {"file", "pixels", "near"}
        Equal bytes, equal decoded pixels, or neither.
    correlation : float
        Of the two slices, as `neuroscan_edge.parity.evaluation.duplicates.correlation` compares
        them.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[SplitName, ...]
    distance: int
    match: Match
    correlation: float

    @property
    def conflicting(self) -> bool:
        """Whether the two have different labels."""
        return self.labels[0] != self.labels[1]

    @property
    def alike(self) -> bool:
        """Whether the two show one image, not only slices that hash alike."""
        return self.correlation >= ALIKE_CORRELATION

    @property
    def across_splits(self) -> bool:
        """Whether one is for training and the other for testing."""
        return self.splits[0] != self.splits[1]


@dataclass(frozen=True, slots=True)
class UnlistedPairs:
    """Pairs of one kind that are counted, not listed: there are too many images of one hash.

    Parameters
    ----------
    splits, match, conflicting, alike
        As of a `DuplicatePair`; `alike` is told of conflicting pairs only.
    pairs : int
        How many.
    """

    splits: tuple[SplitName, ...]
    match: Match
    conflicting: bool
    alike: bool
    pairs: int

    @property
    def across_splits(self) -> bool:
        """Whether one of each pair is for training and the other for testing."""
        return self.splits[0] != self.splits[1]


@dataclass(frozen=True, slots=True)
class AuditedImage:
    """A readable image.

    Parameters
    ----------
    path : str
        Relative to the data set.
    label : str
        Class name.
    sha256 : str
        Of the file's bytes.
    """

    path: str
    label: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LeakFreeImage(AuditedImage):
    """A test image without near-duplicate in training.

    Parameters
    ----------
    path, label, sha256 : str
        As of any audited image.
    nearest_distance : int
        Bits to the nearest training image; above the audit's distance.
    """

    nearest_distance: int


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found; ``audit.json`` holds exactly this.

    Parameters
    ----------
    distance : int
        Bits within which two images are near-duplicates.
    labels : tuple of str
        Class names.
    splits : mapping of {"training", "testing"} to SplitAudit
        "testing" only where there is a test split.
    unreadable : tuple of Unreadable
        Files left out.
    duplicates : tuple of DuplicatePair
        Every pair within `distance`, but for the `unlisted`. Each image of any pair is in one
        here.
    conflicting_training : tuple of AuditedImage
        Training images that training holds under another label too: in a pair that is
        conflicting and alike. Pairs with a test image do not count: training must not learn of it.
    leak_free : tuple of LeakFreeImage or None
        Test images without near-duplicate in training; None without a test split.
    tests_by_nearest_distance : tuple of int
        Readable test images at 0, 1, ... 64 bits from the nearest training image.
    unlisted : tuple of UnlistedPairs
        Further pairs within `distance`, by kind.
    """

    distance: int
    labels: tuple[str, ...]
    splits: Mapping[SplitName, SplitAudit]
    unreadable: tuple[Unreadable, ...]
    duplicates: tuple[DuplicatePair, ...]
    conflicting_training: tuple[AuditedImage, ...]
    leak_free: tuple[LeakFreeImage, ...] | None
    tests_by_nearest_distance: tuple[int, ...]
    unlisted: tuple[UnlistedPairs, ...] = ()

    def require(self, split: Split, name: SplitName) -> None:
        """Check that a split is the one that was audited.

        Raises
        ------
        DatasetError
            If the audit has no such split, or its files or labels differ.
        """
        again = "run 'python -m training audit' on the data in use"
        audited = self.splits.get(name)
        if audited is None:
            raise DatasetError(f"the audit has no {name} split; {again}")
        if audited.fingerprint != split.fingerprint:
            raise DatasetError(
                f"the {name} split has fingerprint {split.fingerprint[:12]}, the audit was made "
                f"of {audited.fingerprint[:12]}: files or labels differ; {again}"
            )

    def without_conflicts(self, split: Split) -> Split:
        """Leave out of the training split what it holds under two labels.

        Raises
        ------
        DatasetError
            If the split is not the one that was audited.
        """
        self.require(split, "training")
        conflicting = {image.sha256 for image in self.conflicting_training}
        kept = tuple(file for file in split.files if file.sha256 not in conflicting)
        return dataclasses.replace(split, files=kept)


def read_audit(path: Path) -> Audit:
    """Read an ``audit.json``.

    Raises
    ------
    DatasetError
        If it is missing, of another schema, or not as `audit_json` writes it.
    """
    again = "write it again with 'python -m training audit'"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema != AUDIT_SCHEMA:
            raise DatasetError(
                f"{path} has audit schema {schema!r}, this version reads {AUDIT_SCHEMA}; {again}"
            )
        audit = from_json(Audit, document)
        if not 0 <= audit.distance <= MAX_DISTANCE:
            raise ValueError(f"distance is {audit.distance} bits; it must be 0 to {MAX_DISTANCE}")
        return audit
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); {again}") from error
    # JSON can nest deeper than Python recurses.
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path} is not an audit ({error}); {again}") from error


def audit_json(audit: Audit) -> bytes:
    """Write an audit as the JSON that `read_audit` reads."""
    head = {"schema": AUDIT_SCHEMA, "intended_use": RESEARCH_USE}
    return (json.dumps({**head, **dataclasses.asdict(audit)}, indent=2) + "\n").encode()


def leak_free_csv(images: tuple[LeakFreeImage, ...]) -> bytes:
    """Write test images as CSV: path, label, nearest_distance."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "nearest_distance"))
    writer.writerows((image.path, image.label, image.nearest_distance) for image in images)
    # A file's name may be no text: its bytes are passed on as they are.
    return text.getvalue().encode("utf-8", "surrogateescape")
