"""Images a second, side by side."""

import statistics
from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from neuroscan_edge.runtimes.protocol import Runtime
from neuroscan_edge.system.timing import race

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
    spent = race({name: partial(run, batch) for name, run in runtimes.items()}, rounds)
    return {name: len(batch) / (statistics.median(each) / 1e9) for name, each in spent.items()}
