"""``classify --watch`` as its users meet it: arrivals, restarts, interrupts."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from support.command_line import command, neuroscan_edge
from support.places import ROOT

pytest.importorskip("watchfiles")
SETTLE_S = 0.4


@contextlib.contextmanager
def watching(folder, bundle, output, *others, end=signal.SIGINT):
    arguments = ("--watch", folder, "--model", bundle.folder, "--output", output)
    running = subprocess.Popen(
        command("classify", *arguments, "--settle", SETTLE_S, *others),
        stderr=subprocess.PIPE,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    running.said = b""
    try:
        while b"watching" not in running.said:
            line = running.stderr.readline()
            assert line, running.said
            running.said += line
        yield running
        running.send_signal(end)
        running.said += running.communicate(timeout=30)[1]
    finally:
        running.kill()
        running.wait()
        running.stderr.close()


def rows(output: Path) -> list[dict]:
    text = output.read_text() if output.exists() else ""
    # What is not ended by a line break is still being written.
    return [json.loads(line) for line in text.split("\n")[:-1]]


def wait_for_rows(output: Path, count: int, seconds: float = 20.0) -> list[str]:
    deadline = time.monotonic() + seconds
    while len(rows(output)) < count and time.monotonic() < deadline:
        time.sleep(0.02)
    return [Path(row["path"]).name for row in rows(output)]


@pytest.fixture
def incoming(tmp_path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def arriving(scans: Path, count: int) -> list[Path]:
    return sorted(scans.rglob("*.png"))[:count]


def test_what_is_there_and_what_arrives_is_classified_once(scans, bundle, incoming, tmp_path):
    output = tmp_path / "results.jsonl"
    files = arriving(scans, 12)
    shutil.copy(files[0], incoming)
    with watching(incoming, bundle, output) as running:
        assert wait_for_rows(output, 1) == ["slice00.png"]
        for path in files[1:4]:
            shutil.copy(path, incoming)
        (incoming / "later.tmp").write_bytes(files[4].read_bytes())
        (incoming / "notes.txt").write_text("no scan")
        assert sorted(wait_for_rows(output, 4)[1:]) == [path.name for path in files[1:4]]
        # In a folder that is new itself, two deep.
        deep = incoming / "study" / "series"
        deep.mkdir(parents=True)
        for path in files[5:8]:
            shutil.copy(path, deep)
        assert sorted(wait_for_rows(output, 7)[4:]) == [path.name for path in files[5:8]]
        # Renamed when it is whole.
        (incoming / "later.tmp").rename(incoming / "later.png")
        assert wait_for_rows(output, 8)[7] == "later.png"
        # New content under an old name is a new file.
        shutil.copy(files[9], incoming / "slice00.png")
        assert wait_for_rows(output, 9)[8] == "slice00.png"
        (incoming / "broken.png").write_bytes(b"no image")
        assert wait_for_rows(output, 10)[9] == "broken.png"
    assert running.returncode == 130
    assert b"9 slices classified, 1 failed" in running.said
    assert b"Traceback" not in running.said
    assert len(rows(output)) == 10 and rows(output)[9]["error"].startswith("corrupt: ")


def test_a_file_that_is_slow_to_come_is_waited_for(scans, bundle, incoming, tmp_path):
    output = tmp_path / "results.jsonl"
    data = arriving(scans, 1)[0].read_bytes()
    # Ten times what the writer pauses: a busy machine is not to make this fail.
    patient = watching(incoming, bundle, output, "--settle", 2.0)
    with patient, (incoming / "slow.png").open("wb") as file:
        for start in range(0, len(data), len(data) // 8 + 1):
            file.write(data[start : start + len(data) // 8 + 1])
            file.flush()
            time.sleep(0.2)
        wait_for_rows(output, 1)
    (row,) = rows(output)
    assert row["error"] is None


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_repeats_nothing_and_misses_nothing(scans, bundle, incoming, tmp_path, end):
    output = tmp_path / "results.jsonl"
    files = arriving(scans, 20)
    with watching(incoming, bundle, output, end=end) as running:
        for path in files[:8]:
            shutil.copy(path, incoming)
        wait_for_rows(output, 3)
    assert running.returncode == (143 if end == signal.SIGTERM else -signal.SIGKILL)
    for path in files[8:]:
        shutil.copy(path, incoming)
    with watching(incoming, bundle, output):
        wait_for_rows(output, 20)
        time.sleep(2 * SETTLE_S)
    counts = Counter(Path(row["path"]).name for row in rows(output))
    assert counts == {path.name: 1 for path in files}


def test_kills_at_any_moment_repeat_nothing_and_miss_nothing(scans, bundle, incoming, tmp_path):
    output = tmp_path / "results.jsonl"
    source = arriving(scans, 1)[0]
    for index in range(300):
        os.link(source, incoming / f"{index:04}.png")
    for delay_s in (0.01, 0.06, 0.11):
        with watching(incoming, bundle, output, "--batch-size", 2, end=signal.SIGKILL):
            seen = len(rows(output))
            wait_for_rows(output, seen + 1)
            time.sleep(delay_s)
    with watching(incoming, bundle, output):
        wait_for_rows(output, 300)
        time.sleep(2 * SETTLE_S)
    counts = Counter(row["path"] for row in rows(output))
    assert len(counts) == 300 and set(counts.values()) == {1}


def test_polling_finds_what_arrives(scans, bundle, incoming, tmp_path):
    output = tmp_path / "results.jsonl"
    with watching(incoming, bundle, output, "--poll"):
        for path in arriving(scans, 3):
            shutil.copy(path, incoming)
        assert len(wait_for_rows(output, 3)) == 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--watch", "no-such-folder", "--output", "OUT.jsonl"), "is not a folder"),
        (("--watch", "IN"), "appends JSON lines"),
        (("--watch", "IN", "--output", "OUT.csv"), "appends JSON lines"),
        (("--watch", "IN", "--output", "OUT.jsonl", "--format", "csv"), "not csv"),
        (("SCANS", "--watch", "IN", "--output", "OUT.jsonl"), "not both"),
        (("--watch", "IN", "--output", "OUT.jsonl", "--settle", "-1"), "settling time"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_usage_is_one_line_and_exit_code_2(
    scans, bundle, incoming, tmp_path, arguments, reason
):
    places = {"SCANS": str(scans), "IN": str(incoming)}
    given = [places.get(each, each.replace("OUT", str(tmp_path / "out"))) for each in arguments]
    done = neuroscan_edge("classify", *given, "--model", bundle.folder)
    assert done.returncode == 2
    assert reason in done.stderr and "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_watched_is_said(scans, bundle, incoming, tmp_path, monkeypatch):
    import watchfiles

    from neuroscan_edge.classify.request import ClassifyRequest
    from neuroscan_edge.classify.watch import WatchError, watch

    def refuse(*arguments, **options):
        raise OSError("OS file watch limit reached")
        yield

    monkeypatch.setattr(watchfiles, "watch", refuse)
    request = ClassifyRequest(
        (), str(bundle.folder), tmp_path / "r.jsonl", isolate=False, watch=incoming
    )
    with pytest.raises(WatchError, match="limit reached.*--poll"):
        watch(request)


def test_files_that_give_no_data_are_tried_again(scans, bundle, incoming, tmp_path, monkeypatch):
    import watchfiles

    from neuroscan_edge.classify import watch as module
    from neuroscan_edge.classify.prefetch import StalledError
    from neuroscan_edge.classify.request import ClassifyRequest

    for path in arriving(scans, 6):
        shutil.copy(path, incoming)
    output = tmp_path / "r.jsonl"
    calls = []
    real = module.classify_batches

    def stalls_once(files, *arguments, **options):
        calls.append(len(files))
        for batch in real(files, *arguments, **options):
            yield batch
            if len(calls) == 1:
                raise StalledError("3 files in a row gave no data")

    def ticks(*arguments, **options):
        while len(rows(output)) < 6:
            time.sleep(0.01)
            yield set()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "classify_batches", stalls_once)
    monkeypatch.setattr(watchfiles, "watch", ticks)
    request = ClassifyRequest(
        (),
        str(bundle.folder),
        output,
        isolate=False,
        batch_size=2,
        watch=incoming,
        settle_s=0.05,
    )
    with pytest.raises(KeyboardInterrupt):
        module.watch(request)
    assert calls == [6, 4]
    names = Counter(Path(row["path"]).name for row in rows(output))
    assert names == {path.name: 1 for path in arriving(scans, 6)}
