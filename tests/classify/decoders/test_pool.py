"""Decoder processes: a file may kill or stall one, and the run goes on and leaves none behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.classify.decoders import (
    DecoderOptions,
    Decoders,
    DecodersNotAvailableError,
    Preparation,
    ready_decoders,
    start_decoders,
)
from neuroscan_edge.classify.decoders.prepare import prepare_file
from neuroscan_edge.classify.decoders.protocol import Channel
from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.classify.pipeline import PipelineOptions, classify_batches, classify_files
from neuroscan_edge.classify.prefetch import MOST_TOGETHER, StalledError
from neuroscan_edge.errors import SpecError
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.spec import Preprocessing
from support.fakes.fake_runtime import FakeRuntime, OverlappingFake
from support.places import ROOT, TESTS

HOSTILE = "support.hostile_decoder:decode"
PREPARATION = Preparation(Preprocessing(height=32, width=32, tile_grid=(4, 4)))


@pytest.fixture(autouse=True)
def hostile(monkeypatch):
    monkeypatch.syspath_prepend(TESTS)


def decoders(**options: object) -> Decoders:
    return Decoders(DecoderOptions(decode=HOSTILE, **options))


def named(folder: Path, name: str) -> Path:
    path = folder / f"{name}.png"
    Image.fromarray(np.arange(1600, dtype=np.uint8).reshape(40, 40)).save(path)
    return path


def children(process: int) -> set[int]:
    """Living descendants of a process."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process and fields[0] not in {"Z", "X"}:
            child = int(entry.parent.name)
            found |= {child} | children(child)
    return found


def wait_for(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize("together", [1, 4])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_a_process_prepares_as_this_one_does(scans, tmp_path, raw, keep, together):
    ramp = np.arange(50 * 42, dtype=np.uint32).reshape(50, 42) // 9
    pages = [Image.fromarray(ramp[:, : 40 + each].astype(np.uint8)) for each in range(3)]
    pages[0].save(scans / "pages.tiff", save_all=True, append_images=pages[1:])
    (scans / "broken.png").write_bytes(b"no image")
    files = [*find_scans([scans, ROOT / "examples" / "scans"]).files, tmp_path / "absent.png"]
    preparation = replace(PREPARATION, raw=raw, keep_original=keep)
    preprocess = preparation.preprocessor()
    with Decoders() as there:
        answers = [
            found
            for first in range(0, len(files), together)
            for found in there.prepare_several(files[first : first + together], preparation)
        ]
        for path, found in zip(files, answers, strict=True):
            right = list(prepare_file(path, preparation, read_scans, preprocess))
            assert found and len(found) == len(right)
            for one, other in zip(found, right, strict=True):
                for name in ("provenance", "error", "findings"):
                    assert getattr(one, name) == getattr(other, name)
                np.testing.assert_array_equal(one.pixels, other.pixels)
                np.testing.assert_array_equal(one.original, other.original)
                assert (one.original is None) == (not keep or one.pixels is None)


DEEDS = pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("segfault", "crashed: the decoder process died of SIGSEGV, twice"),
        ("killed", "crashed: the decoder process was killed, as when memory runs out, twice"),
        ("exits", "crashed: the decoder process ended, twice"),
        ("leaves", "crashed: the decoder process ended, twice"),
        ("babbles", "crashed: the decoder process sent a header of 4294967295 bytes, twice"),
        ("eats", "memory: there is too little memory"),
        ("raises", "crashed: the decoder failed on this file"),
        ("loops", "timeout: the file was not decoded in 0.5 s"),
        ("waits", "timeout: the file gave no data in 0.5 s"),
    ],
)


@DEEDS
def test_what_a_file_does_to_its_decoder_is_its_row_and_nobody_elses(
    scans, bundle, tmp_path, deed, reason
):
    files = [*find_scans([scans]).files[:6]]
    files.insert(3, named(tmp_path, f"{deed}-1"))
    with decoders(file_timeout_s=0.5) as there:
        results = list(
            classify_files(files, bundle, FakeRuntime(), PipelineOptions(4, 2), decoders=there)
        )
    assert [result.provenance.path for result in results] == list(map(str, files))
    assert results[3].error.startswith(reason)
    assert "DOE" not in results[3].error
    assert [result.error for result in results if result is not results[3]] == [None] * 6


