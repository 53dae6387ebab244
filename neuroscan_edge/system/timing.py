"""Calls timed in turns, so that what else the machine does meets all of them alike."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Name = TypeVar("Name")


def race(
    calls: Mapping[Name, Callable[[], object]],
    rounds: int,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[Name, list[int]]:
    """Return the nanoseconds of each call in each round; one call of each before is not counted.

    Parameters
    ----------
    calls : mapping of name to callable
        Called in this order, round after round.
    rounds : int
        How many count.
    clock : callable
        Nanoseconds that never go back.
    """
    spent: dict[Name, list[int]] = {name: [] for name in calls}
    for call in calls.values():
        # The first one allocates.
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = clock()
            call()
            spent[name].append(clock() - started)
    return spent
