"""Decoder processes, as the run's own process sees them."""

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from neuroscan_edge.classify.decoders.fork_server_protocol import (
    ABANDON,
    ANSWER,
    BURY,
    EXPECT_DICOM,
    ORDER,
    READY,
    START,
)
from neuroscan_edge.classify.decoders.launch import Nursing, open_nursery
from neuroscan_edge.classify.decoders.prepare import Preparation, Prepared, failure
from neuroscan_edge.classify.decoders.protocol import (
    Channel,
    MessageError,
    receive_prepared,
    send_requests,
)
from neuroscan_edge.errors import NeuroScanError, SpecError
from neuroscan_edge.scans import Limits

DEFAULT_TIMEOUT_S = 60.0
MEMORY_BYTES = 4 << 30
"""Address space of a decoder process at most; a machine with less than twice that gives half."""

_START_S = 30.0

_TOGETHER_S = 5.0
"""For an answer to several files: those before them were quick, and this is lost if one hangs."""


class DecodersNotAvailableError(NeuroScanError):
    """No decoder process can be started here."""


@dataclass(frozen=True, slots=True)
class DecoderOptions:
    """How files are decoded in processes of their own.

    Parameters
    ----------
    file_timeout_s : float
        Seconds for one file, 0 or more; 0 waits for ever.
    memory_bytes : int
        Address space of a process.
    decode : str
        The decoder, as ``module:function``.
    """

    file_timeout_s: float = DEFAULT_TIMEOUT_S
    memory_bytes: int = MEMORY_BYTES
    decode: str = "neuroscan_edge.scans.reading:read_scans"

    def __post_init__(self) -> None:
        if not 0 <= self.file_timeout_s < 1e6:
            raise SpecError(
                f"the time for a file is {self.file_timeout_s:g} s; give more than 0, or 0 to wait"
            )
        if self.memory_bytes < 1 << 28:
            raise SpecError(f"{self.memory_bytes} bytes are too few to decode in; give 256 MiB")


@dataclass(eq=False, slots=True)
class _Worker:
    """A process, the way to it, and how it was last told to prepare."""

    process: int
    channel: Channel
    told: Preparation | None = None


class _DiedError(Exception):
    """A process ended, or what it said was none of what it should say."""

    def __init__(self, reason: str, done: list[Prepared]) -> None:
        super().__init__(reason)
        self.done = done


class _TimedOutError(Exception):
    """A file took too long."""

    def __init__(self, done: list[Prepared], stalled: bool) -> None:
        super().__init__()
        self.done = done
        self.stalled = stalled


