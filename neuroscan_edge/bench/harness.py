"""Our own load generator: warm up, measure until steady, and say whether the figures hold."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import count, islice
from typing import Any

import numpy as np

from neuroscan_edge.bench.scenarios import Pace, Scenario
from neuroscan_edge.bench.statistics import interval, percentile, percentile_bound, spread
from neuroscan_edge.bench.system import SystemUnderTest

Clock = Callable[[], int]
"""Nanoseconds that never go back."""

EachWindow = Callable[[int], None]
"""Called at the end of a window of time with the slices measured so far."""

MAX_STORED = 5000
"""Latencies kept in a record; of more, every k-th."""


class Verdict(str, Enum):
    """Whether a figure may be quoted."""

    VALID = "valid"
    UNSTABLE = "unstable"
    PARTIAL = "partial"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(slots=True)
class Measurement:
    """What one scenario gave, in time order; grows while it runs.

    Parameters
    ----------
    scenario : Scenario
        What ran.
    latencies_ns : list of int
        Of queries; empty for Offline.
    windows : list of float
        Median latency in ms of each window, or for Offline slices a second.
    samples : int
        Slices finished.
    duration_ns : int
        From the first query to the last result.
    verdict : Verdict
        Set at the end.
    reason : str
        Why it is not valid; empty if it is.
    """

    scenario: Scenario
    latencies_ns: list[int] = field(default_factory=list)
    windows: list[float] = field(default_factory=list)
    samples: int = 0
    duration_ns: int = 0
    verdict: Verdict = Verdict.PARTIAL
    reason: str = "it has not finished"

    def to_json(self) -> dict[str, Any]:
        """Return the section of a record."""
        return {
            "scenario": str(self.scenario.name),
            "samples_per_query": self.scenario.samples_per_query,
            "verdict": str(self.verdict),
            "reason": self.reason,
            "queries": len(self.latencies_ns) or int(self.samples > 0),
            "samples": self.samples,
            "duration_s": self.duration_ns / 1e9,
            "samples_per_s": self.samples / (self.duration_ns / 1e9) if self.duration_ns else None,
            "windows": self.windows,
            "window_spread": spread(self.windows) if self.windows else None,
            **self._latency(),
        }

    def _latency(self) -> dict[str, Any]:
        share = self.scenario.percentile
        if share is None:
            rates = interval(self.windows, _median) if self.windows else None
            return {"samples_per_s_interval": [rates.low, rates.high] if rates else None}
        if not self.latencies_ns:
            return {"latency_ms": None}
        milliseconds = np.asarray(self.latencies_ns, np.float64) / 1e6
        enough = len(milliseconds) >= self.scenario.queries_needed
        every = math.ceil(len(milliseconds) / MAX_STORED)
        # No percentile is claimed from fewer queries than it needs.
        named = {f"p{100 * each:.0f}": each for each in (0.5, 0.9, 0.99)}
        claimed: dict[str, float | None] = {
            name: percentile(milliseconds, each)
            if percentile_bound(milliseconds, each) is not None
            else None
            for name, each in named.items()
        }
        return {
            "latency_ms": {
                **claimed,
                "min": float(milliseconds.min()),
                "max": float(milliseconds.max()),
                "mean": float(milliseconds.mean()),
                "percentile": share,
                "claimed": percentile(milliseconds, share) if enough else None,
                "early_stopping_estimate": percentile_bound(milliseconds, share),
                "queries_needed": self.scenario.queries_needed,
            },
            "latencies_ms": [round(float(each), 4) for each in milliseconds[::every]],
            "latencies_kept_every": every,
        }


def run_scenario(
    scenario: Scenario,
    system: SystemUnderTest,
    pace: Pace,
    clock: Clock = time.perf_counter_ns,
    each_window: EachWindow = lambda slices: None,
) -> Measurement:
    """Run one scenario. An interrupt ends it with what there is, marked partial.

    Parameters
    ----------
    scenario : Scenario
        What to run.
    system : SystemUnderTest
        Who answers.
    pace : Pace
        How long.
    clock : callable
        For the time.
    each_window : callable
        Called at the end of each window with the slices done, for telemetry: between queries, and
        between the windows of a stream.
    """
    measured = Measurement(scenario)
    try:
        if scenario.percentile is None:
            _run_offline(measured, system, pace, clock, each_window)
        else:
            _run_queries(measured, system, pace, clock, each_window)
    except KeyboardInterrupt:
        measured.verdict = Verdict.PARTIAL
        measured.reason = f"interrupted after {measured.samples} slices"
    return measured


def _run_queries(
    measured: Measurement,
    system: SystemUnderTest,
    pace: Pace,
    clock: Clock,
    each_window: EachWindow,
) -> None:
    size = measured.scenario.samples_per_query
    indices = _cycle(system.samples)
    began = clock()
    while (clock() - began) / 1e9 < pace.warm_up_s:
        system.query(list(islice(indices, size)))
    window: list[int] = []
    opened = began = clock()
    while True:
        asked = list(islice(indices, size))
        started = clock()
        system.query(asked)
        ended = clock()
        measured.latencies_ns.append(ended - started)
        window.append(ended - started)
        measured.samples += size
        measured.duration_ns = ended - began
        if (ended - opened) / 1e9 < pace.window_s:
            continue
        measured.windows.append(statistics.median(window) / 1e6)
        each_window(measured.samples)
        window, opened = [], clock()
        enough = len(measured.latencies_ns) >= measured.scenario.queries_needed
        if _finished(measured, pace, enough):
            return


def _run_offline(
    measured: Measurement,
    system: SystemUnderTest,
    pace: Pace,
    clock: Clock,
    each_window: EachWindow,
) -> None:
    results = system.stream(_cycle(system.samples))
    began = opened = clock()
    warm, in_window = pace.warm_up_s <= 0, 0
    try:
        for number in count(1):
            next(results)
            # Results of a batch come together: only between batches is a rate a rate.
            if number % system.batch_size:
                continue
            now = clock()
            if not warm:
                if (now - began) / 1e9 >= pace.warm_up_s:
                    warm, began, opened = True, now, now
                continue
            in_window += system.batch_size
            measured.samples += system.batch_size
            measured.duration_ns = now - began
            if (now - opened) / 1e9 < pace.window_s:
                continue
            measured.windows.append(in_window / ((now - opened) / 1e9))
            each_window(measured.samples)
            in_window, opened = 0, now
            if _finished(measured, pace, enough=True):
                return
    finally:
        results.close()


def _finished(measured: Measurement, pace: Pace, enough: bool) -> bool:
    """Decide at the end of a window, and set the verdict if this was the last."""
    seconds = measured.duration_ns / 1e9
    last = measured.windows[-pace.windows :]
    steady = len(last) == pace.windows and spread(last) <= pace.spread
    if enough and steady and seconds >= pace.min_duration_s:
        measured.verdict, measured.reason = Verdict.VALID, ""
        return True
    if seconds < pace.max_duration_s:
        return False
    reasons = []
    if not enough:
        needed = measured.scenario.queries_needed
        share = 100 * (measured.scenario.percentile or 0)
        reasons.append(
            f"{len(measured.latencies_ns)} queries in {seconds:.0f} s, p{share:.0f} needs "
            f"{needed}: give a longer --max-duration"
        )
    if not steady:
        reasons.append(
            f"the last {len(last)} windows of {pace.window_s:g} s differ by "
            f"{100 * spread(last):.1f} %, at most {100 * pace.spread:g} % counts as steady: "
            "quiet the machine"
        )
    measured.verdict, measured.reason = Verdict.UNSTABLE, "; ".join(reasons)
    return True


def _cycle(samples: int) -> Iterator[int]:
    return (index % samples for index in count())


def _median(values: np.ndarray) -> float:
    return float(np.median(values))
