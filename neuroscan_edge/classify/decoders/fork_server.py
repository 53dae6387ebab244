"""The process that decoder processes are forked from.

It imports what decoding needs once, has no thread and never touches a file, so that forking it is
safe and takes milliseconds; the run's own process has the threads of a runtime and must not be
forked. It ends when the run does, even by kill -9: the socket to it closes then.
"""

import gc
import importlib
import os
import select
import signal
import socket
import sys
import time

from PIL import Image

from neuroscan_edge.classify.decoders.fork_server_protocol import (
    ABANDON,
    ANSWER,
    BURY,
    EXPECT_DICOM,
    ORDER,
    READY,
    START,
)
from neuroscan_edge.classify.decoders.prepare import Decode
from neuroscan_edge.classify.decoders.worker import Confinement, work

_BURIAL_S = 2.0


class Nursery:
    """Starts and ends decoder processes.

    Parameters
    ----------
    control : socket
        Orders come from there.
    decode : callable
        What the processes decode with.
    confinement : Confinement
        Of each.
    """

    def __init__(self, control: socket.socket, decode: Decode, confinement: Confinement) -> None:
        self._control = control
        self._decode = decode
        self._confinement = confinement
        self._children: set[int] = set()
        self._dropped: set[int] = set()

    def serve(self) -> None:
        """Take orders until the run's process is gone."""
        while True:
            # Dropped processes that were stuck in the system may end at any time.
            if not select.select([self._control], [], [], 1.0 if self._dropped else None)[0]:
                self._reap()
                continue
            message, ends, _, _ = socket.recv_fds(self._control, ORDER.size, 1)
            if len(message) < ORDER.size:
                break
            order, process = ORDER.unpack(message)
            if order == START:
                self._answer(self._start(ends[0]))
            elif order == BURY:
                self._answer(self._bury(process))
            elif order == ABANDON:
                self._kill(process)
                self._dropped.add(process)
                self._reap()
            elif order == EXPECT_DICOM:
                # Costs a third of a second, once here rather than in every child.
                importlib.import_module("neuroscan_edge.scans.dicom.reader")
        for process in self._children:
            self._kill(process)
        # At once: there is nothing to tidy up, and the run may be waiting for this.
        os._exit(0)

    def _answer(self, number: int) -> None:
        self._control.sendall(ANSWER.pack(number))

    def _start(self, end: int) -> int:
        parent = os.getpid()
        process = os.fork()
        if process:
            os.close(end)
            self._children.add(process)
            return process
        status = 1
        try:
            self._control.close()
            self._confinement.enter(parent)
            work(socket.socket(fileno=end), self._decode)
            status = 0
        finally:
            # Nothing of the nursery's may run on in the child.
            os._exit(status)

    def _bury(self, process: int) -> int:
        # One that is dead already keeps the status that it ended with.
        self._kill(process)
        deadline = time.monotonic() + _BURIAL_S
        while process in self._children and time.monotonic() < deadline:
            found, status = os.waitpid(process, os.WNOHANG)
            if found:
                self._children.discard(process)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        return 0

    def _kill(self, process: int) -> None:
        # Only one's own, and not yet reaped: the number may be another's by now.
        if process in self._children:
            os.kill(process, signal.SIGKILL)

    def _reap(self) -> None:
        """Forget those of the dropped that have ended: nobody will ask how."""
        for process in list(self._dropped):
            if process not in self._children or os.waitpid(process, os.WNOHANG)[0]:
                self._children.discard(process)
                self._dropped.discard(process)


def main(arguments: list[str]) -> None:
    """Run with the number of the control socket, the memory limit in bytes, and the decoder."""
    # The run's process answers interrupts, and this one ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    descriptor, memory_bytes, decoder = arguments
    control = socket.socket(fileno=int(descriptor))
    try:
        module, _, name = decoder.partition(":")
        decode = getattr(importlib.import_module(module), name)
    except Exception as error:
        control.sendall(type(error).__name__.encode())
        sys.exit(1)
    # Pillow looks for its formats at the first image: here, rather than in every child.
    Image.preinit()
    # Collected garbage would be written to, and copied in every child.
    gc.freeze()
    control.sendall(READY)
    Nursery(control, decode, Confinement(int(memory_bytes))).serve()
