"""Shares of a count, with exact intervals."""

import math
from collections.abc import Callable
from dataclasses import dataclass

_HALVINGS = 60


@dataclass(frozen=True, slots=True)
class Share:
    """How many of how many.

    Parameters
    ----------
    count, of : int
        0 <= count <= of, and `of` at least 1.
    """

    count: int
    of: int

    @property
    def value(self) -> float:
        """The share itself."""
        return self.count / self.of

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the exact interval of Clopper and Pearson (Biometrika 26, 1934)."""
        tail = (1 - level) / 2
        low = high = 0.0
        if self.count > 0:
            low = _solve(lambda share: at_least(self.count, self.of, share), tail)
        if self.count < self.of:
            high = _solve(lambda share: at_least(self.count + 1, self.of, share), 1 - tail)
        return low, 1.0 if self.count == self.of else high

    def to_json(self) -> dict[str, object]:
        """Return the share with its 95 % interval, ready for JSON."""
        return {
            "count": self.count,
            "of": self.of,
            "value": self.value,
            "interval": list(self.interval()),
        }


def at_least(count: int, of: int, share: float) -> float:
    """Return the probability of `count` or more successes in `of` trials."""
    if count <= 0:
        return 1.0
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    logs = (math.log(share), math.log1p(-share))
    ways = math.lgamma(of + 1)
    return math.fsum(
        math.exp(
            ways
            - math.lgamma(each + 1)
            - math.lgamma(of - each + 1)
            + each * logs[0]
            + (of - each) * logs[1]
        )
        for each in range(count, of + 1)
    )


def _solve(rising: Callable[[float], float], wanted: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2
