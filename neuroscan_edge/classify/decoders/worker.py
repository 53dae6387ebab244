"""A process that decodes one file after another and may die of it."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import dataclass

import cv2

from neuroscan_edge.classify.decoders.prepare import (
    QUICK_S,
    Decode,
    Preparation,
    Preprocess,
    prepare_file,
)
from neuroscan_edge.classify.decoders.protocol import (
    Channel,
    MessageError,
    receive_request,
    send_end,
    send_prepared,
)

_PR_SET_PDEATHSIG = 1

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20
"""Memory that a process keeps between files rather than give it back and have it cleared anew,
which takes a third of the time of decoding a common slice."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a decoder process may not exceed.

    Parameters
    ----------
    memory_bytes : int
        Address space.
    """

    memory_bytes: int

    def enter(self, parent: int) -> None:
        """Confine this process, a child of `parent`; it cannot get out again."""
        # Interrupts are the parent's to answer; it then closes the socket.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _end_with(parent)
        # The core of a decoder would hold a patient's slice, and take long to write.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        allowed = [each for each in (soft, hard) if each != resource.RLIM_INFINITY]
        limit = min([self.memory_bytes, *allowed])
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        # Where memory runs out all the same, the system kills this process and not the model's.
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")


def work(end: socket.socket, decode: Decode) -> None:
    """Decode what is asked for until the other side is gone."""
    # There is a process for every core that may decode.
    cv2.setNumThreads(1)
    _keep_memory()
    channel = Channel(end)
    preparation: Preparation | None = None
    preprocess: Preprocess | None = None
    while True:
        try:
            path, changed = receive_request(channel)
        except EOFError:
            return
        if changed is not None:
            preparation, preprocess = changed, changed.preprocessor()
        if preparation is None or preprocess is None:
            raise MessageError("a first request that does not say how to prepare")
        # The answer can go with that to the next file that is asked for, unless that may take long.
        hold, began = channel.has_next(), time.monotonic()
        for item in prepare_file(path, preparation, decode, preprocess):
            send_prepared(channel, item, hold=hold)
        send_end(channel, hold=hold and time.monotonic() - began < QUICK_S)


def _keep_memory() -> None:
    # Only the GNU C library has it.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _end_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, whatever it is doing then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before the system knew.
    if os.getppid() != parent:
        os._exit(0)
