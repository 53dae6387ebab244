"""Cold start: from the start of a process to the first result it prints."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from neuroscan_edge.bench.harness import Clock
from neuroscan_edge.errors import NeuroScanError

Start = Callable[[Sequence[str]], bytes]
"""Starts a command and returns the first line that it prints."""


class ColdStartError(NeuroScanError):
    """The process that was to be timed gave no result."""


def measure_cold_start(
    image: Path,
    options: Sequence[str],
    runs: int,
    clock: Clock = time.perf_counter_ns,
    start: Start | None = None,
) -> dict[str, Any]:
    """Classify one image in a new process, several times.

    Parameters
    ----------
    image : Path
        The scan.
    options : sequence of str
        Of ``classify``.
    runs : int
        How often; files are in the system's cache from the second on.
    clock, start : callable
        For the time, and to start a process.

    Raises
    ------
    ColdStartError
        If a process prints no result.
    """
    command = [sys.executable, "-m", "neuroscan_edge", "classify", str(image)]
    command += ["--format", "jsonl", *options]
    seconds = []
    for _ in range(runs):
        began = clock()
        line = (start or _first_line)(command)
        seconds.append((clock() - began) / 1e9)
        if b'"prediction"' not in line:
            raise ColdStartError(
                f"{' '.join(command[2:])} printed no result; run it by hand to see why"
            )
    return {
        "runs_s": seconds,
        "median_s": statistics.median(seconds),
        "first_s": seconds[0],
    }


def _first_line(command: Sequence[str]) -> bytes:
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        # Drained, so that the process can end by itself.
        process.stdout.read()
    return line
