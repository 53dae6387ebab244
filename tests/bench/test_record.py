"""Records: schema, verdict, refusals; two of them compared; the page and its charts."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from neuroscan_edge.bench.compare import compare
from neuroscan_edge.bench.harness import Verdict, run_scenario
from neuroscan_edge.bench.page import render_page
from neuroscan_edge.bench.record import BENCH_SCHEMA, BenchRecordError, new_record, read_record
from neuroscan_edge.bench.scenarios import SCENARIOS, Pace, ScenarioName
from neuroscan_edge.bench.summary import summary_lines
from neuroscan_edge.bench.sweep import knee, measure_sweep
from neuroscan_edge.report.svg import round_step
from neuroscan_edge.spec import RESEARCH_USE
from support.bench_cases import Clock, FakeSystem

MACHINE = {
    "platform": "linux x86_64",
    "cpu": "one processor",
    "instruction_sets": ["avx2"],
    "cores": 2,
    "gpus": [],
    "driver": None,
}
PACE = Pace(0, 5, 20)


def sections(cost_ms: float, cpu: str = "one processor", interrupt_at: int | None = None):
    measured = []
    for name in (ScenarioName.SINGLE_STREAM, ScenarioName.OFFLINE):
        rng = np.random.default_rng(0)

        def cost(number: int, rng: np.random.Generator = rng) -> float:
            if number == interrupt_at:
                raise KeyboardInterrupt
            return cost_ms * rng.uniform(0.9, 1.1)

        clock = Clock()
        run = run_scenario(SCENARIOS[name], FakeSystem(clock, cost), PACE, clock)
        measured.append({"scope": "pipeline", **run.to_json()})
    return {
        "interrupted": interrupt_at is not None,
        "machine": {**MACHINE, "cpu": cpu},
        "software": {"python": "3.11"},
        "model": {"bundle": "tiny", "precision": "int8", "runtime": "onnxruntime"},
        "options": {"batch_size": 4},
        "input": {"kind": "scans", "samples": 10, "left_out": 0, "notes": []},
        "scenarios": measured,
        "gpu": {"reason": "no NVIDIA GPU"},
    }


def test_a_record_reads_back_as_it_was_written(tmp_path):
    record = new_record(sections(10))
    path = tmp_path / "record.json"
    record.write(path)
    again = read_record(path)
    assert again.content == json.loads(json.dumps(record.content))
    assert (again.content["schema"], again.verdict) == (BENCH_SCHEMA, Verdict.VALID)
    assert again.content["intended_use"] == RESEARCH_USE
    assert again.scenario("SingleStream", "pipeline")["queries"] > 64
    assert again.scenario("SingleStream", "runtime") is None


def test_an_interrupted_run_is_partial_and_says_after_what():
    record = new_record(sections(10, interrupt_at=100))
    assert record.verdict is Verdict.PARTIAL
    assert record.reasons[0] == "SingleStream (pipeline): interrupted after 100 slices"
    nothing = new_record({**sections(10), "scenarios": [], "interrupted": True})
    assert nothing.verdict is Verdict.PARTIAL
    (reason,) = nothing.reasons
    assert reason.startswith("interrupted before the first scenario finished")
    later = new_record({**sections(10), "interrupted": True})
    assert later.verdict is Verdict.PARTIAL
    assert later.reasons == ["interrupted after Offline: what was to come is missing"]


def test_a_throttled_gpu_makes_a_record_unstable():
    content = sections(10)
    content["scenarios"][1]["gpu"] = {"throttled_by": ["hardware thermal slowdown"]}
    record = new_record(content)
    assert record.verdict is Verdict.UNSTABLE
    assert record.reasons == ["the GPU was throttled: hardware thermal slowdown"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is not JSON"),
        ("[]", "lacks what a record has"),
        ('{"schema": 1}', "lacks what a record has"),
        (json.dumps({**sections(10), "schema": 99, "verdict": "valid", "reasons": []}),
         "has schema 99, this version reads up to 1"),
    ],
    ids=["torn", "a list", "empty", "newer"],
)  # fmt: skip
def test_what_is_no_record_is_refused(tmp_path, content, reason):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(BenchRecordError, match=reason):
        read_record(path)


def test_a_record_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BenchRecordError, match="cannot be read"):
        read_record(tmp_path / "none.json")


def test_records_are_compared_as_ratios_with_intervals():
    found = compare(new_record(sections(10)), new_record(sections(20)))
    assert found.warnings == ()
    by_name = {each.name: each for each in found.ratios}
    for name in ("SingleStream (pipeline) p50", "SingleStream (pipeline) p90"):
        ratio = by_name[name].ratio
        assert ratio.low <= 2 <= ratio.high
        assert ratio.high - ratio.low < 0.2
    assert by_name["Offline (pipeline)"].ratio.value == pytest.approx(0.5, rel=0.03)
    assert "x 0.5" in str(found)


def test_records_of_different_machines_are_warned_about_and_still_compared():
    found = compare(new_record(sections(10)), new_record(sections(20, cpu="another")))
    (warning,) = found.warnings
    assert "different machines (cpu: one processor and another)" in warning
    assert len(found.ratios) == 3
    assert "x 2.0" in str(found)


def test_a_record_that_does_not_hold_is_warned_about():
    found = compare(new_record(sections(10)), new_record(sections(10, interrupt_at=100)))
    assert "the second record is partial: SingleStream" in found.warnings[0]


def test_records_with_nothing_in_common_say_so():
    first, second = new_record(sections(10)), new_record({**sections(10), "scenarios": []})
    with pytest.raises(BenchRecordError, match="no figure in common: .*SingleStream.*second none"):
        compare(first, second)


def full_record():
    stages = {"decode": 1.5, "preprocess": 0.5, "compute": 20.0, "post-process": 0.05}
    content = sections(10)
    content["stages"] = {
        "one_at_a_time": {"slices": 8, "stages_ms": stages, "file_to_result_ms": 22.05},
        "streaming": {"batch_size": 4, "workers": 2, "stages_ms": stages, "elapsed_ms": 21.0},
    }
    content["sweep"] = {
        "points": [
            {"batch_size": size, "samples_per_s": rate, "samples_per_s_range": [rate - 1, rate + 1]}
            for size, rate in ((1, 30.0), (8, 48.0), (16, 50.0))
        ],
        "knee": 8,
    }
    content["cold_start"] = {"runs_s": [1.0, 0.8], "median_s": 0.9, "first_s": 1.0}
    gpu = {"power_w": [100.0, 250.0], "joules_per_slice": 0.5, "throttled_by": []}
    content["scenarios"][0]["gpu"] = gpu
    agreement = {"ours": 11.0, "loadgen": 10.9, "ratio": 11 / 10.9, "within_3_percent": True}
    content["scenarios"][0]["loadgen"] = {
        "agreement": agreement,
        "same_queries": {**agreement, "ratio": 0.9998},
        "result": "VALID",
    }
    return new_record(content)


def test_the_page_shows_everything_and_loads_nothing():
    html = render_page(full_record())
    assert RESEARCH_USE in html
    for text in (
        "valid: every figure",
        "compute",
        "knee",
        "0.90 s",
        "250 W",
        "0.5 J",
        "1.009",
        "0.9998",
    ):
        assert text in html
    for loading in ("<script", "src=\"http", "href=", "url(", "@import"):  # fmt: skip
        assert loading not in html
    charts = html.split("<svg")[1:]
    assert len(charts) == 3, "latencies, stages, batch sizes"
    for chart in charts:
        # Well-formed, with a size and a title for those who cannot see it.
        root = ElementTree.fromstring("<svg" + chart.split("</svg>")[0] + "</svg>")
        assert root[0].tag.endswith("title") and root[0].text
        assert "nan" not in chart.split("</svg>")[0]


def test_a_page_of_a_partial_record_says_so():
    assert "partial: the run was cut short" in render_page(new_record(sections(10, interrupt_at=3)))


def test_names_are_escaped_on_the_page():
    content = sections(10)
    content["model"]["bundle"] = "<script>alert(1)</script>"
    assert "<script" not in render_page(new_record(content))


def test_the_summary_names_figures_and_verdict():
    lines = summary_lines(full_record())
    assert any(line.startswith("SingleStream (pipeline): p90") for line in lines)
    assert "verdict: valid" in lines
    assert any("within 3 %" in line for line in lines)


def test_the_knee_is_the_smallest_batch_that_is_nearly_best():
    assert knee({1: 10, 4: 47.6, 8: 49, 16: 50}) == 4
    assert knee({1: 50, 4: 40}) == 1


def test_a_sweep_measures_every_batch_in_turns():
    clock = Clock()

    def runtime(batch):
        clock.now += (2 + len(batch)) * 1_000_000

    found = measure_sweep(runtime, np.zeros((3, 2, 2, 1), np.uint8), (1, 8), clock)
    assert [p["latency_ms"] for p in found["points"]] == [3, 10]
    assert found["points"][1]["samples_per_s"] == pytest.approx(800)
    assert found["knee"] == 8


@pytest.mark.parametrize(("largest", "step"), [(10, 2), (7.3, 2), (0.9, 0.2), (1234, 500), (0, 1)])
def test_axes_are_stepped_in_round_numbers(largest, step):
    assert round_step(largest) == pytest.approx(step)


@pytest.mark.parametrize(
    "broken", [{"scenarios": [{}]}, {"scenarios": {}}, {"model": {}}, {"model": None}], ids=str
)
def test_a_record_with_nameless_parts_is_refused(tmp_path, broken):
    path = tmp_path / "record.json"
    sections = ("verdict", "reasons", "machine", "software", "model", "options", "input")
    content = dict.fromkeys(sections, {"bundle": "x"}) | {"schema": 1, "scenarios": []} | broken
    path.write_text(json.dumps(content))
    with pytest.raises(BenchRecordError, match="measure again"):
        read_record(path)
