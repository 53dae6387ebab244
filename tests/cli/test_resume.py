"""Runs that are ended in the middle, by kill -9, signals, a full disk, and continued."""

import json
import os
import resource
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.system.journal import Journal
from support.command_line import command, neuroscan_edge, partial_files
from support.places import ROOT

FILES = 600


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """Many slices, some of them in files of several or none, and two that cannot be read."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    kinds = []
    for index in range(20):
        pixels = rng.integers(0, 256, (200 + index, 250), np.uint8)
        kinds.append(folder.parent / f"{folder.name}-{index}.png")
        Image.fromarray(pixels).save(kinds[-1])
    for index in range(FILES):
        os.link(kinds[index % len(kinds)], folder / f"{index:05}.png")
    pages = [Image.fromarray(rng.integers(0, 256, (60, 60), np.uint8)) for _ in range(40)]
    pages[0].save(folder / "00100-pages.tiff", save_all=True, append_images=pages[1:])
    (folder / "00200-cut.jpg").write_bytes(b"\xff\xd8\xff cut")
    (folder / "00201-empty.png").write_bytes(b"")
    return folder


def journal_of(output: Path) -> Path:
    return output.with_name(output.name + ".journal")


def start(*arguments: object, **options: object) -> subprocess.Popen:
    # A shell's background job ignores interrupts, and so would its children.
    return subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )


def wait_for_batches(running: subprocess.Popen, output: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        if (journal := journal_of(output)).exists() and journal.read_bytes().count(b"\n") > count:
            return
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".txt"])
def test_a_killed_run_is_continued_to_the_same_bytes(many, bundle, tmp_path, suffix):
    model = ("--model", bundle.folder)
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"results{suffix}"
    assert neuroscan_edge("classify", many, *model, "--output", whole).returncode == 1
    arguments = ("classify", many, *model, "--output", output, "--resume")
    for batches in (1, 8, 23):
        running = start(*arguments)
        wait_for_batches(running, output, batches)
        running.kill()
        running.communicate()
        assert not output.exists()
    done = neuroscan_edge(*arguments)
    assert done.returncode == 1, done.stderr
    assert "continuing after" in done.stderr
    assert f"{FILES + 40} slices classified, 2 failed" in done.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert not journal_of(output).exists() and partial_files(tmp_path) == []
    if suffix == ".jsonl":
        records = map(json.loads, output.read_text().splitlines())
        seen = Counter((record["path"], record["frame"]) for record in records)
        assert len(seen) == FILES + 42 and set(seen.values()) == {1}


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_it_is_continued(many, bundle, tmp_path, sent, code):
    model = ("--model", bundle.folder)
    output = tmp_path / "results.jsonl"
    running = start("classify", many, *model, "--output", output)
    wait_for_batches(running, output, 2)
    running.send_signal(sent)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == code, errors
    assert b"Traceback" not in errors
    assert b"is kept in" in errors and b"continue with --resume" in errors
    assert not output.exists() and partial_files(tmp_path) == []
    arguments = ("classify", many, *model, "--output", output)
    refused = neuroscan_edge(*arguments)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr and "--restart" in refused.stderr
    assert neuroscan_edge(*arguments, "--resume").returncode == 1
    assert len(output.read_text().splitlines()) == FILES + 42


def test_a_disk_that_fills_up_loses_nothing(many, bundle, tmp_path):
    model = ("--model", bundle.folder)
    output, whole = tmp_path / "results.jsonl", tmp_path / "whole.jsonl"
    output.write_text("earlier\n")

    def limit() -> None:
        # A file-size limit fails the write as a full disk does, without filling one.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    arguments = ("classify", many, *model, "--output", output)
    done = neuroscan_edge(*arguments, preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "free some space" in done.stderr
    assert "--resume" in done.stderr and "Traceback" not in done.stderr
    assert output.read_text() == "earlier\n" and partial_files(tmp_path) == []
    with Journal(journal_of(output)) as journal:
        batches = len(list(journal.records())) - 1
        assert batches > 3 and journal.size_bytes < 100_000
    assert neuroscan_edge(*arguments, "--resume").returncode == 1
    assert neuroscan_edge("classify", many, *model, "--output", whole).returncode == 1
    assert output.read_bytes() == whole.read_bytes()


def test_what_was_torn_off_is_done_again(many, bundle, tmp_path):
    model = ("--model", bundle.folder)
    output, whole = tmp_path / "results.csv", tmp_path / "whole.csv"
    running = start("classify", many, *model, "--output", output)
    wait_for_batches(running, output, 5)
    running.kill()
    running.communicate()
    journal = journal_of(output)
    journal.write_bytes(journal.read_bytes()[:-7])
    assert neuroscan_edge("classify", many, *model, "--output", output, "--resume").returncode == 1
    assert neuroscan_edge("classify", many, *model, "--output", whole).returncode == 1
    assert output.read_bytes() == whole.read_bytes()


def test_only_the_same_request_is_continued(many, bundle, tmp_path):
    model = ("--model", bundle.folder)
    output = tmp_path / "results.jsonl"
    arguments = ("classify", many, *model, "--output", output)
    running = start(*arguments)
    wait_for_batches(running, output, 2)
    running.kill()
    running.communicate()
    changed = [
        (("--precision", "fp32"), "the precision was int8, is fp32"),
        (("--batch-size", 7), "the batch size was 16, is 7"),
        (("--sort", "risk"), "the order was input, is risk"),
        (("--threads", 1), "threads and streams was"),
    ]
    before = journal_of(output).read_bytes()
    for others, reason in changed:
        done = neuroscan_edge(*arguments, "--resume", *others)
        assert done.returncode == 2, done.stderr
        assert reason in done.stderr and "--restart" in done.stderr
    added = many / "99999.png"
    os.link(many / "00000.png", added)
    try:
        done = neuroscan_edge(*arguments, "--resume")
    finally:
        added.unlink()
    assert done.returncode == 2
    assert f"the number of files was {FILES + 3}, is {FILES + 4}" in done.stderr
    assert journal_of(output).read_bytes() == before
    # Decoders do not change results.
    assert neuroscan_edge(*arguments, "--resume", "--workers", 1).returncode == 1


def test_restart_begins_anew(scans, bundle, tmp_path):
    output = tmp_path / "results.jsonl"
    journal_of(output).write_text("anything\n")
    arguments = ("classify", scans, "--model", bundle.folder, "--output", output)
    refused = neuroscan_edge(*arguments, "--resume")
    assert refused.returncode == 2 and "is no journal" in refused.stderr
    assert neuroscan_edge(*arguments, "--restart").returncode == 0
    assert not journal_of(output).exists()


def test_resume_with_nothing_to_resume_is_a_run(scans, bundle, tmp_path):
    output = tmp_path / "results.jsonl"
    arguments = ("classify", scans, "--model", bundle.folder, "--resume")
    assert neuroscan_edge(*arguments, "--output", output).returncode == 0
    assert len(output.read_text().splitlines()) == 20
    done = neuroscan_edge(*arguments)
    assert done.returncode == 2 and "give --output" in done.stderr


def test_a_run_that_was_killed_before_its_first_batch_needs_no_resuming(scans, bundle, tmp_path):
    output = tmp_path / "results.jsonl"
    with Journal(journal_of(output)) as journal:
        journal.append({"schema": 1, "kind": "classification", "request": {}})
    done = neuroscan_edge("classify", scans, "--model", bundle.folder, "--output", output)
    assert done.returncode == 0, done.stderr
    assert not journal_of(output).exists()


def test_two_runs_do_not_write_to_one_journal(many, bundle, tmp_path):
    output = tmp_path / "results.jsonl"
    arguments = ("classify", many, "--model", bundle.folder, "--output", output)
    running = start(*arguments)
    wait_for_batches(running, output, 1)
    running.send_signal(signal.SIGSTOP)
    second = neuroscan_edge(*arguments, "--resume")
    running.send_signal(signal.SIGCONT)
    assert second.returncode == 2 and "in use by another run" in second.stderr
    running.communicate(timeout=60)
    assert running.returncode == 1
    assert len(output.read_text().splitlines()) == FILES + 42
