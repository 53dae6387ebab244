"""Images a second, side by side."""

import statistics
import time
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from neuroscan_edge.runtimes.base import Runtime

ROUNDS = 5
_BATCH = 8


def images_per_second(
    runtimes: Mapping[str, Runtime], inputs: npt.NDArray[np.uint8], rounds: int = ROUNDS
) -> dict[str, float]:
    """Measure models in turns, so that what else the machine does meets all of them.

    Parameters
    ----------
    runtimes : mapping of str to Runtime
        Opened.
    inputs : (N, H, W, 1) uint8
        One batch of it is run in each round.
    rounds : int
        After one to warm up; the median counts.
    """
    batch = inputs[:_BATCH]
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(rounds + 1):
        for name, runtime in runtimes.items():
            started = time.perf_counter()
            runtime(batch)
            if number:
                seconds[name].append(time.perf_counter() - started)
    return {name: len(batch) / statistics.median(each) for name, each in seconds.items()}
