"""MLPerf Inference's scenarios for one machine, and how long and how steadily to run them."""

import math
from dataclasses import dataclass
from enum import Enum

from neuroscan_edge.bench.statistics import samples_needed
from neuroscan_edge.errors import SpecError


class ScenarioName(str, Enum):
    """Scenarios by MLPerf's names."""

    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    OFFLINE = "Offline"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Scenario:
    """How queries come and what is reported.

    Parameters
    ----------
    name : ScenarioName
        MLPerf's name.
    samples_per_query : int
        Slices a query; 0 is one query of everything.
    percentile : float or None
        Of the latencies, the figure reported; None reports throughput.
    """

    name: ScenarioName
    samples_per_query: int
    percentile: float | None

    @property
    def queries_needed(self) -> int:
        """Fewest queries for which the percentile may be claimed."""
        return samples_needed(self.percentile) if self.percentile else 1


SCENARIOS = {
    each.name: each
    for each in (
        Scenario(ScenarioName.SINGLE_STREAM, 1, 0.90),
        Scenario(ScenarioName.MULTI_STREAM, 8, 0.99),
        Scenario(ScenarioName.OFFLINE, 0, None),
    )
}


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to run, and when a run counts as steady.

    Parameters
    ----------
    warm_up_s : float
        Queries run this long before any counts.
    min_duration_s, max_duration_s : float
        Least and most time measured; the most is also the limit for becoming steady.
    windows : int
        How many last windows of time must agree, at least 2.
    spread : float
        Largest (maximum - minimum) / median over those windows' medians that counts as steady.
    """

    warm_up_s: float = 5.0
    min_duration_s: float = 20.0
    max_duration_s: float = 300.0
    windows: int = 5
    spread: float = 0.05

    def __post_init__(self) -> None:
        for number in (self.warm_up_s, self.min_duration_s, self.max_duration_s, self.spread):
            # NaN is neither below nor above a limit.
            if not math.isfinite(number):
                raise SpecError(f"a duration or the spread is {number}; give a finite number")
        if self.warm_up_s < 0:
            raise SpecError(f"warm-up is {self.warm_up_s} s; give 0 or more")
        if not 0 < self.min_duration_s <= self.max_duration_s:
            raise SpecError(
                f"durations are {self.min_duration_s} to {self.max_duration_s} s; give more than 0 "
                "seconds, and a maximum that is not below the minimum"
            )
        if self.windows < 2:
            raise SpecError(f"windows is {self.windows}; give 2 or more")
        if self.spread <= 0:
            raise SpecError(f"spread is {self.spread}; give a share above 0, such as 0.05")

    @property
    def window_s(self) -> float:
        """Length of a window, so that the least duration holds all that must agree."""
        return self.min_duration_s / self.windows
