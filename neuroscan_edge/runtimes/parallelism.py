"""How many threads and streams a CPU runtime takes, and how a batch is shared out."""

import contextlib
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path

import numpy as np

from neuroscan_edge.errors import SpecError
from neuroscan_edge.runtimes.protocol import Runtime, UInt8Batch, outputs_in_turn
from neuroscan_edge.spec import Preprocessing, RuntimeName
from neuroscan_edge.system.cache import cache_folder, read_own, write_own
from neuroscan_edge.system.machine import usable_cores

PARALLELISM_SCHEMA = 3
MAX_STREAMS = 256
PART = 4
"""Slices that a stream takes at once: what lies between layers stays in its core's cache."""
_LIMIT_BYTES = 1 << 16
_TURNS, _LEAST_BATCHES = 3, 3
_TURN_NS = 600_000_000
"""A turn takes as long at least: a single slice is short beside what else the machine does."""
_MARGIN = 0.03
"""What another choice must gain over the first to be taken: less is chance."""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How a runtime uses a CPU's cores.

    Parameters
    ----------
    threads : int
        Within an operator, of each stream; 0 leaves it to the runtime.
    streams : int
        Parts of a batch that are computed side by side.
    spinning : bool
        Whether idle threads wait without sleeping: faster to wake, but they keep a core busy.
        OpenVINO decides that by itself.
    """

    threads: int = 0
    streams: int = 1
    spinning: bool = False

    def __post_init__(self) -> None:
        if self.threads < 0 or not 1 <= self.streams <= MAX_STREAMS:
            raise SpecError(
                f"threads and streams are {self.threads} and {self.streams}; "
                f"give 0 or more threads and 1 to {MAX_STREAMS} streams"
            )

    def __str__(self) -> str:
        spinning = ", spinning" if self.spinning else ""
        threads = self.threads or "all"
        return f"{self.streams} x {threads} threads{spinning}"


def streams_are_models(runtime: RuntimeName) -> bool:
    """Whether each stream of a runtime is a model of its own, in time to open and in memory."""
    return runtime is RuntimeName.OPENVINO


def candidates(
    cores: int, batch_size: int, most_streams: int = MAX_STREAMS
) -> tuple[Parallelism, ...]:
    """Return what is worth measuring, the default first.

    A single slice cannot be shared out; a batch can be, over as many streams as it has slices.
    """
    found = [Parallelism(cores)]
    if batch_size == 1:
        found.append(Parallelism(cores, spinning=True))
        if cores > 2:
            found.append(Parallelism(cores // 2))
        return tuple(found)
    streams = 2
    while streams <= min(cores, batch_size, most_streams):
        found.append(Parallelism(cores // streams, streams))
        streams *= 2
    return tuple(found)


def unmeasured(cores: int, batch_size: int) -> Parallelism:
    """Return what ONNX Runtime is given where nothing was measured.

    A stream for each core, if a batch has `PART` slices for each: threads that share every operator
    wait for each other at its end.
    """
    enough = 1 < cores <= min(batch_size // PART, MAX_STREAMS)
    return Parallelism(1, cores) if enough else Parallelism()


def shares(count: int, streams: int, at_most: int | None = None) -> list[slice]:
    """Cut a batch into parts as equal as can be, the larger ones first.

    There are as many parts as streams; with `at_most`, the fewest multiple of that which leaves no
    part with more slices.
    """
    rounds = 1 if at_most is None else -(-count // (streams * at_most))
    parts = min(streams * rounds, count)
    size, larger = divmod(count, parts)
    edges = [index * size + min(index, larger) for index in range(parts + 1)]
    return [slice(one, next_) for one, next_ in zip(edges, edges[1:], strict=False)]


def random_slices(spec: Preprocessing, count: int) -> UInt8Batch:
    """Return noise to measure with, (count, H, W, 1) uint8: zeros would flatter some kernels."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, spec.height, spec.width, 1), np.uint8)


def measured_best(
    open_with: Callable[[Parallelism], Runtime],
    choices: tuple[Parallelism, ...],
    batch: UInt8Batch,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> tuple[Parallelism, dict[str, float]]:
    """Measure all choices in turns and return the fastest, with each one's median ms a batch.

    Turns, because what else the machine does changes; the first choice stays unless another is
    faster by 3 %. Batches follow each other as in a run: the next is begun early where that helps.
    """
    spent: dict[Parallelism, list[int]] = {choice: [] for choice in choices}
    for _ in range(_TURNS):
        for choice in choices:
            # One open at a time: together they would take the memory of many models.
            with open_with(choice) as run:
                spent[choice] += _paces(run, batch, clock)
    medians = {choice: statistics.median(values) / 1e6 for choice, values in spent.items()}
    best = min(medians, key=lambda choice: medians[choice])
    if medians[best] > (1 - _MARGIN) * medians[choices[0]]:
        best = choices[0]
    return best, {str(choice): value for choice, value in medians.items()}


def _paces(run: Runtime, batch: UInt8Batch, clock: Callable[[], int]) -> list[int]:
    """Return the nanoseconds from each answer to the next."""
    paces: list[int] = []
    with contextlib.closing(outputs_in_turn(run, repeat(batch))) as outputs:
        # The first one allocates.
        next(outputs)
        last = clock()
        while len(paces) < _LEAST_BATCHES or sum(paces) < _TURN_NS:
            next(outputs)
            now = clock()
            paces.append(now - last)
            last = now
    return paces


def cache_path(key: Mapping[str, str]) -> Path:
    """Name the file of one machine, runtime, graph and batch size."""
    canonical = json.dumps(dict(key), sort_keys=True)
    return (
        cache_folder() / f"parallelism-{hashlib.sha256(canonical.encode()).hexdigest()[:32]}.json"
    )


def read_parallelism(key: Mapping[str, str]) -> Parallelism | None:
    """Read what was found before; None if nothing was, or nothing that can be trusted."""
    data = read_own(cache_path(key), _LIMIT_BYTES)
    if data is None:
        return None
    try:
        stored = json.loads(data)
        if stored["schema"] != PARALLELISM_SCHEMA or stored["key"] != dict(key):
            return None
        fields = stored["parallelism"]
        found = Parallelism(
            int(fields["threads"]), int(fields["streams"]), bool(fields["spinning"])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    # Of a machine that had more cores when it was measured.
    return found if found.threads * found.streams <= usable_cores() else None


def write_parallelism(
    key: Mapping[str, str], chosen: Parallelism, medians_ms: Mapping[str, float]
) -> None:
    """Keep what was found, with what it was found from."""
    content = {
        "schema": PARALLELISM_SCHEMA,
        "key": dict(key),
        "parallelism": asdict(chosen),
        "median_ms_a_batch": dict(medians_ms),
    }
    write_own(cache_path(key), (json.dumps(content, indent=2) + "\n").encode())
