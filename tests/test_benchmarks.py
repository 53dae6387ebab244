"""The benchmark scripts: pages that are the records', ratios of turns, growth, floors."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def scripts(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_readme_and_docs_are_what_the_records_give():
    done = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr + '; run "python benchmarks/tables.py"'


def test_a_figure_changed_by_hand_is_found(tmp_path):
    import tables

    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench:peers -->\n| 99 times |\n<!-- bench:peers end -->\nafter\n")
    made = tables.filled(page, {"peers": "| 2 times |"})
    assert made == "before\n<!-- bench:peers -->\n| 2 times |\n<!-- bench:peers end -->\nafter\n"


def test_peers_take_turns_and_ratios_are_within_a_turn(monkeypatch):
    import peers

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
    import growth

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

    import endurance

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


def test_growth_is_told_by_tenths():
    import endurance

    samples = [
        {"s": each, "rows": 50 * each, "run_bytes": 100, "decoder_bytes": 200} for each in range(60)
    ]
    tenths = endurance.tenths(samples)
    assert len(tenths) == 10
    assert {part["slices_per_s"] for part in tenths} == {50}


def test_floors_and_limits_are_computed_from_the_records():
    import tables

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
