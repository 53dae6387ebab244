"""The files that a DICOMDIR lists (PS3.3, annex F), inside its own folder and nowhere else."""

import io
import os
from pathlib import Path

import pydicom

from neuroscan_edge.errors import CorruptScanError, UsageError
from neuroscan_edge.scans.dicom.elements import decimals, items, text, texts
from neuroscan_edge.scans.quiet import quiet

_IMAGE = "IMAGE"
_NOT_IN_USE = 0


def referenced_files(path: Path, data: bytes) -> list[Path]:
    """List the image files of a DICOMDIR, in its order, each once.

    A file that is not there is listed: reading it will say so. A name is also found in other
    letter case, as media are often copied in lower case. Slashes between its parts are taken for
    the standard's backslashes; blanks around a part, and a dot or separator before the first, are
    left out.

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
                texts(record, "ReferencedFileID")
                for record in items(dataset, "DirectoryRecordSequence")
                if text(record, "DirectoryRecordType").upper() == _IMAGE
                and decimals(record, "RecordInUseFlag") != [_NOT_IN_USE]
            ]
    except Exception:
        # Whatever a parser raises on damaged data; its message may quote the header.
        raise CorruptScanError(
            "the list of files in the DICOMDIR is damaged or cut; give its folder instead"
        ) from None
    root = folder.resolve()
    listings: dict[Path, dict[str, str]] = {}
    files: dict[Path, None] = {}
    for values in filter(None, names):
        components = _components(values)
        found = _find(folder, components, listings)
        if not _plain(components) or not found.resolve().is_relative_to(root):
            raise UsageError(
                f"{path} names a file outside its folder; give the folder of the scans instead"
            )
        files[found] = None
    return list(files)


def _components(values: list[str]) -> tuple[str, ...]:
    """Return folders and name of a file, none of them empty if it lies in the folder."""
    if len(values) > 1 and not values[0]:
        # It began with a backslash.
        values = values[1:]
    parts = [part.strip() for value in values for part in value.split("/")]
    return tuple(part for part in parts if part != ".")


def _plain(components: tuple[str, ...]) -> bool:
    return bool(components) and all(
        each not in {"", ".", ".."} and not set(each) & {"/", "\\", "\0", ":"}
        for each in components
    )


def _find(folder: Path, components: tuple[str, ...], listings: dict[Path, dict[str, str]]) -> Path:
    if not _plain(components):
        return folder
    exact = folder.joinpath(*components)
    if os.path.lexists(exact):
        return exact
    # Some programs unpack folders into names.
    unpacked = folder / "\\".join(components)
    if os.path.lexists(unpacked):
        return unpacked
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
