"""Labelled data: class folders, or a zip of them.

A data set is a folder with ``Training/<label>/...`` and, where there is one,
``Testing/<label>/...``; a folder of class folders alone is a training split.
"""

import contextlib
import hashlib
import re
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.scans.discovery import find_scans
from neuroscan_edge.system.files import sha256_file

SplitName = Literal["training", "testing"]
_SPLIT_FOLDERS: dict[SplitName, tuple[str, ...]] = {
    "training": ("Training", "training", "Train", "train"),
    "testing": ("Testing", "testing", "Test", "test"),
}
MAX_UNZIPPED_BYTES = 64 << 30
_DRIVE = re.compile(r"^[A-Za-z]:")
# Damaged, unwritable, damaged within a member, encrypted, compressed by an unknown method.
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, zlib.error, EOFError, RuntimeError, NotImplementedError)


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """One labelled image file.

    Parameters
    ----------
    path : Path
        The file.
    label : int
        Index into the split's labels.
    sha256 : str
        Of the file's bytes; empty where they cannot be read.
    """

    path: Path
    label: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Split:
    """A labelled set of files.

    Parameters
    ----------
    labels : tuple of str
        Class names, sorted; a file's label indexes them.
    files : tuple of LabelledFile
        Class by class, each in name order.
    """

    labels: tuple[str, ...]
    files: tuple[LabelledFile, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Files per class name."""
        found = Counter(file.label for file in self.files)
        return {name: found[index] for index, name in enumerate(self.labels)}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every label and file hash; independent of names and order of files."""
        lines = sorted(f"{self.labels[file.label]} {file.sha256}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def only(self, labels: Sequence[str]) -> "Split":
        """Keep some classes, in the order given.

        Raises
        ------
        DatasetError
            If a class is not in the split.
        """
        missing = [name for name in labels if name not in self.labels]
        if missing:
            raise DatasetError(
                f"classes {', '.join(missing)} are not in the data, "
                f"which has {', '.join(self.labels)}"
            )
        places = {self.labels.index(name): index for index, name in enumerate(labels)}
        kept = (file for file in self.files if file.label in places)
        return Split(tuple(labels), tuple(replace(file, label=places[file.label]) for file in kept))


def load_split(root: Path, split: SplitName, labels: Sequence[str] | None = None) -> Split:
    """List one split of a data set, files that cannot be read included.

    Parameters
    ----------
    root : Path
        The data set's folder.
    split : {"training", "testing"}
        Which part. For "training", `root` may itself be the folder of class folders.
    labels : sequence of str, optional
        Class names that are known; others in the folder are an error.

    Raises
    ------
    DatasetError
        If the folder, its class folders, or a class's images are missing, or a class is unknown.
    """
    folder = _split_folder(root, split)
    classes = sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if len(classes) < 2:
        raise DatasetError(
            f"{folder} has {len(classes)} class folders; it needs one folder per class, "
            "at least two, each holding that class's images"
        )
    names = tuple(entry.name for entry in classes)
    known = tuple(labels) if labels is not None else names
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise DatasetError(
            f"{folder} has the unknown classes {', '.join(unknown)}; known are "
            f"{', '.join(known)}: rename or remove those folders"
        )
    files: list[LabelledFile] = []
    for entry in classes:
        found = find_scans([entry]).files
        if not found:
            raise DatasetError(f"{entry} holds no images; remove the folder or fill it")
        label = known.index(entry.name)
        files += [LabelledFile(path, label, _sha256_if_readable(path)) for path in found]
    return Split(known, tuple(files))


def load_splits(root: Path) -> dict[SplitName, Split]:
    """List a data set's training split and, where there is one, its test split.

    Both have the training split's labels.

    Raises
    ------
    DatasetError
        As `load_split` does; a class of the test split that training lacks is unknown.
    """
    splits: dict[SplitName, Split] = {"training": load_split(root, "training")}
    if _named_folder(root, "testing"):
        splits["testing"] = load_split(root, "testing", splits["training"].labels)
    return splits


def has_split(root: Path, split: SplitName) -> bool:
    """Whether a data set's folder names a split."""
    return _named_folder(root, split) is not None


def open_dataset(path: Path, work: Path) -> Path:
    """Return the folder of a data set, unpacking a zip under `work` first.

    A zip is unpacked once for its content; members that would leave the folder are refused.

    Raises
    ------
    DatasetError
        If the path is neither a folder nor a zip, or the zip is damaged, unsafe or too large.
    """
    if path.is_dir():
        return path
    if not path.exists():
        raise DatasetError(f"{path} does not exist; give the data set's folder or a zip of it")
    if not zipfile.is_zipfile(path):
        raise DatasetError(f"{path} is neither a folder nor a zip file")
    target = work / f"{path.stem}-{_sha256(path)[:12]}"
    if not target.exists():
        _unzip(path, target)
    # A zip usually holds the data set's folder rather than its content.
    inside = [entry for entry in target.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
    has_splits = any(
        (target / name).is_dir() for names in _SPLIT_FOLDERS.values() for name in names
    )
    return inside[0] if len(inside) == 1 and inside[0].is_dir() and not has_splits else target


def _unzip(path: Path, target: Path) -> None:
    partial = target.with_name(target.name + ".partial")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            for member in members:
                name = PurePosixPath(member.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or _DRIVE.match(member.filename):
                    raise DatasetError(
                        f"{path} holds {member.filename!r}, which leaves the folder it is "
                        "unpacked in; nothing was unpacked"
                    )
            size = sum(member.file_size for member in members)
            if size > MAX_UNZIPPED_BYTES:
                raise DatasetError(
                    f"{path} unpacks to {size} bytes; the limit is {MAX_UNZIPPED_BYTES}"
                )
            archive.extractall(partial)
            # The name is taken only when everything is there.
            partial.rename(target)
    except _ZIP_ERRORS as error:
        raise DatasetError(f"{path} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _split_folder(root: Path, split: SplitName) -> Path:
    if not root.is_dir():
        raise DatasetError(f"{root} is not a folder; give the data set's folder")
    folder = _named_folder(root, split)
    if folder is None and (split == "testing" or _named_folder(root, "testing")):
        raise DatasetError(f"{root} has no {_SPLIT_FOLDERS[split][0]} folder")
    return folder or root


def _named_folder(root: Path, split: SplitName) -> Path | None:
    folders = (root / name for name in _SPLIT_FOLDERS[split])
    return next((folder for folder in folders if folder.is_dir()), None)


def _sha256_if_readable(path: Path) -> str:
    # A link to nothing, a locked file: whoever decodes it says why.
    with contextlib.suppress(OSError):
        return sha256_file(path)
    return ""


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}") from error