@DEEDS
@pytest.mark.parametrize("place", [40, 43])
def test_nor_that_of_those_that_a_process_is_asked_for_with_it(
    bundle, tmp_path, monkeypatch, deed, reason, place
):
    asked = []
    several = Decoders.prepare_several

    def noted(there, paths, *rest):
        asked.append(list(paths))
        return several(there, paths, *rest)

    monkeypatch.setattr(Decoders, "prepare_several", noted)
    files = [named(tmp_path, f"good-{index}") for index in range(60)]
    files.insert(place, named(tmp_path, f"{deed}-1"))
    with decoders(file_timeout_s=0.5) as there:
        options = PipelineOptions(8, 1)
        results = list(classify_files(files, bundle, FakeRuntime(), options, decoders=there))
    assert [len(paths) for paths in asked if files[place] in paths][0] == MOST_TOGETHER
    assert [result.provenance.path for result in results] == list(map(str, files))
    assert results.pop(place).error.startswith(reason)
    assert {result.error for result in results} == {None}


def test_what_a_process_does_not_answer_is_left_out(tmp_path):
    files = [named(tmp_path, name) for name in ("naps-1", "segfault-1", "good-1")]
    with decoders() as there:
        (items,) = there.prepare_several(files, PREPARATION)
        assert items[0].error is None
        assert there.prepare(files[2], PREPARATION)[0].error is None


def test_quick_files_are_answered_together(tmp_path, monkeypatch):
    receipts = 0
    receive = Channel._receive_into

    def counted(channel, buffer):
        nonlocal receipts
        receipts += 1
        return receive(channel, buffer)

    files = [named(tmp_path, f"good-{index}") for index in range(8)]
    with decoders() as there:
        there.prepare(files[0], PREPARATION)
        monkeypatch.setattr(Channel, "_receive_into", counted)
        assert len(list(there.prepare_several(files, PREPARATION))) == 8
    # Sixteen if each slice and each end came alone.
    assert receipts < 8


def test_a_slow_file_is_answered_before_the_next(tmp_path):
    files = [named(tmp_path, name) for name in ("naps-1", "waits-1")]
    with decoders(file_timeout_s=60) as there:
        answers = there.prepare_several(files, PREPARATION)
        started = time.monotonic()
        assert next(answers)[0].error is None
        assert time.monotonic() - started < 20
        # Nobody wants the second: its process goes, and another serves.
        answers.close()
        assert there.prepare(files[0], PREPARATION)[0].error is None


def test_what_is_not_wanted_any_more_is_not_begun(tmp_path):
    cancelled = threading.Event()
    files = [named(tmp_path, f"waits-{index}") for index in range(3)]
    with decoders(file_timeout_s=30) as there:
        threading.Timer(0.3, lambda: (cancelled.set(), there.release())).start()
        assert list(there.prepare_several(files, PREPARATION, cancelled)) == []
        assert list(there.prepare_several(files[:1], PREPARATION, cancelled)) == [[]]
        assert there.prepare(named(tmp_path, "good"), PREPARATION)[0].error is None


def test_what_says_more_than_it_was_asked_is_not_believed(tmp_path):
    with decoders() as there:
        (item,) = there.prepare(named(tmp_path, "forges-1"), PREPARATION)
        assert item.error.startswith("crashed: the decoder process sent what is of another file")
        assert there.prepare(named(tmp_path, "good"), PREPARATION)[0].error is None


def test_a_decoder_that_is_killed_by_accident_costs_nothing(tmp_path):
    with decoders() as there:
        (item,) = there.prepare(named(tmp_path, "once-1"), PREPARATION)
    assert item.error is None and item.pixels is not None


def test_frames_that_were_ready_before_a_crash_count(tmp_path):
    with decoders() as there:
        ready, failed = there.prepare(named(tmp_path, "second-1"), PREPARATION)
    assert ready.pixels is not None
    assert failed.error.startswith("crashed: ") and failed.provenance.frame == 1


