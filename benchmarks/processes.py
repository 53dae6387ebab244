"""A process, its descendants and their memory, as the system tells them."""

import os
from collections.abc import Iterator
from pathlib import Path


def family(process: int) -> list[int]:
    """List the living descendants of a process."""
    found = []
    for child, parent in living():
        if parent == process:
            found += [child, *family(child)]
    return found


def living() -> Iterator[tuple[int, int]]:
    """Yield every living process with its parent."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in {"Z", "X"}:
            yield int(entry.parent.name), int(fields[1])


def resident_bytes(process: int) -> int:
    """Return a process' resident memory; what it shares with others counts in each."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def core_seconds(process: int) -> float:
    """Return the seconds of cores that a living process has taken; 0 if it has just ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")
