"""The cache folder of this user: what is lost there costs time only.

What is read may decide what runs, or be code itself: a file that another user could have written
is not read.
"""

import contextlib
import os
import stat
from pathlib import Path

from neuroscan_edge.system.files import write_whole

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Return this user's cache folder for the package; it may not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(root) / "neuroscan-edge"


def _own(status: os.stat_result) -> bool:
    # Windows has neither: there a profile's folder is its user's alone.
    if not hasattr(os, "getuid"):
        return True
    return status.st_uid == os.getuid() and not status.st_mode & _OTHERS_MAY_WRITE


def read_own(path: Path, limit_bytes: int) -> bytes | None:
    """Read a file that this user wrote; None if there is none to trust, or it is larger."""
    try:
        for each in (path.parent, path):
            status = each.stat()
            if not _own(status):
                return None
        return path.read_bytes() if path.stat().st_size <= limit_bytes else None
    except OSError:
        return None


def write_own(path: Path, data: bytes) -> None:
    """Keep a file; a full disk or a read-only home only means doing the work again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data)
        path.chmod(0o600)
