"""Sample counts, bounds and intervals, against MLPerf's published numbers and brute force."""

import numpy as np
import pytest

from neuroscan_edge.bench.statistics import (
    binomial_cdf,
    discardable,
    interval,
    percentile,
    percentile_bound,
    ratio_interval,
    samples_needed,
    spread,
)
from neuroscan_edge.errors import SpecError


def test_sample_counts_are_mlperfs():
    """LoadGen's summaries say: 64 queries for p90, 662 for p99."""
    assert samples_needed(0.90) == 64
    assert samples_needed(0.99) == 662


def test_discards_are_mlperfs():
    """Published summaries of LoadGen: 172 discarded of 2048 at p90, 685 of 7469; then the bound."""
    assert discardable(2048, 0.90) == 172 + 1
    assert discardable(7469, 0.90) == 685 + 1
    assert discardable(63, 0.90) == 0
    assert discardable(64, 0.90) == 1


def test_the_binomial_is_summed_exactly():
    exact = sum(
        np.prod([(20 - i) / (i + 1) for i in range(k)]) * 0.3**k * 0.7 ** (20 - k) for k in range(6)
    )
    assert binomial_cdf(5, 20, 0.3) == pytest.approx(exact, rel=1e-12)
    assert binomial_cdf(20, 20, 0.3) == 1
    assert binomial_cdf(-1, 20, 0.3) == 0


def test_the_bound_holds_as_often_as_it_says():
    """Whatever the distribution: of 2,000 runs, about 1 % may lie above the bound, not 3 %."""
    rng = np.random.default_rng(1)
    true = -np.log(0.1)
    runs = rng.exponential(size=(2000, 200))
    above = np.mean([true > percentile_bound(run, 0.9) for run in runs])
    assert 0 < above < 0.03
    # The plain percentile is too low half the time: that is why a bound is reported.
    assert 0.3 < np.mean([true > percentile(run, 0.9) for run in runs]) < 0.7


def test_no_bound_from_too_few():
    assert percentile_bound(np.arange(63.0), 0.9) is None
    assert percentile_bound(np.arange(64.0), 0.9) == 63
    assert percentile_bound(np.arange(661.0), 0.99) is None


def test_a_percentile_was_really_seen():
    # LoadGen's rank: nine of ten lie before it, not eight.
    assert percentile([5, 1, 2, 3, 4, 10, 9, 8, 7, 6], 0.9) == 10
    assert percentile(range(1, 65), 0.9) == 58
    assert percentile([1.0], 0.99) == 1.0


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.1])
def test_a_percentile_outside_0_to_1_is_refused(share):
    with pytest.raises(SpecError, match="between 0 and 1"):
        samples_needed(share)


def test_spread_is_relative_to_the_median():
    assert spread([9, 10, 12]) == pytest.approx(0.3)
    assert spread([0.0]) == float("inf")


def median(values):
    return float(np.median(values))


def test_a_ratio_of_two_series_is_found_with_its_interval():
    rng = np.random.default_rng(3)
    slow, fast = rng.normal(20, 1, 900), rng.normal(10, 1, 900)
    found = ratio_interval(slow, fast, median)
    assert found.low < 2 < found.high
    assert found.high - found.low < 0.1


def test_neighbours_that_move_together_widen_the_interval():
    """900 values that are 30 levels of 30: drawn one by one, they would look like 900."""
    rng = np.random.default_rng(5)
    together = np.repeat(rng.normal(10, 2, 30), 30)
    apart = rng.permutation(together)
    wide, narrow = interval(together, median), interval(apart, median)
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)
