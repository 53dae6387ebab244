"""How many samples a percentile needs, what it is then known to be, and intervals of ratios.

The rule is MLPerf Inference's early stopping (inference rules, "Early Stopping Criterion"): of n
queries, those slower than the true p-th percentile are binomial, n trials of probability 1 - p.
If at most t of n are expected to be slower with a chance of 1 - c or less, the t-th slowest query
seen lies above the true percentile with confidence c, whatever the distribution (an upper bound by
order statistics; David and Nagaraja, Order Statistics, 7.1). The confidence is MLPerf's 0.99.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import SpecError

CONFIDENCE = 0.99
INTERVAL_LEVEL = 0.95
_RESAMPLES = 1000
_SEED = 0

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the interval it is believed in.

    Parameters
    ----------
    value, low, high : float
        In the same unit.
    """

    value: float
    low: float
    high: float


def binomial_cdf(successes: int, trials: int, probability: float) -> float:
    """Return the chance of at most `successes` in `trials` of the given probability."""
    if successes < 0:
        return 0.0
    if successes >= trials:
        return 1.0
    log_p, log_q = math.log(probability), math.log1p(-probability)
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * log_p
        + (trials - k) * log_q
        for k in range(successes + 1)
    ]
    largest = max(logs)
    return min(1.0, math.exp(largest) * math.fsum(math.exp(each - largest) for each in logs))


def samples_needed(percentile: float, discarded: int = 1, confidence: float = CONFIDENCE) -> int:
    """Return the fewest queries that bound a percentile when `discarded` of them may be slower.

    MLPerf discards at least one: 64 queries for p90, 662 for p99.

    Raises
    ------
    SpecError
        If percentile or confidence is not between 0 and 1.
    """
    _between_0_and_1(percentile=percentile, confidence=confidence)
    low, high = discarded + 1, discarded + 2
    while binomial_cdf(discarded, high, 1 - percentile) > 1 - confidence:
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(discarded, middle, 1 - percentile) <= 1 - confidence:
            high = middle
        else:
            low = middle + 1
    return low


def discardable(samples: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """Return how many of `samples` may exceed the percentile's bound; 0: too few samples."""
    _between_0_and_1(percentile=percentile, confidence=confidence)
    low, high = 0, samples
    while low < high:
        middle = (low + high + 1) // 2
        if binomial_cdf(middle, samples, 1 - percentile) <= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def percentile(values: Sequence[float] | FloatArray, share: float) -> float:
    """Return the value with floor(share * count) others before it in ascending order.

    It is LoadGen's rank, one above the nearest rank where share * count is whole: of ten values
    the p90 is the largest. It is a value that was really seen, never one between two.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[min(int(len(ordered) * share), len(ordered) - 1)])


def percentile_bound(values: Sequence[float] | FloatArray, share: float) -> float | None:
    """Return what the true percentile stays below with confidence `CONFIDENCE`; None: too few."""
    allowed = discardable(len(values), share)
    if not allowed:
        return None
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[len(ordered) - allowed])


def spread(values: Sequence[float]) -> float:
    """Return (largest - smallest) / median of some values, at least one."""
    middle = float(np.median(values))
    return (max(values) - min(values)) / middle if middle else math.inf


def interval(
    values: Sequence[float] | FloatArray, statistic: Callable[[FloatArray], float]
) -> Interval:
    """Return a statistic of a series in time order with its 95 % interval."""
    series = np.asarray(values, np.float64)
    resampled = np.array([statistic(each) for each in _block_resamples(series, _SEED)])
    low, high = np.quantile(resampled, _tails())
    return Interval(statistic(series), float(low), float(high))


def ratio_interval(
    ours: Sequence[float] | FloatArray,
    theirs: Sequence[float] | FloatArray,
    statistic: Callable[[FloatArray], float],
) -> Interval:
    """Return statistic(ours) / statistic(theirs) of two independent series, with its 95 % interval.

    Series are resampled in blocks of about the square root of their length (the moving block
    bootstrap, Kuensch 1989): neighbours in time share what the machine was doing, and drawing them
    one by one would make the interval too narrow.
    """
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    pairs = zip(_block_resamples(one, _SEED), _block_resamples(other, _SEED + 1), strict=True)
    ratios = np.array([statistic(a) / statistic(b) for a, b in pairs])
    low, high = np.quantile(ratios, _tails())
    return Interval(statistic(one) / statistic(other), float(low), float(high))


def _block_resamples(series: FloatArray, seed: int) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    length = max(1, round(math.sqrt(len(series))))
    blocks = math.ceil(len(series) / length)
    starts = rng.integers(0, len(series) - length + 1, (_RESAMPLES, blocks))
    within = np.arange(length)
    return [series[(row[:, None] + within).ravel()[: len(series)]] for row in starts]


def _tails() -> list[float]:
    return [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2]


def _between_0_and_1(**values: float) -> None:
    for name, value in values.items():
        if not 0 < value < 1:
            raise SpecError(f"{name} is {value}; it must be between 0 and 1")