def test_a_bomb_dies_in_its_process_by_the_limit_given(tmp_path):
    path = named(tmp_path, "eats-1")
    with decoders(memory_bytes=1 << 30) as there:
        (item,) = there.prepare(path, PREPARATION)
        assert item.error.startswith("memory: ")
        assert there.prepare(named(tmp_path, "good"), PREPARATION)[0].error is None


@pytest.mark.parametrize("runtime", [FakeRuntime(), OverlappingFake()], ids=["one", "overlapping"])
def test_a_folder_that_gives_no_data_ends_the_run_before_all_of_it_is_errors(
    scans, bundle, tmp_path, runtime
):
    good = list(find_scans([scans]).files[:8])
    files = [*good, *(named(tmp_path, f"waits-{index}") for index in range(50))]
    position = Position()
    with decoders(file_timeout_s=0.3) as there, pytest.raises(StalledError, match="3 files"):
        for batch in classify_batches(
            files, bundle, runtime, PipelineOptions(4, 4), decoders=there
        ):
            position = batch.after
    # What stalled is not counted as done: it will be tried again.
    assert position == Position(8)


def test_so_does_one_whose_files_are_asked_for_together(bundle, tmp_path):
    files = [named(tmp_path, f"good-{index}") for index in range(32)]
    files += [named(tmp_path, f"waits-{index}") for index in range(50)]
    position = Position()
    started = time.monotonic()
    with decoders(file_timeout_s=0.3) as there, pytest.raises(StalledError, match="3 files"):
        for batch in classify_batches(
            files, bundle, FakeRuntime(), PipelineOptions(8, 2), decoders=there
        ):
            position = batch.after
    assert position == Position(32)
    assert time.monotonic() - started < 20


def test_files_that_loop_for_ever_are_rows_however_many(bundle, tmp_path):
    files = [named(tmp_path, f"loops-{index}") for index in range(5)]
    with decoders(file_timeout_s=0.2) as there:
        options = PipelineOptions(4, 4)
        results = list(classify_files(files, bundle, FakeRuntime(), options, decoders=there))
    assert [result.error.split(":")[0] for result in results] == ["timeout"] * 5


@pytest.mark.parametrize("runtime", [FakeRuntime(), OverlappingFake()], ids=["one", "overlapping"])
def test_closing_early_does_not_wait_for_a_stuck_file(bundle, tmp_path, runtime):
    files = [named(tmp_path, "good"), *(named(tmp_path, f"waits-{each}") for each in range(3))]
    with decoders(file_timeout_s=0) as there:
        results = classify_files(files, bundle, runtime, PipelineOptions(1, 2), decoders=there)
        assert next(results).error is None
        started = time.monotonic()
        results.close()
        assert time.monotonic() - started < 5
        assert not [each for each in threading.enumerate() if each.name.startswith("decode")]
        # They serve the next run all the same.
        assert there.prepare(files[0], PREPARATION)[0].error is None


def test_closing_leaves_no_process(tmp_path):
    before = children(os.getpid())
    with decoders() as there:
        there.prepare(named(tmp_path, "good"), PREPARATION)
        assert len(children(os.getpid()) - before) == 2
    assert wait_for(lambda: children(os.getpid()) <= before)


@pytest.mark.parametrize("forked", [False, True])
def test_a_killed_run_leaves_no_decoder_even_a_stuck_one(tmp_path, forked):
    path = named(tmp_path, "waits-1")
    code = f"""
import sys, threading, time
if not {forked}:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
sys.path.insert(0, {str(TESTS)!r})
from pathlib import Path
from neuroscan_edge.classify.decoders import *
from neuroscan_edge.spec import Preprocessing
there = Decoders(DecoderOptions(file_timeout_s=0, decode={HOSTILE!r}))
there.wait_until_ready()
print("ready", flush=True)
there.prepare(Path({str(path)!r}), Preparation(Preprocessing()))
"""
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    assert running.stdout.readline() == b"ready\n"
    assert wait_for(lambda: len(children(running.pid)) == 2)
    family = children(running.pid)
    # A copy has the command of what it is copied from.
    commands = {Path(f"/proc/{each}/cmdline").read_bytes() for each in (running.pid, *family)}
    assert len(commands) == (1 if forked else 2)
    running.kill()
    running.wait()
    running.stdout.close()
    assert wait_for(lambda: not any(Path(f"/proc/{each}").exists() for each in family))


