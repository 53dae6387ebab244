"""``classify --series`` as its users meet it, and rows that earlier versions wrote."""

import contextlib
import csv
import json
import signal
import subprocess
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.classify.output.resumable import UnfinishedOutput
from neuroscan_edge.classify.prefetch import MAX_UNWANTED
from neuroscan_edge.cli.app import app
from neuroscan_edge.errors import OutputError
from neuroscan_edge.results.record import RESULT_SCHEMA, SERIES_KEYS
from neuroscan_edge.system.journal import Journal
from support.command_line import command
from support.dicom_slices import dicom_slice
from support.phantoms import head
from support.places import ROOT

AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]
# Name of a series, orientation, agent, and how many slices.
SERIES = {
    "1.1": ("AX T1 POST GAD", AXIAL, 5),
    "1.2": ("SAG T1 POST GAD", SAGITTAL, 4),
    "1.3": ("AX T2 FLAIR", AXIAL, 3),
    "1.4": ("localizer", SAGITTAL, 2),
}
OF_TIMES = ("ScanningSequence", "RepetitionTime", "EchoTime", "InversionTime", "ProtocolName")


def neuroscan_edge(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of four series and a raster image, their files mixed."""
    folder = tmp_path / "study"
    folder.mkdir()
    number = 0
    for uid, (name, cosines, count) in SERIES.items():
        for index in range(count):
            elements = {
                "SeriesDescription": name,
                "ImageOrientationPatient": cosines,
                "SeriesInstanceUID": uid,
                "StudyInstanceUID": "1",
                **dict.fromkeys(OF_TIMES),
            }
            (folder / f"{index}-{uid}.dcm").write_bytes(dicom_slice(number, **elements))
            number += 1
    (folder / "broken.dcm").write_bytes(b"no image")
    return folder


def rows_of(output: Path) -> list[dict]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def classify(study, bundle, output, *options):
    arguments = ("classify", study, "--model", bundle.folder, "--output", output, "--workers", 2)
    return neuroscan_edge(*arguments, *options)


def test_every_row_says_its_series(study, bundle, tmp_path):
    output = tmp_path / "rows.jsonl"
    classify(study, bundle, output)
    rows = {row["series_instance_uid"]: row for row in rows_of(output) if not row["error"]}
    assert {
        uid: (row["sequence"], row["plane"], row["orientation"], row["contrast_agent"])
        for uid, row in rows.items()
    } == {
        "1.1": ("T1C", "axial", "LPS", True),
        "1.2": ("T1C", "sagittal", "PIR", True),
        "1.3": ("FLAIR", "axial", "LPS", None),
        "1.4": ("other", "sagittal", "PIR", None),
    }
    assert rows["1.1"]["sequence_evidence"] == [
        "Series Description has the word T1",
        "Series Description has the word post-contrast",
    ]
    (broken,) = (row for row in rows_of(output) if row["error"])
    assert (broken["sequence"], broken["plane"]) == ("unknown", None)


SELECTED = {
    "one rule": (["sequence=T1C,plane=axial"], ["1.1"]),
    "any of two": (["sequence=T1C,plane=axial", "sequence=FLAIR"], ["1.1", "1.3"]),
    "a plane": (["plane=sagittal"], ["1.2", "1.4"]),
    "contrast": (["contrast=yes"], ["1.1", "1.2"]),
}


@pytest.mark.parametrize(("rules", "uids"), SELECTED.values(), ids=SELECTED)
def test_only_slices_that_fit_a_rule_have_rows(study, bundle, tmp_path, rules, uids):
    output = tmp_path / "rows.jsonl"
    options = [part for rule in rules for part in ("--series", rule)]
    done = classify(study, bundle, output, *options)
    rows = rows_of(output)
    wanted = sum(SERIES[uid][2] for uid in uids)
    # What cannot be read may have been wanted.
    assert [row["path"].endswith("broken.dcm") for row in rows].count(True) == 1
    assert sorted({row["series_instance_uid"] for row in rows if not row["error"]}) == uids
    assert len(rows) == wanted + 1
    assert done.exit_code == 1
    left_out = 14 - wanted
    assert f"1 failed, {left_out} not selected by --series" in done.stderr


def test_what_is_left_out_is_counted_by_kind(study, bundle, tmp_path):
    done = classify(study, bundle, tmp_path / "rows.csv", "--series", "sequence=FLAIR")
    said = "not selected by --series: 5 T1C axial, 4 T1C sagittal, 2 other sagittal"
    assert said in done.stderr
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    evidence = "Series Description has the word FLAIR; Series Description has the word T2"
    assert {row["sequence_evidence"] for row in rows} == {evidence, ""}


def test_groups_are_made_of_what_was_selected(study, bundle, tmp_path):
    output = tmp_path / "rows.jsonl"
    classify(study, bundle, output, "--series", "sequence=T1C", "--group", "study")
    rows = {row["level"]: row for row in rows_of(output)}
    series, whole = rows["series"], rows["study"]
    assert series["sequence"] == "T1C"
    assert series["slices"] == 4 and series["plane"] == "sagittal"
    # Axial and sagittal slices agree on the sequence alone.
    assert (whole["slices"], whole["sequence"], whole["plane"]) == (9, "T1C", None)


def test_nothing_selected_is_said_and_not_a_success(study, bundle, tmp_path):
    (study / "broken.dcm").unlink()
    done = classify(study, bundle, tmp_path / "rows.jsonl", "--series", "sequence=T2")
    assert done.exit_code == 2
    assert "no slice fits --series sequence=T2" in done.stderr
    assert "5 T1C axial, 4 T1C sagittal, 3 FLAIR axial, 2 other sagittal" in done.stderr
    assert rows_of(tmp_path / "rows.jsonl") == []


def test_a_wrong_rule_is_bad_usage(study, bundle):
    done = neuroscan_edge("classify", study, "--model", bundle.folder, "--series", "sequence=T3")
    assert done.exit_code == 2
    assert "T1, T1C, T2, FLAIR, other, unknown" in done.stderr


def test_decoders_select_as_this_process_does(study, bundle, tmp_path):
    """Rules and facts go through the decoders' messages; benchmarks decode without."""
    from neuroscan_edge.classify.pipeline import PipelineOptions, classify_files
    from neuroscan_edge.scans import find_scans
    from neuroscan_edge.scans.series_rule import SeriesRule
    from support.fakes.fake_runtime import FakeRuntime

    rule = SeriesRule.parse("sequence=T1C,plane=sagittal")
    options = PipelineOptions(workers=2, series=(rule,))
    files = find_scans([study]).files
    here = [each.series for each in classify_files(files, bundle, FakeRuntime(), options)]
    output = tmp_path / "rows.jsonl"
    classify(study, bundle, output, "--series", str(rule))
    there = [(row["sequence"], row["sequence_evidence"]) for row in rows_of(output)]
    assert there == [(str(each.sequence), list(each.evidence)) for each in here]


def test_many_unwanted_slices_end_a_batch(bundle, tmp_path):
    values = np.stack([head(40, 1000)] * 500, axis=-1).astype(np.int16)
    for number in range(5):
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / f"{number}-t2w.nii")
    output = tmp_path / "rows.jsonl"
    done = classify(tmp_path, bundle, output, "--series", "sequence=T1")
    assert done.exit_code == 2
    assert "2500 not selected" in done.stderr
    assert MAX_UNWANTED < 2500


