"""MLPerf's own LoadGen over our system under test, and whether it agrees with our harness.

LoadGen draws samples at random with replacement from a library and writes a summary, which is kept
in the record as it is. Its minimum duration is ours, shorter than a submission's: the record is a
check of our clocks, not a result under MLPerf's name.
"""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from neuroscan_edge.bench.harness import Verdict, run_scenario
from neuroscan_edge.bench.scenarios import Pace, Scenario, ScenarioName
from neuroscan_edge.bench.statistics import percentile
from neuroscan_edge.bench.system import SystemUnderTest
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.system.optional import require

AGREEMENT = 0.03
"""Largest relative difference between the two harnesses that counts as agreement."""

_NS_A_MS = 1e6
_PAUSE_S = 0.005


class LoadGenError(NeuroScanError):
    """LoadGen left no summary that can be read."""


def load_loadgen() -> Any:
    """Import LoadGen.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    return require("mlperf_loadgen", extra="bench", why="for --harness loadgen")


def run_beside(
    scenario: Scenario,
    system: SystemUnderTest,
    pace: Pace,
    ours: dict[str, Any],
    *,
    rounds: int = 1,
) -> dict[str, Any]:
    """Run one scenario under LoadGen, and ours again in turns if there is more than one round.

    Two comparisons: `agreement`, of our runs with LoadGen's, moves with what else the machine does
    meanwhile; `same_queries`, of our clock and percentile with LoadGen's over the very queries that
    it issued, does not.

    Parameters
    ----------
    scenario : Scenario
        Which.
    system : SystemUnderTest
        The very one that our harness measured, still loaded.
    pace : Pace
        For the least duration.
    ours : dict
        Our section of the record: the first of our turns.
    rounds : int
        Turns of each.

    Raises
    ------
    MissingDependencyError
        If LoadGen is not installed.
    LoadGenError
        If it fails.
    """
    loadgen = load_loadgen()
    own: list[float | None] = [_figure(scenario, ours)]
    theirs: list[float | None] = []
    same: list[tuple[float | None, float | None]] = []
    summary, figures = "", {}
    for number in range(rounds):
        if number:
            again = run_scenario(scenario, system, pace)
            if again.verdict is Verdict.PARTIAL:
                raise KeyboardInterrupt
            own.append(_figure(scenario, again.to_json()))
        settings = _settings(loadgen, scenario, pace, ours)
        summary, timed = _start(loadgen, scenario, system, settings)
        figures = read_summary(summary)
        name = "samples_per_s" if scenario.percentile is None else "latency_ms"
        theirs.append(figures[name])
        same.append((timed.figure(scenario), figures[name]))
    return {
        "summary": summary,
        **figures,
        "agreement": agreement(own, theirs),
        "same_queries": agreement(*map(list, zip(*same, strict=True))),
    }


@dataclass(slots=True)
class _OwnClock:
    """Our clock's view of the queries that LoadGen issued, inside its own run."""

    spent_ns: list[int] = field(default_factory=list)
    samples: int = 0
    ended_ns: int = 0

    def figure(self, scenario: Scenario) -> float:
        if scenario.percentile is None:
            return self.samples / (sum(self.spent_ns) / 1e9)
        return percentile(np.asarray(self.spent_ns) / _NS_A_MS, scenario.percentile)


def agreement(own: list[float | None], theirs: list[float | None]) -> dict[str, Any] | None:
    """Return our median, LoadGen's, and their ratio; None where either claims none."""
    ours = [each for each in own if each]
    others = [each for each in theirs if each]
    if len(ours) < len(own) or len(others) < len(theirs):
        return None
    ratio = statistics.median(ours) / statistics.median(others)
    return {
        "ours": statistics.median(ours),
        "loadgen": statistics.median(others),
        "rounds_ours": ours,
        "rounds_loadgen": others,
        "ratio": ratio,
        "within_3_percent": abs(ratio - 1) <= AGREEMENT,
    }


def _figure(scenario: Scenario, section: dict[str, Any]) -> float | None:
    """Return what the scenario reports; None where too few queries allow no claim."""
    if scenario.percentile is None:
        rate: float | None = section["samples_per_s"]
        return rate
    claimed: float | None = (section["latency_ms"] or {}).get("claimed")
    return claimed


