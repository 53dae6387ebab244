"""MLPerf's LoadGen itself over systems that take next to no time: what it asks, what it reports."""

import time

import pytest

from neuroscan_edge.bench.harness import run_scenario
from neuroscan_edge.bench.loadgen import LoadGenError, agreement, read_summary, run_beside
from neuroscan_edge.bench.scenarios import SCENARIOS, Pace, ScenarioName
from support.bench_cases import Clock, FakeSystem

CLOCKS = 1e-3
"""Largest difference of rate between two monotonic clocks of one machine."""

PACE = Pace(warm_up_s=0, min_duration_s=0.3, max_duration_s=1.0)


class SleepingSystem(FakeSystem):
    """Takes real time: LoadGen has a clock of its own."""

    def query(self, indices: list[int]) -> None:
        time.sleep(0.001)
        self.queries.append(indices)


@pytest.mark.parametrize("name", list(ScenarioName), ids=str)
def test_loadgen_drives_the_system_and_leaves_its_summary(name):
    scenario = SCENARIOS[name]
    system = SleepingSystem(Clock(), lambda number: 0, samples=20)
    ours = run_scenario(scenario, system, PACE).to_json()
    system.queries.clear()
    found = run_beside(scenario, system, PACE, ours)
    assert f"Scenario : {name}" in found["summary"]
    assert found["agreement"] is None or found["agreement"]["ratio"] > 0
    # The same queries by both clocks: ours lies within LoadGen's, whatever else the machine does.
    same = found["same_queries"]
    shorter = same["ratio"] if scenario.percentile else 1 / same["ratio"]
    assert 0.3 < shorter < 1 + CLOCKS, same
    sizes = {len(query) for query in system.queries}
    if name is ScenarioName.OFFLINE:
        assert max(sizes) == 4, "the system's own batches"
        assert found["samples_per_s"] > 0
    else:
        assert sizes == {scenario.samples_per_query}
        assert found["latency_ms"] >= 1
        assert len(system.queries) >= scenario.queries_needed or found["result"] == "INVALID"
    assert {index for query in system.queries for index in query} <= set(range(20))


def test_a_failure_of_the_system_comes_through_loadgen():
    class Broken(FakeSystem):
        def query(self, indices):
            raise LoadGenError("the engine is gone")

    ours = {"latency_ms": {"mean": 1.0, "claimed": 1.0}}
    with pytest.raises(LoadGenError, match="the engine is gone"):
        run_beside(
            SCENARIOS[ScenarioName.SINGLE_STREAM], Broken(Clock(), lambda number: 0), PACE, ours
        )


def test_samples_without_a_result_are_an_error_and_not_a_wait_for_ever():
    class Lazy(FakeSystem):
        def stream(self, indices):
            yield from (None for _, _ in zip(indices, range(5), strict=False))

    ours = {"samples_per_s": 300.0}
    with pytest.raises(LoadGenError, match="answered 5 of"):
        run_beside(SCENARIOS[ScenarioName.OFFLINE], Lazy(Clock(), lambda number: 0), PACE, ours)


def test_agreement_is_of_medians_over_rounds():
    found = agreement([10.0, 10.2, 30.0], [10.1, 10.0, 10.3])
    assert found["ratio"] == pytest.approx(10.2 / 10.1)
    assert found["within_3_percent"] is True
    assert agreement([10.0], [10.4])["within_3_percent"] is False
    assert agreement([None], [10.0]) is None, "no percentile was claimed"


def test_a_summary_without_result_is_refused():
    with pytest.raises(LoadGenError, match="no result"):
        read_summary("MLPerf Results Summary\n")
