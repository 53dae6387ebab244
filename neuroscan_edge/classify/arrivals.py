"""Which files of a watched folder are whole and new."""

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.scans.discovery import looks_like_scan

SETTLE_S = 2.0
"""Seconds in which a file must not change before it is taken for whole."""

UNFINISHED_SUFFIXES = (".partial", ".part", ".tmp", ".filepart", ".crdownload")
"""Ends of names that programs give to files which they still write."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that is whole.

    Parameters
    ----------
    path : Path
        The file.
    identity : bytes
        Of its name, size and time of change: a file with new content is another.
    """

    path: Path
    identity: bytes


@dataclass(frozen=True, slots=True)
class _Look:
    """What a file was when it last changed, as far as was seen."""

    size: int
    mtime_ns: int
    since: float


class Arrivals:
    """Takes note of files that may have changed and hands out those that are whole and new.

    A file is whole when its size and time of change stood still for the settling time. One that was
    moved in is whole at once: its inode has changed, by the move, well after its content. Both
    times are the file system's own, so that its clock may differ from this machine's.

    Parameters
    ----------
    known : iterable of bytes
        Identities that were handed out before.
    settle_s : float
        Settling time, in seconds.
    clock : callable
        Seconds, never backwards.
    """

    def __init__(
        self,
        known: Iterable[bytes] = (),
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = set(known)
        self._settle_s = settle_s
        self._clock = clock
        self._looks: dict[Path, _Look | None] = {}

    @property
    def waiting(self) -> int:
        """How many files are not yet whole."""
        return len(self._looks)

    def note(self, path: Path) -> None:
        """Look at a file from now on, unless its name says that it is not for us."""
        if not path.name.startswith(".") and not path.name.lower().endswith(UNFINISHED_SUFFIXES):
            self._looks.setdefault(path, None)

    def again(self, arrivals: Iterable[Arrival]) -> None:
        """Take back what was handed out and not dealt with."""
        for arrival in arrivals:
            self._known.discard(arrival.identity)
            self.note(arrival.path)

    def whole(self) -> list[Arrival]:
        """Return the files that are whole and new, by name; each only once."""
        now = self._clock()
        found = []
        for path in list(self._looks):
            arrival = self._look(path, now)
            if arrival is not None and looks_like_scan(path):
                found.append(arrival)
        return sorted(found, key=lambda arrival: arrival.path)

    def _look(self, path: Path, now: float) -> Arrival | None:
        try:
            status = path.stat()
        except OSError:
            # It was taken away again, or cannot be seen: a new event tells of a return.
            del self._looks[path]
            return None
        arrival = Arrival(path, _identity(path, status))
        if not stat.S_ISREG(status.st_mode) or arrival.identity in self._known:
            del self._looks[path]
            return None
        before = self._looks[path]
        if before is None or (before.size, before.mtime_ns) != (status.st_size, status.st_mtime_ns):
            before = _Look(status.st_size, status.st_mtime_ns, now)
            self._looks[path] = before
        moved_in = status.st_ctime_ns - status.st_mtime_ns >= self._settle_s * 1e9
        if not moved_in and now - before.since < self._settle_s:
            return None
        del self._looks[path]
        self._known.add(arrival.identity)
        return arrival


def _identity(path: Path, status: os.stat_result) -> bytes:
    facts = f"{status.st_size} {status.st_mtime_ns} ".encode()
    return hashlib.blake2b(facts + os.fsencode(path), digest_size=16).digest()