def read_summary(text: str) -> dict[str, Any]:
    """Read the figures out of ``mlperf_log_summary.txt``.

    Raises
    ------
    LoadGenError
        If it has neither a percentile nor a throughput.
    """
    latency = re.search(r"([\d.]+)th percentile latency \(ns\)\s*:\s*(\d+)", text)
    throughput = re.search(r"Samples per second\s*:\s*([\d.eE+]+)", text)
    result = re.search(r"Result is\s*:\s*(\w+)", text)
    bound = re.search(r"Early stopping [\d.]+th percentile estimate:\s*(\d+)", text)
    if result is None or not (latency or throughput):
        raise LoadGenError(
            "LoadGen's summary has no result; run again with a longer --max-duration"
        )
    return {
        "result": result[1],
        "latency_ms": int(latency[2]) / _NS_A_MS if latency else None,
        "early_stopping_estimate_ms": int(bound[1]) / _NS_A_MS if bound else None,
        "samples_per_s": float(throughput[1]) if throughput else None,
    }


def _settings(loadgen: Any, scenario: Scenario, pace: Pace, ours: dict[str, Any]) -> Any:
    settings = loadgen.TestSettings()
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.scenario = getattr(loadgen.TestScenario, str(scenario.name))
    settings.min_duration_ms = round(1000 * pace.min_duration_s)
    settings.max_duration_ms = round(1000 * pace.max_duration_s)
    settings.min_query_count = scenario.queries_needed
    if scenario.name is ScenarioName.SINGLE_STREAM:
        settings.single_stream_target_latency_percentile = scenario.percentile
        settings.single_stream_expected_latency_ns = _expected_ns(ours)
    elif scenario.name is ScenarioName.MULTI_STREAM:
        settings.multi_stream_samples_per_query = scenario.samples_per_query
        settings.multi_stream_target_latency_percentile = scenario.percentile
        settings.multi_stream_expected_latency_ns = _expected_ns(ours)
    else:
        settings.offline_expected_qps = ours["samples_per_s"]
    return settings


def _expected_ns(ours: dict[str, Any]) -> int:
    mean_ms: float = ours["latency_ms"]["mean"]
    return max(1, round(mean_ms * _NS_A_MS))


def _start(
    loadgen: Any, scenario: Scenario, system: SystemUnderTest, settings: Any
) -> tuple[str, _OwnClock]:
    failures: list[BaseException] = []
    timed = _OwnClock()

    def complete(samples: list[Any]) -> None:
        responses = [loadgen.QuerySampleResponse(each.id, 0, 0) for each in samples]
        loadgen.QuerySamplesComplete(responses)

    def issue(samples: list[Any]) -> None:
        # An exception must not cross LoadGen's C++; the rest is answered so that it can end.
        answered: list[Any] = []

        def answer(done: list[Any]) -> None:
            # Before LoadGen is told: our time lies within its own.
            timed.ended_ns = time.perf_counter_ns()
            complete(done)
            answered.extend(done)

        try:
            if failures:
                # LoadGen goes on until its least duration: let it do so at leisure.
                time.sleep(_PAUSE_S)
            else:
                started = time.perf_counter_ns()
                _answer(scenario, system, samples, answer)
                timed.spent_ns.append(timed.ended_ns - started)
                timed.samples += len(samples)
        except BaseException as error:
            failures.append(error)
        if len(answered) < len(samples):
            # LoadGen would wait for these for ever.
            complete(samples[len(answered) :])
            if not failures:
                failures.append(
                    LoadGenError(
                        f"the system answered {len(answered)} of {len(samples)} samples of a "
                        "query; each must have a result"
                    )
                )

    def nothing(*_: Any) -> None:
        return None

    with TemporaryDirectory(prefix="neuroscan-loadgen-") as place:
        logs = loadgen.LogSettings()
        logs.log_output.outdir = place
        logs.log_output.copy_summary_to_stdout = False
        logs.enable_trace = False
        sut = loadgen.ConstructSUT(issue, nothing)
        library = loadgen.ConstructQSL(system.samples, system.samples, nothing, nothing)
        try:
            loadgen.StartTestWithLogSettings(sut, library, settings, logs)
        finally:
            loadgen.DestroyQSL(library)
            loadgen.DestroySUT(sut)
        if failures:
            raise failures[0]
        path = Path(place) / "mlperf_log_summary.txt"
        if not path.is_file():
            raise LoadGenError("LoadGen wrote no summary; is the disk full?")
        return path.read_text(), timed


def _answer(
    scenario: Scenario,
    system: SystemUnderTest,
    samples: list[Any],
    complete: Callable[[list[Any]], None],
) -> None:
    """Answer a query, completing samples in order as they are done."""
    if scenario.percentile is not None:
        system.query([each.index for each in samples])
        complete(samples)
        return
    done = 0
    for _ in system.stream(each.index for each in samples):
        done += 1
        if done % system.batch_size == 0:
            complete(samples[done - system.batch_size : done])
    left = done % system.batch_size
    if left:
        complete(samples[done - left : done])