class Decoders:
    """Decoder processes: a context manager whose `prepare` may be called from several threads.

    A process is started when a thread needs one and none is idle, and is used again until it dies.

    Parameters
    ----------
    options : DecoderOptions, optional
        Time and memory of each.

    Raises
    ------
    DecodersNotAvailableError
        If this system has no such processes, or forbids them.
    """

    def __init__(self, options: DecoderOptions | None = None) -> None:
        self.options = options or DecoderOptions()
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._ready = False
        self._dicom = False
        self._closed = False
        self._nursery, self._control = self._open()

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait_until_ready(self) -> None:
        """Wait until the first process is there; imports went on since this was made.

        Raises
        ------
        DecodersNotAvailableError
            If that process did not come up.
        """
        with self._lock:
            if not self._idle:
                self._idle.append(self._start())

    def expect_dicom(self) -> None:
        """Say that DICOM files will come: what they need is imported once for all processes."""
        self._dicom = True
        with self._lock, contextlib.suppress(OSError):
            self._control.sendall(ORDER.pack(EXPECT_DICOM, 0))

    def prepare(
        self, path: Path, preparation: Preparation, cancelled: threading.Event | None = None
    ) -> list[Prepared]:
        """Return a file's slices, and what is wrong with it as an error in its last row.

        A file whose process died is tried once more, in a new one: the system may have killed it
        for want of memory that others took. Frames that were ready before count.

        Parameters
        ----------
        path : Path
            The file.
        preparation : Preparation
            How.
        cancelled : Event, optional
            Once set, nothing more is started, and what is returned is not to be used.

        Raises
        ------
        DecodersNotAvailableError
            If no process can be started any more.
        """
        cancelled = cancelled or threading.Event()
        time_s = self.options.file_timeout_s or None
        for attempt in (1, 2):
            if cancelled.is_set():
                break
            try:
                return next(self._attempt([path], preparation, cancelled, time_s))
            except _TimedOutError as late:
                return [*late.done, self._late(path, late)]
            except _DiedError as died:
                if attempt == 2:
                    reason = (
                        f"crashed: the decoder process {died}, twice; the rest of the run is not "
                        "affected. Export the image again"
                    )
                    return [*died.done, failure(path, len(died.done), reason)]
        return []

    def prepare_several(
        self,
        paths: Sequence[Path],
        preparation: Preparation,
        cancelled: threading.Event | None = None,
    ) -> Iterator[list[Prepared]]:
        """Yield what `prepare` returns for each of several files, asking one process for all.

        It answers those that are quick together: to wake it and a thread here for each costs some
        percent of what decoding does. If it dies or gives no answer for some seconds, which of them
        did that is not known: nothing more is yielded, and the rest is to be asked for one by one.

        Parameters
        ----------
        paths : sequence of Path
            The files.
        preparation, cancelled
            As for `prepare`.

        Raises
        ------
        DecodersNotAvailableError
            If no process can be started any more.
        """
        cancelled = cancelled or threading.Event()
        if len(paths) == 1:
            yield self.prepare(paths[0], preparation, cancelled)
        elif not cancelled.is_set():
            time_s = min(self.options.file_timeout_s or _TOGETHER_S, _TOGETHER_S)
            with contextlib.suppress(_DiedError, _TimedOutError):
                yield from self._attempt(paths, preparation, cancelled, time_s)

    def release(self) -> None:
        """End what is being decoded: threads that wait for it return at once."""
        with self._lock:
            for worker in self._busy:
                worker.channel.shut()

    def close(self) -> None:
        """End every process."""
        self.release()
        with self._lock:
            self._closed = True
            for worker in self._idle:
                worker.channel.close()
            self._idle.clear()
            self._control.close()
        self._nursery.end()

    def _attempt(
        self,
        paths: Sequence[Path],
        preparation: Preparation,
        cancelled: threading.Event,
        time_s: float | None,
    ) -> Generator[list[Prepared], None, None]:
        """Yield the slices of each file, of which each has so much time; None has no end."""
        worker = self._take()
        done: list[Prepared] = []
        try:
            # Set before `release`, which ends what was busy by then: one of the two is seen.
            if cancelled.is_set():
                raise EOFError
            worker.channel.set_deadline(time_s)
            changed = None if worker.told == preparation else preparation
            send_requests(worker.channel, paths, changed)
            worker.told = preparation
            for path in paths[:-1]:
                self._receive(worker.channel, path, preparation.limits, done)
                yield done
                done = []
                worker.channel.set_deadline(time_s)
            self._receive(worker.channel, paths[-1], preparation.limits, done)
        except TimeoutError:
            stalled = _sleeps(worker.process)
            self._drop(worker)
            raise _TimedOutError(done, stalled) from None
        except (EOFError, ConnectionError) as error:
            raise _DiedError(self._bury(worker), done) from error
        except MessageError as error:
            self._drop(worker)
            raise _DiedError(f"sent {error}", done) from error
        except BaseException:
            self._drop(worker)
            raise
        self._give_back(worker, cancelled)
        # The last only now: who takes it may not ask for more.
        yield done

    def _give_back(self, worker: _Worker, cancelled: threading.Event) -> None:
        with self._lock:
            # What came before `release` can be read after it all the same.
            usable = not cancelled.is_set() and not worker.channel.has_next()
            if usable:
                self._busy.discard(worker)
                self._idle.append(worker)
        if not usable:
            self._drop(worker)

    @staticmethod
    def _receive(channel: Channel, path: Path, limits: Limits, done: list[Prepared]) -> None:
        """Add a file's slices to those that are done."""
        while (item := receive_prepared(channel, limits)) is not None:
            if item.provenance.path != str(path):
                raise MessageError("what is of another file")
            done.append(item)
            if len(done) > limits.frames + 1:
                raise MessageError("more slices than a file may have")

    def _late(self, path: Path, late: _TimedOutError) -> Prepared:
        what = "gave no data" if late.stalled else "was not decoded"
        hint = "check the disk or network that it lies on" if late.stalled else "export it again"
        reason = (
            f"timeout: the file {what} in {self.options.file_timeout_s:g} s; {hint}, or give more "
            "time with --file-timeout"
        )
        return failure(path, len(late.done), reason, stalled=late.stalled)

    def _take(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise DecodersNotAvailableError("the decoder processes are closed")
            worker = self._idle.pop() if self._idle else self._start()
            self._busy.add(worker)
            return worker

    def _start(self) -> _Worker:
        try:
            return self._fork()
        except (OSError, EOFError):
            # The nursery was killed; nothing of the run is lost with it.
            self._control.close()
            self._nursery.end()
            self._ready = False
            self._nursery, self._control = self._open()
        try:
            return self._fork()
        except (OSError, EOFError) as error:
            raise DecodersNotAvailableError(
                "no decoder process can be started any more; free some memory"
            ) from error

    def _fork(self) -> _Worker:
        self._become_ready()
        here, there = socket.socketpair()
        try:
            with there:
                socket.send_fds(self._control, [ORDER.pack(START, 0)], [there.fileno()])
                return _Worker(self._answer(), Channel(here))
        except BaseException:
            here.close()
            raise

    def _bury(self, worker: _Worker) -> str:
        """Give a dead process back and say how it ended."""
        with self._lock:
            self._forget(worker)
            try:
                self._control.sendall(ORDER.pack(BURY, worker.process))
                ended = self._answer()
            except (OSError, EOFError):
                ended = 0
        if ended >= 0:
            return "ended"
        if -ended == signal.SIGKILL:
            return "was killed, as when memory runs out"
        return f"died of {_signal_name(-ended)}"

    def _drop(self, worker: _Worker) -> None:
        """Kill a process; one that is stuck in the system ends when that lets it."""
        with self._lock:
            self._forget(worker)
            with contextlib.suppress(OSError):
                self._control.sendall(ORDER.pack(ABANDON, worker.process))

    def _forget(self, worker: _Worker) -> None:
        self._busy.discard(worker)
        worker.channel.close()

    def _answer(self) -> int:
        data = self._control.recv(ANSWER.size, socket.MSG_WAITALL)
        if len(data) < ANSWER.size:
            raise EOFError
        (number,) = ANSWER.unpack(data)
        return int(number)

    def _become_ready(self) -> None:
        if self._ready:
            return
        self._control.settimeout(_START_S)
        try:
            said = self._control.recv(64)
        except OSError as error:
            said = type(error).__name__.encode()
        if said != READY:
            raise DecodersNotAvailableError(
                f"decoder processes do not start ({said.decode('ascii', 'replace') or 'ended'})"
            )
        self._ready = True
        if self._dicom:
            self._control.sendall(ORDER.pack(EXPECT_DICOM, 0))

    def _open(self) -> tuple[Nursing, socket.socket]:
        memory = min(self.options.memory_bytes, _half_of_memory())
        try:
            return open_nursery(memory, self.options.decode)
        except OSError as error:
            raise DecodersNotAvailableError(
                f"processes cannot be started ({error.strerror})"
            ) from error


def _sleeps(process: int) -> bool:
    """Whether a process waits for the system rather than computes; False where it is unknown."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    # The name before it, in parentheses, may hold anything.
    return status.rpartition(")")[2].split()[0] in {"S", "D"}


def _half_of_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError):
        return MEMORY_BYTES


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def start_decoders(options: DecoderOptions, stack: contextlib.ExitStack) -> Decoders | None:
    """Start decoder processes, which end with the stack; None if there cannot be any."""
    try:
        return stack.enter_context(Decoders(options))
    except DecodersNotAvailableError as error:
        _say_why(error)
        return None


def ready_decoders(decoders: Decoders | None) -> Decoders | None:
    """Return the processes if they came up; None, and a word on it, if they did not."""
    try:
        if decoders is not None:
            decoders.wait_until_ready()
        return decoders
    except DecodersNotAvailableError as error:
        _say_why(error)
        return None


def _say_why(error: DecodersNotAvailableError) -> None:
    print(
        f"decoding in this process, since {error}: a file that crashes its decoder ends the run",
        file=sys.stderr,
    )
