"""Files that appear only when whole, and their hashes."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


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


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
