"""Which files to read: named ones as they come, folders recursively in a stable order."""

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.errors import UsageError
from neuroscan_edge.scans import dicom_signature, raster

_HEAD_BYTES = 132


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a search found.

    Parameters
    ----------
    files : sequence of Path
        In the order results will have: inputs as given, folders depth first by name.
    skipped : int
        Files inside folders that are neither named nor built like an image.
    """

    files: Sequence[Path]
    skipped: int


def find_scans(inputs: Iterable[Path]) -> Discovery:
    """List the scans among files and folders.

    A file given by name is always listed. Inside a folder, hidden entries are passed over, and a
    file is listed if its suffix or its first bytes are those of an image. A folder reached a
    second time, through a link or a loop of links, is not entered again.

    Raises
    ------
    UsageError
        If an input does not exist, or a folder given by name cannot be listed.
    """
    files: list[Path] = []
    skipped = 0
    for given in inputs:
        if _is_folder(given):
            for path in walk(given):
                if looks_like_scan(path):
                    files.append(path)
                else:
                    skipped += 1
        elif _is_absent(given):
            raise UsageError(f"{given} does not exist; give files or folders of scans")
        else:
            files.append(given)
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
    suffix = path.suffix.lower()
    if suffix in raster.SUFFIXES or suffix in dicom_signature.SUFFIXES:
        return True
    if _is_folder(path):
        # One that could not be listed: it is reported, not lost.
        return True
    try:
        # A pipe or device in a folder must not block the walk.
        if not stat.S_ISREG(path.stat().st_mode):
            return False
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        # A link to nothing.
        return False
    except OSError:
        # It cannot be told apart from a scan without a suffix: it is reported, not lost.
        return True
    return raster.has_signature(head) or dicom_signature.has_signature(head)
