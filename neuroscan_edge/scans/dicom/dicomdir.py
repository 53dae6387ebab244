"""The files that a DICOMDIR lists (PS3.3, annex F), inside its own folder and nowhere else."""

import io
import os
from pathlib import Path

import pydicom
from pydicom.multival import MultiValue

from neuroscan_edge.errors import CorruptScanError, UsageError
from neuroscan_edge.scans.quiet import quiet

_IMAGE = "IMAGE"
_NOT_IN_USE = 0


def referenced_files(path: Path, data: bytes) -> list[Path]:
    """List the image files of a DICOMDIR, in its order, each once.

    A file that is not there is listed: reading it will say so. A name is also found in other
    letter case, as media are often copied in lower case.

    Parameters
    ----------
    path : Path
        The DICOMDIR.
    data : bytes
        Its content.

    Raises
    ------
    CorruptScanError
        If it cannot be parsed.
    UsageError
        If it names a file outside its folder.
    """
    folder = path.parent
    try:
        with quiet:
            dataset = pydicom.dcmread(io.BytesIO(data))
            names = [
                _components(record.get("ReferencedFileID"))
                for record in dataset.get("DirectoryRecordSequence") or []
                if str(record.get("DirectoryRecordType", "")).strip() == _IMAGE
                and record.get("RecordInUseFlag") != _NOT_IN_USE
            ]
    except Exception as error:
        # Whatever a parser raises on damaged data; its message may quote the header.
        raise CorruptScanError(
            f"the DICOMDIR cannot be parsed ({type(error).__name__}); give its folder instead"
        ) from None
    root = folder.resolve()
    listings: dict[Path, dict[str, str]] = {}
    files: dict[Path, None] = {}
    for components in filter(None, names):
        found = _find(folder, components, listings)
        if not _plain(components) or not found.resolve().is_relative_to(root):
            raise UsageError(
                f"{path} names a file outside its folder; give the folder of the scans instead"
            )
        files[found] = None
    return list(files)


def _components(value: object) -> tuple[str, ...]:
    if value is None or value == "":
        return ()
    values = value if isinstance(value, MultiValue | list) else [value]
    return tuple(str(each).strip() for each in values)


def _plain(components: tuple[str, ...]) -> bool:
    return all(
        each not in {"", ".", ".."} and not set(each) & {"/", "\\", "\0", ":"}
        for each in components
    )


def _find(folder: Path, components: tuple[str, ...], listings: dict[Path, dict[str, str]]) -> Path:
    if not _plain(components):
        return folder
    exact = folder.joinpath(*components)
    if os.path.lexists(exact):
        return exact
    found = folder
    for name in components:
        if found not in listings:
            listings[found] = _names(found)
        if name.lower() not in listings[found]:
            return exact
        found /= listings[found][name.lower()]
    return found


def _names(folder: Path) -> dict[str, str]:
    """Return a folder's names by their lower case."""
    try:
        return {name.lower(): name for name in sorted(os.listdir(folder), reverse=True)}
    except OSError:
        return {}
