"""The benchmark scripts: pages that are the records', ratios of turns, growth, floors."""

import re
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from neuroscan_edge.system.machine import this_machine
from support.places import ROOT


@pytest.fixture(autouse=True)
def scripts(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_readme_and_docs_are_what_the_records_give():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tables", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr + '; run "python -m benchmarks.tables"'


def test_a_figure_changed_by_hand_is_found(tmp_path):
    from benchmarks import tables

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:peers -->\n| 99 times |\n<!-- bench:peers end -->\nafter\n")
    made = tables.filled(page, {"peers": "| 2 times |"})
    assert made == "before\n<!-- bench:peers -->\n| 2 times |\n<!-- bench:peers end -->\nafter\n"


def test_the_headline_has_keras_and_ours_over_its_fastest_turn():
    from benchmarks import tables

    record = tables.record("peers-cpu")
    record["peers"][tables.KERAS]["images_per_s"] = [10.0, 20.0, 10.0]
    record["peers"]["NeuroScan Edge, onnxruntime int8"]["images_per_s"] = [50.0, 60.0, 70.0]
    found = tables.headline_table(record)
    rows = {row[1].strip(): row for row in (line.split("|") for line in found.splitlines()[2:6])}
    assert set(rows) == set(tables.HEADLINE)
    assert rows[tables.KERAS][4].strip() == "0.50"
    assert rows["NeuroScan Edge, onnxruntime int8"][4].strip() == "3.00"


def test_peers_take_turns_and_ratios_are_within_a_turn(monkeypatch):
    from benchmarks import peers
    from neuroscan_edge.spec import Precision

    now, order = [0.0], []

    def peer(name, seconds):
        def run():
            order.append(name)
            # The machine slows down as time goes on: for both alike within a turn.
            now[0] += seconds * (1 + len(order) // 2)

        return peers.Peer(name, run, Precision.FP32)

    monkeypatch.setattr(peers.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(peers.time, "process_time", lambda: now[0])
    found = peers.race([peer("slow", 4.0), peer("fast", 1.0)], images=8, rounds=5)
    assert order == ["slow", "fast"] * 6
    assert found["slow"]["ratio"]["median"] == 1
    assert found["fast"]["ratio"]["median"] == pytest.approx(4, rel=0.3)
    assert len(found["fast"]["images_per_s"]) == 5


def test_growth_counts_hard_links_in_a_process_of_its_own(scans, tmp_path):
    from benchmarks import growth

    sources = growth.copies(scans, tmp_path / "sources")
    model = growth.tiny_bundle(tmp_path / "tiny")
    point = growth.measure(sources, 45, str(model), tmp_path)
    assert point["slices"] == 45
    assert len((tmp_path / "results.jsonl").read_text().splitlines()) == 45
    assert point["peak_memory_bytes"] > 1e7
    assert not (tmp_path / "links-45").exists()


def test_a_run_killed_at_random_moments_has_the_results_of_an_unbroken_one(
    scans, tmp_path, monkeypatch
):
    import random

    from benchmarks import endurance

    monkeypatch.setattr(endurance, "KILLS", 2)
    monkeypatch.setattr(endurance, "BAD_EVERY", 37)
    sources = endurance.copies(scans, tmp_path / "sources")
    model = endurance.tiny_bundle(tmp_path / "tiny")
    place = endurance.links(sources, 400, tmp_path / "links")
    found = endurance.kills([str(place), "--model", str(model)], 400, tmp_path, random.Random(1))
    assert found["identical"] and found["rows"] == 400
    assert found["twice"] == found["missing"] == found["decoders_left"] == 0
    assert found["exit_code"] == 1 and len(found["kills"]) >= 1
    assert max(each["decoders"] for each in found["kills"]) >= 2


def points(seconds_a_slice, *counts):
    return [
        {"slices": each, "elapsed_s": each * seconds_a_slice, "peak_memory_bytes": 1e8}
        for each in counts
    ]


def test_growth_chart_draws_every_point_and_what_would_be_in_proportion():
    from benchmarks.growth_chart import growth_chart

    series = {"one": points(0.1, 100, 1000, 10000), "other": points(0.001, 100, 1000)}
    drawn = growth_chart(series)
    assert drawn.count("<circle") == 2 * 5
    lines = re.findall(r'<polyline points="([^"]+)"', drawn)
    assert len(lines) == 4
    dashed = re.findall(r'<line x1="(\S+)" y1="(\S+)" x2="(\S+)" y2="(\S+)"[^/]*dasharray', drawn)
    # Time is in proportion here, so each dashed line lies on its points; memory is flat.
    for (x1, y1, x2, y2), line in zip(dashed, lines[2:], strict=True):
        places = line.split()
        assert (f"{x1},{y1}", f"{x2},{y2}") == (places[0], places[-1])
    for line in lines[:2]:
        assert len({place.split(",")[1] for place in line.split()}) == 1


def test_growth_is_told_by_tenths():
    from benchmarks import endurance

    samples = [
        {"s": each, "rows": 50 * each, "run_bytes": 100, "decoder_bytes": 200} for each in range(60)
    ]
    tenths = endurance.tenths(samples)
    assert len(tenths) == 10
    assert {part["slices_per_s"] for part in tenths} == {50}


def test_floors_and_limits_are_computed_from_the_records():
    from benchmarks import tables

    record = tables.record("peers-cpu")
    ceilings = tables.record("ceilings")
    found = tables.limits_table(
        record, {**ceilings, "operations_per_s": {"fp32": 1e9, "int8": 1e9}}
    )
    operations = record["work"]["xception-tuned"]["operations"]
    assert f"{operations / 1e6:.1f}" in found
    assert "limited by" in found
    assert found.count("arithmetic |") >= 1, (
        "at a thousandth of the peak, arithmetic is all there is"
    )


def peaks(fp32: float, int8: float) -> dict:
    from benchmarks import tables

    record = tables.record("ceilings")
    return {**record, "operations_per_s": {"fp32": fp32, "int8": int8}, "bytes_per_s": 1e15}


def test_the_most_that_arithmetic_allows_is_work_over_peak_against_keras():
    from benchmarks import tables

    record = tables.record("peers-cpu")
    record["work"]["xception-tuned"]["operations"] = 9_000_000_000
    # Its fastest turn counts: in others it leaves a core idle.
    record["peers"][tables.KERAS]["images_per_s"] = [20.0, 40.0, 39.0]
    found = tables.bound_table(record, peaks(fp32=540e9, int8=1.98e12))
    (row,) = [line for line in found.splitlines() if line.startswith("| INT8")]
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    # 1980 / 9 = 220 images a second, 5.5 times Keras at 40; 8 times would be 320.
    assert cells[:5] == ["1980", "3.67", "4.55", "220", "5.5"]
    assert "2880 billion operations a second, 1.5 times the INT8 peak" in found
    assert "no runtime reaches it" in found
    assert "Keras itself is at 67 % of the FP32 peak" in found
    assert "within reach" in tables.bound_table(record, peaks(fp32=540e9, int8=3e12))


def test_bfloat16_has_a_floor_of_its_own_or_none():
    from benchmarks import tables

    record = tables.record("peers-cpu")
    name = "Keras export on OpenVINO, bf16"
    record["peers"][name] = record["peers"]["Keras export on OpenVINO, FP32"]
    assert name not in tables.limits_table(record, peaks(1e11, 4e11))
    ceilings = peaks(1e11, 4e11)
    ceilings["operations_per_s"]["bf16"] = 2e11
    rows = [line.split("|") for line in tables.limits_table(record, ceilings).splitlines()]
    floors = {
        row[1].strip(): float(row[3]) for row in rows if len(row) > 3 and "OpenVINO" in row[1]
    }
    assert floors["Keras export on OpenVINO, FP32"] == pytest.approx(2 * floors[name], rel=0.01)


def test_records_of_two_machines_make_no_table():
    from benchmarks import machines, tables

    peers, ceilings = tables.record("peers-cpu"), tables.record("ceilings")
    machines.same_machine(peers, ceilings=ceilings)
    ceilings["machine"]["instruction_sets"] = ["avx512_vnni"]
    with pytest.raises(SystemExit, match="peers and ceilings are of different machines"):
        machines.same_machine(peers, ceilings=ceilings)


def test_ceilings_are_of_chains_that_really_multiply(monkeypatch):
    from benchmarks import ceilings

    monkeypatch.setattr(ceilings, "ROWS", 64)
    found = ceilings.ceilings((32,), rounds=2)
    for precision in ("fp32", "int8"):
        assert found["operations_per_s"][precision] == max(found["gemm"][precision]["32"].values())
        assert found["reached_by"][precision] in {"onnxruntime", "openvino"}
    assert ceilings.bandwidth(1 << 20, 2) > 0
    # The product itself: four matrices, one after the other, in FP32.
    model = ceilings.fp32_chain(8)
    weights = [numpy_helper.to_array(each) for each in model.graph.initializer]
    rows = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.linalg.multi_dot([rows, *weights])
    np.testing.assert_allclose(session.run(None, {"x0": rows})[0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not this_machine().exact_int8, reason="the processor has no INT8 kernels")
def test_the_int8_ceiling_is_of_integer_kernels(monkeypatch):
    from benchmarks import ceilings

    monkeypatch.setattr(ceilings, "ROWS", 64)
    _, kernel = ceilings.products(ceilings.int8_chain(64), 64)
    assert kernel.endswith("I8"), kernel
