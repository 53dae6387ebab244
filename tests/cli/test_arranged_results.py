"""``neuroscan-edge classify --sort, --group`` and Parquet as its users meet them."""

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.model.bundle import MANIFEST
from neuroscan_edge.spec import RESEARCH_USE
from support.dicom_slices import dicom_slice
from support.places import ROOT


def neuroscan_edge(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def model(bundle) -> tuple[str, Path]:
    return "--model", bundle.folder


@pytest.fixture
def dicoms(tmp_path) -> Path:
    folder = tmp_path / "dicoms"
    folder.mkdir()
    for number in range(12):
        uids = {"SeriesInstanceUID": f"1.2.{number // 4}", "StudyInstanceUID": f"1.{number // 8}"}
        (folder / f"{number:02}.dcm").write_bytes(dicom_slice(number, 40 + 5 * number, **uids))
    return folder


def test_the_table_lists_the_most_suspicious_first(dicoms, model):
    done = neuroscan_edge("classify", dicoms, *model, "--sort", "risk")
    assert done.exit_code == 0, done.output
    table = done.stdout.splitlines()
    assert table[0] == RESEARCH_USE and "RISK" in table[1]
    risks = [float(line.split()[2].rstrip("%")) for line in table[2:]]
    assert len(risks) == 12
    assert risks == sorted(risks, reverse=True)


@pytest.mark.parametrize("form", ["table", "csv", "jsonl", "parquet"])
def test_every_form_has_the_rows_of_series_and_studies(dicoms, model, tmp_path, form):
    output = tmp_path / "results"
    options = ("--group", "study", "--format", form, "--output", output)
    assert neuroscan_edge("classify", dicoms, *model, *options).exit_code == 0
    expected = ["slice"] * 12 + ["series"] * 3 + ["study"] * 2
    match form:
        case "table":
            lines = output.read_text().splitlines()[2:]
            assert [line.split()[3] for line in lines[12:]] == expected[12:]
        case "csv":
            with output.open() as file:
                assert [each["level"] for each in csv.DictReader(file)] == expected
        case "jsonl":
            lines = output.read_text().splitlines()
            assert [json.loads(each)["level"] for each in lines] == expected
        case "parquet":
            import pyarrow.parquet

            assert pyarrow.parquet.read_table(output)["level"].to_pylist() == expected


def test_slices_of_no_series_are_told(scans, model):
    done = neuroscan_edge("classify", scans, *model, "--group", "series", "--format", "jsonl")
    assert done.exit_code == 0
    assert "20 rows are of no series" in done.stderr
    assert {json.loads(line)["level"] for line in done.stdout.splitlines()} == {"slice"}


def test_parquet_is_not_for_standard_output(scans, model):
    done = neuroscan_edge("classify", scans, *model, "--format", "parquet")
    assert done.exit_code == 2
    assert "--output results.parquet" in done.stderr


def test_parquet_without_pyarrow_names_the_extra(scans, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    output = tmp_path / "results.parquet"
    done = neuroscan_edge("classify", scans, *model, "--output", output)
    assert done.exit_code == 2
    assert "neuroscan-edge[parquet]" in done.stderr
    assert not list(tmp_path.glob("*parquet*")) and not list(tmp_path.glob(".neuroscan*"))


def test_a_model_without_a_class_for_none_is_refused_before_the_start(scans, bundle):
    path = bundle.folder / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["labels"] = ["a", "b", "c", "d"]
    path.write_text(json.dumps(manifest))
    done = neuroscan_edge("classify", scans, "--model", bundle.folder, "--sort", "risk")
    assert done.exit_code == 2
    assert "no class no_tumor" in done.stderr and done.stdout == ""


def test_too_many_slices_to_name_is_refused(scans, model):
    done = neuroscan_edge("classify", scans, *model, "--most-suspicious", 1000)
    assert done.exit_code == 2
    assert "give 0 to 100" in done.stderr


def test_a_full_disk_leaves_no_parquet_and_no_traceback(dicoms, bundle, tmp_path):
    output = tmp_path / "results.parquet"
    line = f"'{sys.executable}' -m neuroscan_edge classify '{dicoms}' --model '{bundle.folder}'"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 1; {line} --output '{output}'"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr
    assert not output.exists() and not list(tmp_path.glob(".neuroscan*"))


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_interrupted_sort_leaves_its_journal_alone(bundle, tmp_path, suffix):
    data = dicom_slice(1, 500)
    many = tmp_path / "many"
    many.mkdir()
    (many / "0000.dcm").write_bytes(data)
    for number in range(1, 3000):
        (many / f"{number:04}.dcm").hardlink_to(many / "0000.dcm")
    output, aside = tmp_path / f"results.{suffix}", tmp_path / "aside"
    aside.mkdir()
    line = [sys.executable, "-m", "neuroscan_edge", "classify", str(many), "--sort", "risk"]
    running = subprocess.Popen(
        [*line, "--model", str(bundle.folder), "--output", str(output)],
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(aside), "PATH": ""},
    )
    deadline = time.monotonic() + 60
    journal = tmp_path / f"results.{suffix}.journal"
    while not journal.exists() or journal.stat().st_size < 20_000:
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 143, errors
    assert b"Traceback" not in errors and b"Exception ignored" not in errors
    assert not output.exists() and journal.exists() and b"--resume" in errors
    assert not list(tmp_path.glob(".neuroscan*")) and not list(aside.glob("neuroscan*"))
