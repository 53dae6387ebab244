"""Latency and throughput that can be trusted, and where the time goes."""

from neuroscan_edge.bench.compare import Comparison, compare
from neuroscan_edge.bench.harness import Measurement, Verdict, run_scenario
from neuroscan_edge.bench.page import render_page
from neuroscan_edge.bench.record import BenchRecord, BenchRecordError, read_record
from neuroscan_edge.bench.request import BenchRequest
from neuroscan_edge.bench.run import run_bench
from neuroscan_edge.bench.scenarios import SCENARIOS, Pace, Scenario, ScenarioName
from neuroscan_edge.bench.summary import summary_lines

__all__ = [
    "SCENARIOS",
    "BenchRecord",
    "BenchRecordError",
    "BenchRequest",
    "Comparison",
    "Measurement",
    "Pace",
    "Scenario",
    "ScenarioName",
    "Verdict",
    "compare",
    "read_record",
    "render_page",
    "run_bench",
    "run_scenario",
    "summary_lines",
]
