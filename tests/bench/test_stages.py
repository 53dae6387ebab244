"""Stages: what the clocks around the pipeline's steps add up to, and a device's own times."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from neuroscan_edge.bench.stages import (
    COMPUTE,
    DECODE,
    DOWNLOAD,
    HAND_OVER,
    HOST,
    POST,
    PREPROCESS,
    UPLOAD,
    StageTimes,
    measure_stages,
)
from neuroscan_edge.bench.system import BytesSystem, FilesSystem, SampleError
from neuroscan_edge.classify.pipeline import PipelineOptions, Steps, classify_files
from neuroscan_edge.results import Result
from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.spec import Precision
from support.bench_cases import MS, Clock
from support.fakes.fake_runtime import OverlappingFake


class SlowRuntime:
    """Takes 5 ms a call on an injected clock; with `device` it also reports four parts of it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.info = RuntimeInfo("fake", "1", "cpu", Precision.FP32, "0" * 64)

    def __enter__(self) -> "SlowRuntime":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.clock.now += 5 * MS
        return np.full((len(batch), 4), 0.25, np.float32)


class DeviceRuntime(SlowRuntime):
    report = None

    def report_device_times(self, report) -> None:
        self.report = report

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        if self.report is not None:
            self.report(0.5, 0.125, 3.0, 0.25)
        return super().__call__(batch)


@pytest.fixture
def clock():
    return Clock()


def test_each_step_is_timed_apart(clock):
    def spend(milliseconds, value=None):
        def step(*_):
            clock.now += milliseconds * MS
            return value

        return step

    def decode(path, limits) -> Iterator[str]:
        for page in ("one", "two"):
            clock.now += 3 * MS
            yield page
        clock.now += MS

    times = StageTimes(clock)
    steps = times.over(Steps(decode, spend(2), spend(7), spend(1)))
    for _ in steps.decode("file", None):
        # The time of whoever consumes the pages is not decoding.
        clock.now += 100 * MS
        break
    assert times.total_ns(DECODE) == 3 * MS
    assert list(steps.decode("file", None)) == ["one", "two"]
    assert times.total_ns(DECODE) == (3 + 7) * MS
    steps.preprocess(None)
    steps.compute(None)
    steps.conclude()
    spent = [times.total_ns(name) / MS for name in (PREPROCESS, COMPUTE, POST)]
    assert spent == [2, 7, 1]


def test_a_step_that_fails_is_timed_and_still_fails(clock):
    def broken(*_):
        clock.now += 4 * MS
        raise ValueError

    times = StageTimes(clock)
    steps = times.over(Steps(None, broken, None, None))
    with pytest.raises(ValueError):
        steps.preprocess(None)
    assert times.total_ns(PREPROCESS) == 4 * MS


def test_one_at_a_time_the_stages_add_up_to_file_to_result(scans, bundle, clock):
    files = find_scans([scans]).files
    system = FilesSystem(files, bundle, SlowRuntime(clock), workers=1, batch_size=4)
    found = measure_stages(system, 20, clock)
    alone = found["one_at_a_time"]
    assert alone["stages_ms"][COMPUTE] == pytest.approx(5)
    assert set(alone["stages_ms"]) == {DECODE, PREPROCESS, COMPUTE, POST, HAND_OVER}
    assert sum(alone["stages_ms"].values()) == pytest.approx(alone["file_to_result_ms"])
    streaming = found["streaming"]
    assert streaming["stages_ms"][COMPUTE] == pytest.approx(5 / 4), "a batch of four shares a call"


def test_a_device_tells_upload_compute_and_download(scans, bundle, clock):
    files = find_scans([scans]).files
    runtime = DeviceRuntime(clock)
    found = measure_stages(FilesSystem(files, bundle, runtime, 1, 4), 8, clock)
    stages = found["one_at_a_time"]["stages_ms"]
    assert {name: stages[name] for name in (UPLOAD, COMPUTE, DOWNLOAD)} == pytest.approx(
        {UPLOAD: 0.5, COMPUTE: 3.0, DOWNLOAD: 0.25}
    )
    assert stages[PREPROCESS] == pytest.approx(0.125)
    assert stages[HOST] == pytest.approx(5 - 3.875)
    assert list(stages) == [DECODE, PREPROCESS, UPLOAD, COMPUTE, DOWNLOAD, HOST, POST, HAND_OVER]
    assert runtime.report is None, "switched off again"


def test_timing_changes_no_result(scans, bundle, clock):
    files = find_scans([scans]).files
    runtime = SlowRuntime(clock)
    options = PipelineOptions(4, 2)
    plain = [each.to_json() for each in classify_files(files, bundle, runtime, options)]
    times = StageTimes(clock)
    timed = classify_files(files, bundle, runtime, options, times.over)
    assert [each.to_json() for each in timed] == plain
    assert len(times.spent_ns[PREPROCESS]) == len(files)
    assert len(times.spent_ns[COMPUTE]) == 5


def test_without_a_wrap_the_steps_are_the_very_functions(scans, bundle, clock, monkeypatch):
    """Off, timing costs nothing: no layer lies between the pipeline and what it calls."""
    seen = []
    runtime = SlowRuntime(clock)

    def keep(steps: Steps) -> Steps:
        seen.append(steps)
        return steps

    list(classify_files(find_scans([scans]).files, bundle, runtime, wrap=keep))
    (steps,) = seen
    assert steps.decode is read_scans
    assert steps.conclude == Result.of


def test_a_file_that_cannot_be_classified_stops_the_measurement(scans, bundle, clock):
    bad = scans / "bad.png"
    bad.write_bytes(b"no image")
    system = FilesSystem((bad,), bundle, SlowRuntime(clock))
    with pytest.raises(SampleError, match="bad.png cannot be measured on: corrupt.*leave it out"):
        system.query([0])


def test_a_slice_that_never_reaches_the_model_stops_the_measurement(scans, bundle, clock):
    blank = scans / "blank.png"
    cv2.imwrite(str(blank), np.zeros((40, 40), np.uint8))
    system = FilesSystem((blank,), bundle, SlowRuntime(clock))
    with pytest.raises(SampleError, match=r"rejected \(blank\); leave it out"):
        system.query([0])


def test_bytes_go_to_the_runtime_in_batches(clock):
    runtime = SlowRuntime(clock)
    system = BytesSystem(np.zeros((5, 32, 32, 1), np.uint8), runtime, batch_size=3)
    assert len(list(system.stream(range(5)))) == 5
    assert clock.now == 2 * 5 * MS
    assert replace(system, batch_size=5).samples == 5


def test_bytes_are_given_early_to_a_runtime_that_overlaps():
    runtime = OverlappingFake(start_s=0)
    system = BytesSystem(np.zeros((8, 32, 32, 1), np.uint8), runtime, batch_size=3)
    assert len(list(system.stream(range(8)))) == 8
    assert runtime.said == ["begun 0", "begun 1", "done 0", "begun 2", "done 1", "done 2"]
    assert [len(batch) for batch in runtime.batches] == [3, 3, 2]
