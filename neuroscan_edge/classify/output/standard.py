"""Results on standard output."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.classify.output.resumable import Kept
from neuroscan_edge.errors import OutputError
from neuroscan_edge.results import Record


class StandardOutput:
    """Results that are written as they come, with nothing that could be continued."""

    request: Mapping[str, Any] | None = None

    def begin(self, request: Mapping[str, Any]) -> Kept:
        """Begin: nothing was done before."""
        return Kept(Position(), {})

    def commit(self, rows: Sequence[Record], after: Position, counts: Mapping[str, int]) -> None:
        """Keep nothing: rows are written where they are arranged."""

    def write(self, data: bytes) -> None:
        """Write a part of the results."""
        write_to_stdout(data)

    def finish(self) -> None:
        """Write what is still buffered."""
        write_to_stdout(b"", flush=True)


def write_to_stdout(data: bytes, *, flush: bool = False) -> None:
    """Write text in UTF-8, and at once where a person reads it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    try:
        if hasattr(sys.stdout, "buffer"):
            # Bytes: file names need not be text, nor the terminal's encoding UTF-8.
            sys.stdout.buffer.write(data)
        else:
            # A notebook's standard output takes text alone.
            sys.stdout.write(data.decode("utf-8", "replace"))
        if flush or sys.stdout.isatty():
            sys.stdout.flush()
    except BrokenPipeError as error:
        _silence_stdout()
        raise OutputError("the reader of the results closed the pipe before the end") from error
    except OSError as error:
        _silence_stdout()
        raise OutputError(f"results cannot be written: {error.strerror}") from error


def _silence_stdout() -> None:
    # What is still buffered would fail again when the interpreter flushes it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
