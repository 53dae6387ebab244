"""A file of records that survives what ends its writer: kill -9, a power cut, a full disk.

Records are appended, one a line: the CRC-32 of its text in hexadecimal, a space, and the text, JSON
in ASCII. What was cut short at the end is recognised and dropped. One process at a time may hold a
journal open.
"""

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from neuroscan_edge.errors import EXIT_USAGE, NeuroScanError

SYNC_EVERY_S = 1.0
"""Seconds that a power cut may cost; what is written survives the process' own end at once."""


class JournalError(NeuroScanError):
    """A journal is in use, or is none."""

    exit_code = EXIT_USAGE


class Journal:
    """An open journal: a context manager that holds its lock.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    sync_every_s : float
        Seconds between two forced writes to the disk; 0 forces each record.

    Raises
    ------
    JournalError
        If another process holds it.
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: Path, sync_every_s: float = SYNC_EVERY_S) -> None:
        self.path = path
        self._sync_every_s = sync_every_s
        self._file = _open_locked(path)
        self._end = 0
        self._synced_at = time.monotonic()
        self._removed = False

    def __enter__(self) -> "Journal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """Size of the file, whatever is in it."""
        return os.fstat(self._file).st_size

    def records(self) -> Iterator[Any]:
        """Yield the records from the first, up to one that is not whole."""
        self._end = 0
        with open(os.dup(self._file), "rb") as file:
            file.seek(0)
            for line in file:
                record = _record(line)
                if record is None:
                    return
                self._end += len(line)
                yield record

    def cut(self) -> None:
        """Drop what stands after the last record that was read or written."""
        os.ftruncate(self._file, self._end)

    def clear(self) -> None:
        """Drop everything."""
        self._end = 0
        self.cut()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record after the last one that was read or written.

        Raises
        ------
        OSError
            If it cannot be written; nothing of it is left then.
        """
        text = json.dumps(record, separators=(",", ":")).encode("ascii")
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        try:
            _write(self._file, line, self._end)
            if time.monotonic() - self._synced_at >= self._sync_every_s:
                self.sync()
        except OSError:
            with contextlib.suppress(OSError):
                self.cut()
            raise
        self._end += len(line)

    def sync(self) -> None:
        """Force what is written to the disk."""
        os.fsync(self._file)
        self._synced_at = time.monotonic()

    def remove(self) -> None:
        """Delete the file; close it after that."""
        # Under the lock: whoever waits for it finds another file at this path, or none.
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._removed = True

    def close(self) -> None:
        """Force what is written to the disk and give the lock back."""
        if self._file < 0:
            return
        if not self._removed:
            with contextlib.suppress(OSError):
                self.sync()
        os.close(self._file)
        self._file = -1


def _open_locked(path: Path) -> int:
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _lock(file, path)
            there = os.stat(path)
        except FileNotFoundError:
            os.close(file)
            continue
        except BaseException:
            os.close(file)
            raise
        if os.path.samestat(os.fstat(file), there):
            return file
        # Its holder removed it while we waited.
        os.close(file)


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # Some network folders have no locks: then nothing guards against a second run.
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            raise JournalError(
                f"{path} is in use by another run; wait for its end, or write elsewhere"
            ) from error


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count


def _record(line: bytes) -> Any:
    """Return what a line holds; None if it is not whole."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    return json.loads(text)
