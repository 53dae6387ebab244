"""Our load generator: warm-up, enough queries, steadiness, limits, interrupts."""

import pytest

from neuroscan_edge.bench.harness import MAX_STORED, Verdict, run_scenario
from neuroscan_edge.bench.scenarios import SCENARIOS, Pace, ScenarioName
from neuroscan_edge.errors import SpecError
from support.bench_cases import MS, Clock, FakeSystem

SINGLE = SCENARIOS[ScenarioName.SINGLE_STREAM]
MULTI = SCENARIOS[ScenarioName.MULTI_STREAM]
OFFLINE = SCENARIOS[ScenarioName.OFFLINE]
PACE = Pace(warm_up_s=1, min_duration_s=5, max_duration_s=20, windows=5)


def run(scenario, cost_ms, pace=PACE, **options):
    clock = Clock()
    system = FakeSystem(clock, cost_ms, **options)
    return run_scenario(scenario, system, pace, clock), system, clock


def test_scenarios_are_mlperfs():
    assert (SINGLE.samples_per_query, SINGLE.percentile, SINGLE.queries_needed) == (1, 0.9, 64)
    assert (MULTI.samples_per_query, MULTI.percentile, MULTI.queries_needed) == (8, 0.99, 662)
    assert OFFLINE.percentile is None


def test_a_steady_system_is_valid_after_the_least_duration():
    measured, system, _ = run(SINGLE, lambda number: 10)
    found = measured.to_json()
    assert (measured.verdict, measured.reason) == (Verdict.VALID, "")
    assert found["duration_s"] == pytest.approx(5)
    assert found["samples_per_s"] == pytest.approx(100)
    assert found["latency_ms"]["claimed"] == found["latency_ms"]["p50"] == 10
    assert len(system.queries) == 100 + 500, "a second of warm-up, five measured"


def test_warm_up_counts_for_nothing():
    measured, *_ = run(SINGLE, lambda number: 500 if number < 2 else 10)
    assert max(measured.latencies_ns) == 10 * MS


def test_queries_hold_as_many_samples_as_the_scenario_says_and_repeat_the_library():
    measured, system, _ = run(MULTI, lambda number: 7)
    assert {len(query) for query in system.queries} == {8}
    assert system.queries[:2] == [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 0, 1, 2, 3, 4, 5]]
    assert measured.samples == 8 * len(measured.latencies_ns)


def test_a_run_goes_on_until_it_is_steady():
    measured, *_ = run(SINGLE, lambda number: 20 if number < 200 else 10)
    assert measured.verdict is Verdict.VALID
    assert measured.duration_ns / 1e9 > 5
    assert max(measured.latencies_ns) == 20 * MS, "what was slow before is not thrown away"


def test_what_never_settles_is_unstable_with_the_reason():
    measured, *_ = run(SINGLE, lambda number: 10 + number / 100)
    assert measured.verdict is Verdict.UNSTABLE
    assert "the last 5 windows of 1 s differ by" in measured.reason
    assert "quiet the machine" in measured.reason
    assert 20 <= measured.duration_ns / 1e9 < 22


def test_a_percentile_with_too_few_queries_is_not_claimed_and_says_how_many():
    measured, *_ = run(MULTI, lambda number: 100)
    found = measured.to_json()["latency_ms"]
    assert measured.verdict is Verdict.UNSTABLE
    assert "200 queries in 20 s, p99 needs 662" in measured.reason
    assert (found["claimed"], found["p99"], found["early_stopping_estimate"]) == (None,) * 3
    assert found["p50"] == 100, "enough for a median"


def test_more_queries_than_are_needed_wait_for_the_percentile():
    """662 queries of 20 ms are 13 s: the least duration alone would be too short."""
    measured, *_ = run(MULTI, lambda number: 20)
    assert measured.verdict is Verdict.VALID
    assert len(measured.latencies_ns) >= 662


def test_offline_counts_whole_batches_and_has_no_latency():
    measured, system, _ = run(OFFLINE, lambda number: 40)
    found = measured.to_json()
    assert measured.verdict is Verdict.VALID
    assert found["samples_per_s"] == pytest.approx(100)
    assert measured.windows == pytest.approx([100] * len(measured.windows))
    assert "latency_ms" not in found
    assert system.closed, "the pipeline is told to stop"


@pytest.mark.parametrize("scenario", [SINGLE, OFFLINE], ids=["queries", "stream"])
def test_an_interrupt_leaves_a_partial_measurement(scenario):
    def interrupted(number: int) -> float:
        if number == 150:
            raise KeyboardInterrupt
        return 20

    measured, *_ = run(scenario, interrupted)
    assert measured.verdict is Verdict.PARTIAL
    assert measured.reason == f"interrupted after {measured.samples} slices"
    assert measured.samples > 0
    assert measured.to_json()["verdict"] == "partial"


def test_an_interrupt_in_warm_up_measures_nothing():
    def interrupted(number: int) -> float:
        raise KeyboardInterrupt

    measured, *_ = run(SINGLE, interrupted)
    found = measured.to_json()
    assert (found["verdict"], found["samples"], found["latency_ms"]) == ("partial", 0, None)


def test_a_long_run_is_stored_thinned_and_judged_whole():
    spikes = lambda number: 1.0 if number % 10 else 3.0  # noqa: E731
    measured, *_ = run(SINGLE, spikes, Pace(0, 15, 20, windows=5))
    found = measured.to_json()
    assert len(measured.latencies_ns) > MAX_STORED
    assert len(found["latencies_ms"]) <= MAX_STORED
    assert found["latencies_kept_every"] == -(-len(measured.latencies_ns) // MAX_STORED)
    assert found["latency_ms"]["max"] == 3


def test_telemetry_is_asked_each_window_outside_of_what_is_timed():
    clock, looks = Clock(), []
    system = FakeSystem(clock, lambda number: 10)

    def look(slices: int) -> None:
        looks.append(slices)
        clock.now += 500 * MS

    measured = run_scenario(SINGLE, system, PACE, clock, each_window=look)
    assert len(looks) == len(measured.windows)
    assert looks == sorted(set(looks)) and looks[-1] == measured.samples
    assert set(measured.latencies_ns) == {10 * MS}


@pytest.mark.parametrize(
    "fields",
    [
        {"warm_up_s": -1},
        {"min_duration_s": 0},
        {"min_duration_s": 9, "max_duration_s": 8},
        {"windows": 1},
        {"spread": 0},
    ],
)
def test_a_pace_out_of_range_is_refused(fields):
    with pytest.raises(SpecError):
        Pace(**fields)
