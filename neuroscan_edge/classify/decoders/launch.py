"""Bringing up the process that decoder processes are forked from."""

import contextlib
import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

_END_S = 1.0
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:]; "
    "from neuroscan_edge.classify.decoders.fork_server import main; main(sys.argv[1:4])"
)
# One file is decoded at a time, by one thread.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Nursing(Protocol):
    """A process that was brought up."""

    def end(self) -> None:
        """Let it end, its socket being closed; kill it if it does not."""
        ...


def open_nursery(memory_bytes: int, decode: str) -> tuple[Nursing, socket.socket]:
    """Bring one up and return it with the socket that it takes orders from.

    A process of one thread is forked: that costs milliseconds, where a new interpreter spends a
    tenth of a second on its imports. One with more threads, as soon as a runtime is loaded, must
    not be: another thread might hold a lock that nobody would ever release in the child.

    Parameters
    ----------
    memory_bytes : int
        Address space of a decoder process at most.
    decode : str
        The decoder, as ``module:function``.

    Raises
    ------
    OSError
        If this system has no such processes, or forbids them.
    """
    if not (hasattr(os, "fork") and hasattr(socket, "send_fds")):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    here, there = socket.socketpair()
    arguments = [str(there.fileno()), str(memory_bytes), decode]
    try:
        with there:
            if _has_one_thread():
                return _Forked(arguments, keep=there.fileno()), here
            return _Spawned(arguments, keep=there.fileno()), here
    except BaseException:
        here.close()
        raise


class _Spawned:
    """A new interpreter, whatever this process is doing."""

    def __init__(self, arguments: list[str], keep: int) -> None:
        if not sys.executable:
            # As where Python is embedded.
            raise FileNotFoundError(errno.ENOENT, "the interpreter is not known")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *arguments, *sys.path],
            pass_fds=(keep,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Decoders in C complain there of what they read, and quote it.
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD},
            # A terminal's interrupt is for the run, not for its decoders.
            start_new_session=True,
        )

    def end(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_END_S)
            return
        self._process.kill()
        self._process.wait()


class _Forked:
    """A copy of this process."""

    def __init__(self, arguments: list[str], keep: int) -> None:
        self._process = os.fork()
        if self._process:
            return
        try:
            os.setsid()
            _drop_files(keep)
            from neuroscan_edge.classify.decoders.fork_server import main

            main(arguments)
        finally:
            # Nothing of the run's may run on in the child, nor be written twice.
            os._exit(1)

    def end(self) -> None:
        deadline = time.monotonic() + _END_S
        try:
            while not os.waitpid(self._process, os.WNOHANG)[0]:
                if time.monotonic() > deadline:
                    os.kill(self._process, 9)
                    os.waitpid(self._process, 0)
                    return
                time.sleep(0.0005)
        except ChildProcessError:
            # Somebody else in this process has waited for it.
            return


def _has_one_thread() -> bool:
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


def _drop_files(keep: int) -> None:
    """Close every file but one, and let the standard ones lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
