"""Files that appear only when whole, and their hashes."""

import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from neuroscan_edge.errors import UsageError

_CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_place(path: Path) -> None:
    """Refuse a file that cannot be written where it is asked for: before the work, not after.

    Raises
    ------
    UsageError
        If its folder does not exist, or it is a folder itself.
    """
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; make it or write elsewhere")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file beside `path` that takes its name only if the block succeeds.

    On any error, an interrupt included, the temporary file is removed and whatever stood at `path`
    before is still there.
    """
    descriptor, name = tempfile.mkstemp(prefix=".neuroscan-", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; results are as readable as any other new file.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is seen complete or not at all."""
    with whole_file(path) as file:
        file.write(data)


_umask_lock = threading.Lock()


def _umask() -> int:
    # It can only be read by setting it, which is the whole process's: two threads at once could
    # leave it open.
    with _umask_lock:
        current = os.umask(0)
        os.umask(current)
    return current
