"""Results of a run on their way to their file: kept in a journal beside it until they are whole.

A run that is ended, by kill -9 or a full disk, is continued from its journal at the batch where it
stood. Batches are composed as in an unbroken run, since what a model computes may depend in its
last bits on what else is in a batch: the file that results has the same bytes. So a journal is
continued only by the same request.
"""

import contextlib
import errno
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.errors import OutputError, UsageError
from neuroscan_edge.results import Record
from neuroscan_edge.results.record import as_current
from neuroscan_edge.system.files import whole_file
from neuroscan_edge.system.journal import Journal, JournalError

Write = Callable[[bytes], object]

JOURNAL_SCHEMA = 1
_KIND = "classification"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a journal holds already.

    Parameters
    ----------
    position : Position
        Where to go on.
    counts : mapping of str to int
        Of the results so far.
    """

    position: Position
    counts: Mapping[str, int]


def journal_path(output: Path) -> Path:
    """Name the journal of a results file; a link's is beside what it names."""
    target = output.resolve()
    return target.with_name(target.name + ".journal")


class UnfinishedOutput:
    """A context manager: what is committed in it becomes the output file with `finish`.

    Without that, what was committed stays in the journal; one with nothing in it is removed.

    Parameters
    ----------
    output : Path
        The results file.
    resume, restart : bool
        Whether an unfinished run's journal is to be continued, or dropped.

    Raises
    ------
    UsageError
        If there is a journal and neither is asked for.
    JournalError
        If another run holds the journal, or the file is none.
    OutputError
        If it cannot be opened.
    """

    def __init__(self, output: Path, *, resume: bool = False, restart: bool = False) -> None:
        self._output = output
        self._target = output.resolve()
        self._committed = self._begun = False
        with self._errors():
            self._journal = Journal(journal_path(output))
        try:
            self._header = None if restart else self._read_header()
            if self._header is not None and not resume:
                raise UsageError(
                    f"{self._journal.path} is of a run that did not end; continue it with "
                    "--resume, or drop it with --restart"
                )
        except BaseException:
            self._journal.close()
            raise
        self._committed = self._header is not None

    def __enter__(self) -> "UnfinishedOutput":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._committed:
            self._journal.remove()
        elif error is not None and self._begun:
            print(
                f"what is done is kept in {self._journal.path}; continue with --resume",
                file=sys.stderr,
            )
        self._journal.close()

    @property
    def request(self) -> Mapping[str, Any] | None:
        """What the run to be continued was asked for and ran with; None for a new one."""
        return None if self._header is None else dict(self._header["request"])

    def begin(self, request: Mapping[str, Any]) -> Kept:
        """Compare with what the run to be continued ran with, or note it for a new one.

        Parameters
        ----------
        request : mapping
            All that results depend on, JSON-ready, by the names that an error is to use.

        Raises
        ------
        JournalError
            If the run to be continued differs.
        """
        if self._header is None:
            header = {"schema": JOURNAL_SCHEMA, "kind": _KIND, "request": dict(request)}
            with self._errors():
                self._journal.clear()
                self._journal.append(header)
            self._begun = True
            return Kept(Position(), {})
        self._compare(self._header["request"], request)
        self._begun = True
        last: dict[str, Any] = {}
        for record in self._journal.records():
            last = record
        with self._errors():
            self._journal.cut()
        return Kept(Position(last["files"], last["rows"]), last["counts"])

    def commit(self, rows: Sequence[Record], after: Position, counts: Mapping[str, int]) -> None:
        """Keep a batch's rows.

        Raises
        ------
        OutputError
            If the disk is full or fails; what was kept before is.
        """
        record = {
            "files": after.files,
            "rows": after.rows,
            "counts": dict(counts),
            "results": list(rows),
        }
        with self._errors():
            self._journal.append(record)
        self._committed = True

    def finish(self, write_all: Callable[[Iterator[Record], Write], None]) -> None:
        """Write the output, seen complete or not at all, and remove the journal.

        Parameters
        ----------
        write_all : callable
            Given all rows in the order of input, and what takes the output's bytes.
        """
        with self._errors():
            with whole_file(self._target) as file:
                write_all(self._rows(), file.write)
            self._journal.remove()
        self._committed = False

    def _rows(self) -> Iterator[Record]:
        records = self._journal.records()
        next(records)
        for record in records:
            # A run that an earlier version began has rows of its schema.
            yield from map(as_current, record["results"])

    def _read_header(self) -> dict[str, Any] | None:
        records = self._journal.records()
        header = next(records, None)
        if header is None:
            if _is_blank(self._journal):
                return None
            raise JournalError(
                f"{self._journal.path} is no journal, or damaged from its first line on; "
                "move it away, or drop it with --restart"
            )
        if header.get("schema") != JOURNAL_SCHEMA or header.get("kind") != _KIND:
            raise JournalError(
                f"{self._journal.path} is of another kind of run or version of this program; "
                "finish it with that, or drop it with --restart"
            )
        # Ended before its first batch: there is nothing to continue, nor to lose.
        return dict(header) if next(records, None) is not None else None

    def _compare(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        names = [name for name in {**then, **now} if then.get(name) != now.get(name)]
        if names:
            differing = "; ".join(
                f"{name} was {_brief(then.get(name))}, is {_brief(now.get(name))}" for name in names
            )
            raise JournalError(
                f"{self._journal.path} cannot be continued: {differing}. Run as it was begun, or "
                "start anew with --restart"
            )

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> OutputError:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
        hint = "free some space" if full else "check disk and permissions"
        again = "--resume" if self._committed else "again. No partial file was left"
        joined = "with " if self._committed else ""
        return OutputError(
            f"{self._output} cannot be written ({error.strerror}); {hint} and run {joined}{again}"
        )


def _is_blank(journal: Journal) -> bool:
    """Whether nothing was ever written: empty, or zeros where a power cut lost what was."""
    if journal.size_bytes > 1 << 20:
        return False
    return not journal.path.read_bytes().strip(b"\0")


def _brief(value: Any) -> str:
    return str(value) if value is not None else "nothing"
