"""Folders that reports are written to."""

from collections.abc import Mapping
from pathlib import Path

from neuroscan_edge.errors import OutputError
from neuroscan_edge.system.files import write_whole


def make_report_folder(folder: Path) -> None:
    """Make the folder of a report, before the work that fills it.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def write_report(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Write a report's files by name, in order, each of them whole.

    A file whose content is None is removed, where an earlier report left one.

    Raises
    ------
    OutputError
        If one cannot be written; those before it are there, it is not.
    """
    for name, content in files.items():
        try:
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                write_whole(folder / name, content)
        except OSError as error:
            raise _unwritable(folder / name, error) from error


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{path} cannot be written ({error.strerror}); "
        "check disk and permissions, or give another --output"
    )
