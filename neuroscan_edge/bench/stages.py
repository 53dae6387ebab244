"""Where the time goes: clocks around the pipeline's steps, and a GPU's own events inside one."""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuroscan_edge.bench.harness import Clock
from neuroscan_edge.bench.system import FilesSystem
from neuroscan_edge.classify.pipeline import Steps
from neuroscan_edge.runtimes.protocol import DeviceTimed
from neuroscan_edge.scans import Limits, Scan, ScanFault

DECODE, PREPROCESS, COMPUTE, POST = "decode", "preprocess", "compute", "post-process"
UPLOAD, DOWNLOAD = "upload", "download"
HOST = "runtime's host side"
HAND_OVER = "hand-over"
_DEVICE_COMPUTE = "compute on the device"
_DEVICE_PREPROCESS = "preprocess on the device"
ORDER = (DECODE, PREPROCESS, UPLOAD, COMPUTE, DOWNLOAD, HOST, POST, HAND_OVER)
"""Of a slice's way; hand-over is what lies between: threads, queues, assembling a batch."""


@dataclass(slots=True)
class StageTimes:
    """Nanoseconds by stage; pass `over` to the pipeline as its wrap.

    Parameters
    ----------
    clock : callable
        For the time.
    spent_ns : dict of str to list of int
        Each call's time, by stage.
    """

    clock: Clock = time.perf_counter_ns
    spent_ns: dict[str, list[int]] = field(default_factory=dict)

    def over(self, steps: Steps) -> Steps:
        """Return the steps with a clock around each."""
        return Steps(
            self._decode(steps.decode),
            self._timed(PREPROCESS, steps.preprocess),
            self._timed(COMPUTE, steps.compute),
            self._timed(POST, steps.conclude),
        )

    def add_ms(self, stage: str, milliseconds: float) -> None:
        """Take a time that a device measured."""
        self._add(stage, round(milliseconds * 1e6))

    def total_ns(self, stage: str) -> int:
        """Return all time spent in a stage, by all threads."""
        return sum(self.spent_ns.get(stage, ()))

    def _timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            started = self.clock()
            try:
                return function(*arguments)
            finally:
                self._add(stage, self.clock() - started)

        return call

    def _decode(
        self, decode: Callable[[Path, Limits], Iterator[Scan | ScanFault]]
    ) -> Callable[[Path, Limits], Iterator[Scan | ScanFault]]:
        def scans(path: Path, limits: Limits) -> Iterator[Scan | ScanFault]:
            # A generator works while it is asked for the next one, and not in between.
            started = self.clock()
            for scan in decode(path, limits):
                self._add(DECODE, self.clock() - started)
                yield scan
                started = self.clock()
            self._add(DECODE, self.clock() - started)

        return scans

    def _add(self, stage: str, nanoseconds: int) -> None:
        # setdefault and append are each atomic: decoding threads come here together.
        self.spent_ns.setdefault(stage, []).append(nanoseconds)


def measure_stages(
    system: FilesSystem,
    slices: int,
    clock: Clock = time.perf_counter_ns,
    *,
    alone: FilesSystem | None = None,
) -> dict[str, Any]:
    """Time the stages twice: one slice at a time, and in the stream of batches.

    One at a time the stages add up to file to result. In a stream they overlap: there the numbers
    are what each stage keeps busy, by all its threads, for one slice.

    Parameters
    ----------
    system : FilesSystem
        For the stream.
    slices : int
        How many to time, each time.
    clock : callable
        For the time.
    alone : FilesSystem, optional
        For one at a time, where single slices have threads of their own; `system` by default.
    """
    return {
        "one_at_a_time": _one_at_a_time(alone or system, slices, clock),
        "streaming": _streaming(system, slices, clock),
    }


def _one_at_a_time(system: FilesSystem, slices: int, clock: Clock) -> dict[str, Any]:
    times = StageTimes(clock)
    watched = replace(system, wrap=times.over)
    whole: list[int] = []
    with _device_times(system, times):
        for index in range(slices):
            started = clock()
            watched.query([index % system.samples])
            whole.append(clock() - started)
    stages = _per_slice(times, slices)
    mean_ms = sum(whole) / slices / 1e6
    stages[HAND_OVER] = max(mean_ms - sum(stages.values()), 0.0)
    return {
        "slices": slices,
        "stages_ms": _in_order(stages),
        "file_to_result_ms": mean_ms,
        "file_to_result_ms_median": statistics.median(whole) / 1e6,
    }


def _streaming(system: FilesSystem, slices: int, clock: Clock) -> dict[str, Any]:
    times = StageTimes(clock)
    watched = replace(system, wrap=times.over)
    started = clock()
    with _device_times(system, times):
        for _ in watched.stream(index % system.samples for index in range(slices)):
            pass
    elapsed_ns = clock() - started
    return {
        "slices": slices,
        "batch_size": system.batch_size,
        "workers": system.workers,
        "stages_ms": _in_order(_per_slice(times, slices)),
        "elapsed_ms": elapsed_ns / slices / 1e6,
    }


def _per_slice(times: StageTimes, slices: int) -> dict[str, float]:
    stages = {name: times.total_ns(name) / slices / 1e6 for name in times.spent_ns}
    parts = (UPLOAD, _DEVICE_PREPROCESS, _DEVICE_COMPUTE, DOWNLOAD)
    on_device = [stages[name] for name in parts if name in stages]
    if on_device:
        # What the host saw of the call, less what the device says it did in it.
        stages[HOST] = max(stages[COMPUTE] - sum(on_device), 0.0)
        stages[COMPUTE] = stages.pop(_DEVICE_COMPUTE)
        stages[PREPROCESS] = stages.get(PREPROCESS, 0.0) + stages.pop(_DEVICE_PREPROCESS)
    return stages


@contextlib.contextmanager
def _device_times(system: FilesSystem, times: StageTimes) -> Iterator[None]:
    """Have a runtime that can do so report its device's own times, for the block."""
    runtime = system.runtime
    if not isinstance(runtime, DeviceTimed):
        yield
        return

    def report(
        upload_ms: float, preprocess_ms: float, compute_ms: float, download_ms: float
    ) -> None:
        times.add_ms(UPLOAD, upload_ms)
        times.add_ms(_DEVICE_PREPROCESS, preprocess_ms)
        times.add_ms(_DEVICE_COMPUTE, compute_ms)
        times.add_ms(DOWNLOAD, download_ms)

    runtime.report_device_times(report)
    try:
        yield
    finally:
        runtime.report_device_times(None)


def _in_order(stages: dict[str, float]) -> dict[str, float]:
    return {name: stages[name] for name in ORDER if name in stages}
