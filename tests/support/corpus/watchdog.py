"""A watched worker process: what it does not answer in time is a hang, its death a crash."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from support.corpus.case import ERROR
from support.places import ROOT, TESTS

MEMORY_LIMIT_BYTES = 1536 << 20
CRASH, HANG, TRACE = "crash", "hang", "traceback"


@dataclass(frozen=True)
class Answer:
    """What became of one input.

    Parameters
    ----------
    outcomes : tuple of str
        Of each row: answer, refer, rejected or error; or one of crash, hang and traceback.
    exit_code : int or None
        Of the command; None where it did not end.
    rows : tuple of mapping
        The results as they are written.
    said : str
        What went to standard output and standard error, and a traceback if there was one.
    seconds, peak_bytes : float, int
        Time and most memory held; 0 where it did not end.
    """

    outcomes: tuple[str, ...]
    exit_code: int | None = None
    rows: tuple[dict[str, Any], ...] = ()
    said: str = ""
    seconds: float = 0.0
    peak_bytes: int = 0

    @property
    def sound(self) -> bool:
        """Whether the command ended as it may, with a row or one line that says why not."""
        return not {CRASH, HANG, TRACE} & set(self.outcomes)


@dataclass
class Watchdog:
    """A worker that is started when there is something to ask, and again when it died.

    Parameters
    ----------
    bundle : Path
        Folder of the model.
    limit_s : float
        Time for one input.
    image_pixels : int
        Largest image of fast runs.
    """

    bundle: Path
    limit_s: float
    image_pixels: int = 1 << 24
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _answers: int = field(default=-1, init=False)
    _pending: bytes = field(default=b"", init=False)

    def __enter__(self) -> "Watchdog":
        self._said = tempfile.TemporaryFile()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()
        self._said.close()

    def ask(self, scan: Path, *, whole: bool = True) -> Answer:
        """Classify one input in the worker."""
        process = self._process or self._start()
        self._said.seek(0)
        self._said.truncate()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"input": str(scan), "whole": whole}).encode() + b"\n")
        process.stdin.flush()
        line = self._line()
        said = self._what_was_said()
        if line is None:
            self._stop()
            return Answer((HANG,), said=said)
        if not line:
            code = process.wait()
            self._stop()
            return Answer((CRASH,), code, said=said)
        answer = json.loads(line)
        trace, rows = answer["trace"], answer["rows"]
        outcomes = tuple(row["decision"] or ERROR for row in rows)
        return Answer(
            (TRACE,) if trace else outcomes,
            answer["exit"],
            tuple(rows),
            "\n".join(filter(None, (said, answer.get("said"), trace))),
            answer["seconds"],
            answer["peak_bytes"],
        )

    def _start(self) -> subprocess.Popen[bytes]:
        self._answers, end = os.pipe()
        self._pending = b""
        arguments = (end, self.bundle, MEMORY_LIMIT_BYTES, self.image_pixels)
        paths = os.pathsep.join([str(ROOT), str(TESTS), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.corpus.worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=self._said,
            stderr=self._said,
            pass_fds=(end,),
            env={**os.environ, "PYTHONPATH": paths},
        )
        os.close(end)
        # The first answer waits for the imports.
        return self._process

    def _line(self) -> bytes | None:
        """Return the worker's next line, nothing if it died, None if it is late."""
        late_s = self.limit_s
        while b"\n" not in self._pending:
            ready, _, _ = select.select([self._answers], [], [], late_s)
            if not ready:
                return None
            piece = os.read(self._answers, 1 << 16)
            if not piece:
                return b""
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _what_was_said(self) -> str:
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), min(size, 1 << 20), 0).decode(errors="replace")

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
        os.close(self._answers)
