"""Throughput over batch size, and the knee: where larger batches stop paying."""

import statistics
import time
from functools import partial
from typing import Any

import numpy as np

from neuroscan_edge.bench.harness import Clock
from neuroscan_edge.runtimes.protocol import Runtime, UInt8Batch
from neuroscan_edge.system.timing import race

KNEE = 0.95
"""The smallest batch that gives this share of the best throughput is the knee."""

_ROUNDS = 5


def measure_sweep(
    runtime: Runtime,
    slices: UInt8Batch,
    batch_sizes: tuple[int, ...],
    clock: Clock = time.perf_counter_ns,
) -> dict[str, Any]:
    """Measure the bare runtime at several batch sizes, in turns.

    Parameters
    ----------
    runtime : Runtime
        Loaded.
    slices : (N, H, W, 1) uint8
        Preprocessed; repeated for batches of more.
    batch_sizes : tuple of int
        To measure.
    """
    batches = {size: np.take(slices, np.arange(size) % len(slices), axis=0) for size in batch_sizes}
    spent = race({size: partial(runtime, batch) for size, batch in batches.items()}, _ROUNDS, clock)
    rates = {size: size / (statistics.median(times) / 1e9) for size, times in spent.items()}
    points = [
        {
            "batch_size": size,
            "samples_per_s": rates[size],
            "samples_per_s_range": [size / (max(times) / 1e9), size / (min(times) / 1e9)],
            "latency_ms": statistics.median(times) / 1e6,
        }
        for size, times in spent.items()
    ]
    return {"points": points, "knee": knee(rates)}


def knee(samples_per_s: dict[int, float]) -> int:
    """Return the smallest batch size within `KNEE` of the best throughput."""
    best = max(samples_per_s.values())
    return min(size for size, rate in samples_per_s.items() if rate >= KNEE * best)
