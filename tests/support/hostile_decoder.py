"""A decoder that does to its process what the file's name says."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from neuroscan_edge.scans import Limits, Provenance, Scan, read_scans


def decode(path: Path, limits: Limits) -> Iterator[Scan]:
    deed, _, rest = path.stem.partition("-")
    if deed == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif deed == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "exits":
        sys.exit(3)
    elif deed == "leaves":
        os._exit(0)
    elif deed == "loops":
        while True:
            pass
    elif deed == "waits":
        time.sleep(600)
    elif deed == "naps":
        time.sleep(0.1)
    elif deed == "eats":
        bytearray(1 << 34)
    elif deed == "raises":
        raise KeyError("DOE^JOHN")
    elif deed == "babbles":
        babble()
    elif deed == "forges":
        (scan,) = read_scans(path, limits)
        yield replace(scan, provenance=Provenance("another.png"))
    elif deed == "once" and not (mark := path.with_suffix(".mark")).exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    elif deed == "second":
        yield from read_scans(path, limits)
        os.kill(os.getpid(), signal.SIGSEGV)
    yield from read_scans(path, limits)


def babble() -> None:
    """Write what is no message to whatever socket this process has."""
    import socket
    import stat

    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                socket.socket(fileno=os.dup(number)).sendall(b"\xff" * 64)
        except OSError:
            continue
    time.sleep(600)
