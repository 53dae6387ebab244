"""Which files to read: named ones as they come, folders recursively in a stable order."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from neuroscan_edge.errors import ScanError, UsageError
from neuroscan_edge.scans.dicom import signature as dicom_signature
from neuroscan_edge.scans.nifti import signature as nifti_signature
from neuroscan_edge.scans.path_list import Paths
from neuroscan_edge.scans.raster import signature as raster_signature
from neuroscan_edge.scans.reading import read_bytes
from neuroscan_edge.scans.scan import Limits


class _Kind(Enum):
    SCAN = 1
    DIRECTORY = 2
    OTHER = 3


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a search found.

    Parameters
    ----------
    files : sequence of Path
        In the order results will have: inputs as given, folders depth first by name.
    skipped : int
        Files inside folders that are neither named nor built like an image. A DICOMDIR is not
        counted.
    """

    files: Sequence[Path]
    skipped: int


def find_scans(inputs: Iterable[Path]) -> Discovery:
    """List the scans among files and folders.

    A file given by name is always listed; instead of a DICOMDIR, the images that it lists are.
    Inside a folder, hidden entries and DICOMDIRs are passed over, and a file is listed if its
    suffix or its first bytes are those of an image. A folder reached a second time, through a
    link or a loop of links, is not entered again.

    Raises
    ------
    UsageError
        If an input does not exist, a folder given by name cannot be listed, or a DICOMDIR names a
        file outside its folder.
    """
    files = Paths()
    skipped = 0
    for given in inputs:
        if _is_folder(given):
            for path in walk(given):
                kind = _kind(path)
                if kind is _Kind.SCAN:
                    files.append(path)
                elif kind is _Kind.OTHER:
                    skipped += 1
        elif _is_absent(given):
            raise UsageError(f"{given} does not exist; give files or folders of scans")
        else:
            for listed in _listed_by(given):
                files.append(listed)
    return Discovery(files, skipped)


def walk(top: Path) -> Iterator[Path]:
    """Yield the files below a folder, depth first by name, and folders that cannot be listed.

    Raises
    ------
    UsageError
        If `top` itself cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    # An explicit stack: folders may nest deeper than Python recurses.
    waiting = [top]
    while waiting:
        path = waiting.pop()
        if not _is_folder(path):
            yield path
            continue
        try:
            status = path.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in seen:
                continue
            seen.add(identity)
            names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        except OSError as error:
            if path is top:
                raise UsageError(f"{path} cannot be listed: {error.strerror}") from error
            # Reported as an unreadable input, so that a locked subfolder is not silently lost.
            yield path
            continue
        waiting += [path / name for name in reversed(names)]


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        # A link to itself or to nothing, or a locked folder above it: reading will say so.
        return False


def _is_absent(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def looks_like_scan(path: Path) -> bool:
    """Whether a file in a folder is to be read: by its suffix, or else its first bytes."""
    return _kind(path) is _Kind.SCAN


def _kind(path: Path) -> _Kind:
    suffix = path.suffix.lower()
    known = suffix in raster_signature.SUFFIXES or suffix in dicom_signature.SUFFIXES
    if known or path.name.lower().endswith(nifti_signature.SUFFIXES):
        return _Kind.SCAN
    if _is_folder(path):
        # One that could not be listed: it is reported, not lost.
        return _Kind.SCAN
    try:
        head = _head(path)
    except FileNotFoundError:
        # A link to nothing.
        return _Kind.OTHER
    except OSError:
        # It cannot be told apart from a scan without a suffix: it is reported, not lost.
        return _Kind.SCAN
    if dicom_signature.is_directory(head):
        return _Kind.DIRECTORY
    looks = (
        raster_signature.has_signature,
        nifti_signature.has_signature,
        dicom_signature.has_signature,
        dicom_signature.starts_as_data_set,
    )
    return _Kind.SCAN if any(look(head) for look in looks) else _Kind.OTHER


def _head(path: Path) -> bytes:
    """Read how a file begins; nothing of what is not a regular file."""
    # A pipe or device in a folder must not block the walk.
    if not stat.S_ISREG(path.stat().st_mode):
        return b""
    with path.open("rb") as file:
        return file.read(dicom_signature.HEAD_BYTES)


def _listed_by(path: Path) -> list[Path]:
    """Return a file given by name, or the images that it lists if it is a DICOMDIR."""
    try:
        if not dicom_signature.is_directory(_head(path)):
            return [path]
        data = read_bytes(path, Limits())
        # Imported only when needed: pydicom costs a third of a second at start-up.
        from neuroscan_edge.scans.dicom.dicomdir import referenced_files

        return referenced_files(path, data)
    except (OSError, ScanError):
        # Reading will say so.
        return [path]
