"""Results that grow as files arrive, each exactly once, whatever ends the program in between.

What is to be written goes to a journal first, with the identities of its files, and is forced to
the disk; then to the results. Begun again, what the journal has last and the results have not, or
only in part, is written there.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from neuroscan_edge.errors import OutputError, UsageError
from neuroscan_edge.system.journal import Journal, JournalError

JOURNAL_SCHEMA = 1
_KIND = "watch"
_HEADER = {"schema": JOURNAL_SCHEMA, "kind": _KIND}


class WatchedOutput:
    """A context manager that appends to a results file and knows what it is of.

    Parameters
    ----------
    output : Path
        JSON lines; made if it does not exist.
    restart : bool
        Whether to forget what was seen, and begin the results anew.

    Raises
    ------
    UsageError
        If there are results that no watch has written.
    JournalError
        If another run holds the journal, or the results are not as the last watch left them.
    OutputError
        If it cannot be written.
    """

    def __init__(self, output: Path, *, restart: bool = False) -> None:
        self._output = output.resolve()
        self.seen: set[bytes] = set()
        self._file = -1
        with self._errors():
            # Forced at every record: what follows it in the results must never be without it.
            name = self._output.name + ".watch"
            self._journal = Journal(self._output.with_name(name), sync_every_s=0)
        try:
            last = None if restart else self._read()
            if restart:
                self._begin_anew()
            with self._errors():
                flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if restart else 0)
                self._file = os.open(self._output, flags, 0o666)
            self._size = self._catch_up(last)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WatchedOutput":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def paths(self) -> tuple[Path, Path]:
        """The files that are written to."""
        return self._output, self._journal.path

    def append(self, text: str, identities: Iterable[bytes]) -> None:
        """Write whole files' results.

        Raises
        ------
        OutputError
            If the disk is full or fails; nothing is lost then, and begun again it goes on.
        """
        data = _encoded(text)
        record = {
            "seen": [identity.hex() for identity in identities],
            "offset": self._size,
            "text": text,
        }
        with self._errors():
            self._journal.append(record)
            self._write(data, self._size)
        self._size += len(data)

    def close(self) -> None:
        """Give the files back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._journal.close()

    def _begin_anew(self) -> None:
        with self._errors():
            self._journal.clear()
            self._journal.append(_HEADER)

    def _read(self) -> Mapping[str, Any] | None:
        if self._journal.size_bytes == 0:
            if self._output.exists() and self._output.stat().st_size:
                self._journal.remove()
                raise UsageError(
                    f"{self._output} holds results that no watch has written; name another file, "
                    "or begin it anew with --restart"
                )
            self._begin_anew()
            return None
        records = self._journal.records()
        if next(records, None) != _HEADER:
            raise JournalError(
                f"{self._journal.path} is no journal of a watch, or of another version; move it "
                "away, or drop it with --restart"
            )
        last = None
        for record in records:
            self.seen.update(bytes.fromhex(identity) for identity in record["seen"])
            last = record
        with self._errors():
            self._journal.cut()
        return last

    def _catch_up(self, last: Mapping[str, Any] | None) -> int:
        """Write what the journal has last and the results have not; return their size."""
        offset, data = (0, b"") if last is None else (last["offset"], _encoded(last["text"]))
        size = os.fstat(self._file).st_size
        there = os.pread(self._file, len(data), offset)
        if not offset <= size <= offset + len(data) or not data.startswith(there):
            raise JournalError(
                f"{self._output} is not as the last watch left it; put it back, or begin anew "
                f"with --restart. A results file is moved away together with {self._journal.path}"
            )
        with self._errors():
            self._write(data[len(there) :], size)
        return int(offset) + len(data)

    def _write(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        while view:
            count = os.pwrite(self._file, view, offset)
            view, offset = view[count:], offset + count
        os.fsync(self._file)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._output} cannot be written ({error.strerror}); free some space or check "
                "its permissions, and watch again: nothing is lost"
            ) from error


def _encoded(text: str) -> bytes:
    # File names need not be text.
    return text.encode("utf-8", "surrogateescape")