@contextlib.contextmanager
def unfinished(monkeypatch):
    """Let a run keep its journal, as one that is killed at its end."""
    with monkeypatch.context() as patched:

        def fail(self, write_all):
            raise OutputError("the disk is full")

        patched.setattr(UnfinishedOutput, "finish", fail)
        yield


def as_written_before(row: dict) -> dict:
    old = {key: value for key, value in row.items() if key not in SERIES_KEYS}
    return {**old, "schema": 1}


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_run_that_an_earlier_version_began_is_continued(
    study, bundle, tmp_path, monkeypatch, suffix
):
    output = tmp_path / f"rows.{suffix}"
    with unfinished(monkeypatch):
        assert classify(study, bundle, output).exit_code == 1
    path = output.with_name(output.name + ".journal")
    with Journal(path) as journal:
        header, *records = journal.records()
        assert "the series" not in header["request"]
        journal.clear()
        journal.append(header)
        for record in records:
            journal.append({**record, "results": [*map(as_written_before, record["results"])]})
    done = classify(study, bundle, output, "--resume")
    assert done.exit_code == 1, done.output
    if suffix == "jsonl":
        rows = rows_of(output)
        assert len(rows) == 15
        assert {row["schema"] for row in rows} == {RESULT_SCHEMA}
        assert {row["sequence"] for row in rows} == {None}


def test_a_run_is_continued_with_its_own_rules_alone(study, bundle, tmp_path, monkeypatch):
    output = tmp_path / "rows.jsonl"
    rule = ("--series", "sequence=T1C")
    with unfinished(monkeypatch):
        assert classify(study, bundle, output, *rule).exit_code == 1
    refused = classify(study, bundle, output, "--resume")
    assert refused.exit_code == 2
    assert "the series was sequence=T1C, is nothing" in refused.stderr
    done = classify(study, bundle, output, "--resume", *rule)
    assert "5 not selected by --series" in done.stderr
    assert len(rows_of(output)) == 10


def test_old_rows_are_summarised(study, bundle, tmp_path):
    output = tmp_path / "rows.jsonl"
    classify(study, bundle, output, "--group", "series")
    new = neuroscan_edge("summarize", output)
    old = [json.dumps(as_written_before(row)) for row in rows_of(output)]
    output.write_text("\n".join(old) + "\n")
    done = neuroscan_edge("summarize", output)
    assert done.exit_code == new.exit_code == 0, done.output
    assert done.stdout == new.stdout


def test_a_watched_folder_is_selected_from(study, bundle, tmp_path):
    pytest.importorskip("watchfiles")
    output = tmp_path / "rows.jsonl"
    arguments = ("--watch", study, "--model", bundle.folder, "--output", output, "--settle", 0.2)
    running = subprocess.Popen(
        command("classify", *arguments, "--series", "sequence=FLAIR"),
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    try:
        while not (output.exists() and output.read_text().count("\n") == 4):
            assert running.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
        running.wait()
    assert "11 not selected by --series" in said
    assert {row["sequence"] for row in rows_of(output)} == {"FLAIR", "unknown"}