def test_a_nursery_that_is_killed_is_replaced(tmp_path):
    path = named(tmp_path, "good")
    before = children(os.getpid())
    with decoders() as there:
        assert there.prepare(path, PREPARATION)[0].error is None
        for each in children(os.getpid()) - before:
            os.kill(each, signal.SIGKILL)
        assert there.prepare(path, PREPARATION)[0].error is None


def test_one_process_is_used_again(tmp_path):
    before = children(os.getpid())
    with decoders() as there:
        seen = set()
        for index in range(5):
            there.prepare(named(tmp_path, f"good-{index}"), PREPARATION)
            seen |= children(os.getpid()) - before
    assert len(seen) == 2


def test_a_process_prepares_as_it_was_told_last(scans):
    path = next(iter(find_scans([scans]).files))
    told = [PREPARATION, replace(PREPARATION, keep_original=True), PREPARATION]
    told += [PREPARATION, replace(PREPARATION, preprocessing=Preprocessing())]
    with Decoders() as there:
        for preparation in told:
            (found,) = there.prepare(path, preparation)
            assert found.pixels.shape == preparation.preprocessing.shape
            assert (found.original is not None) is preparation.keep_original


def test_where_no_process_starts_that_is_said(monkeypatch):
    monkeypatch.setattr("neuroscan_edge.classify.decoders.launch._has_one_thread", lambda: False)
    monkeypatch.setattr(sys, "executable", str(ROOT / "no-such-python"))
    with pytest.raises(DecodersNotAvailableError, match="cannot be started"):
        Decoders()


def test_without_processes_a_run_goes_on_in_this_one_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr("neuroscan_edge.classify.decoders.launch._has_one_thread", lambda: False)
    monkeypatch.setattr(sys, "executable", str(ROOT / "no-such-python"))
    with contextlib.ExitStack() as stack:
        assert start_decoders(DecoderOptions(), stack) is None
    monkeypatch.undo()
    with contextlib.ExitStack() as stack:
        there = start_decoders(DecoderOptions(decode="no_such_module:decode"), stack)
        assert ready_decoders(there) is None
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all(line.startswith("decoding in this process, since ") for line in said)


def test_a_decoder_that_cannot_be_imported_is_said():
    there = Decoders(DecoderOptions(decode="no_such_module:decode"))
    with there, pytest.raises(DecodersNotAvailableError, match="ModuleNotFoundError"):
        there.wait_until_ready()


def test_a_decoder_process_loads_no_runtime():
    probe = (
        "import sys, neuroscan_edge.classify.decoders.fork_server; print('\\n'.join(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"onnxruntime", "openvino", "onnx", "pydicom", "typer", "rich"})


@pytest.mark.parametrize("options", [{"file_timeout_s": -1.0}, {"memory_bytes": 10}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(SpecError):
        DecoderOptions(**options)


def test_a_run_begun_again_at_a_batch_composes_the_same_batches(scans, bundle):
    ramp = np.arange(1600, dtype=np.uint32).reshape(40, 40) // 9
    pages = [Image.fromarray((ramp + 10 * each).astype(np.uint8)) for each in range(7)]
    pages[0].save(scans / "series0" / "pages.tiff", save_all=True, append_images=pages[1:])
    (scans / "series0" / "broken.png").write_bytes(b"no image")
    shutil.copy(scans / "series0" / "broken.png", scans / "series1" / "zz.png")
    files = find_scans([scans]).files
    whole = FakeRuntime()
    options = PipelineOptions(5, 2)
    batches = list(classify_batches(files, bundle, whole, options))
    assert batches[-1].after == Position(len(files))
    assert any(batch.after.rows for batch in batches), "a batch ends within a file"
    for index, batch in enumerate(batches):
        again = FakeRuntime()
        rest = list(classify_batches(files, bundle, again, options, start=batch.after))
        assert rest == batches[index + 1 :]
        for one, other in zip(again.batches, whole.batches[index + 1 :], strict=False):
            np.testing.assert_array_equal(one, other)
