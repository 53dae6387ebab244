"""What the pipeline costs over the bare runtime, and our runtimes over the plain libraries.

Measured by `peers.py`, into its record.
"""

import contextlib
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil

from neuroscan_edge.bench.library import Library
from neuroscan_edge.bench.statistics import interval
from neuroscan_edge.bench.system import BytesSystem, FilesSystem, SystemUnderTest
from neuroscan_edge.classify.decoders import Decoders
from neuroscan_edge.classify.pipeline import AUTO_BATCH
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.graph.cpu_form import load_cpu_int8
from neuroscan_edge.runtimes import (
    Choice,
    Runtime,
    RuntimeOptions,
    choose_runtime,
    open_choice,
    tune,
)
from neuroscan_edge.runtimes.self_test import WrongAnswersError
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import usable_cores
from neuroscan_edge.system.optional import require

QUERIES = 24
OPENINGS = 6
FILES_TURNS = 3
"""Times as many turns for files: they are some percent of a run, and so is what moves one turn."""


def measure_overhead(bundle: Bundle, library: Library, rounds: int) -> dict[str, Any]:
    """Measure both CPU runtimes in INT8; one that computes wrongly here is left out."""
    found = {}
    for name in (RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO):
        try:
            found[str(name)] = {
                "files_over_bytes": _files_over_bytes(bundle, library, name, FILES_TURNS * rounds),
                "batch_1_over_plain": _one_over_plain(bundle, library, name, rounds),
                "plain_over_itself": _one_over_plain(bundle, library, name, rounds, control=True),
            }
        except WrongAnswersError as error:
            print(error, flush=True)
    return found


def open_tuned(bundle: Bundle, choice: Choice, options: RuntimeOptions, batch_size: int) -> Runtime:
    """Open a model with threads and streams measured for batches of a size.

    Raises
    ------
    WrongAnswersError
        If it computes wrongly.
    """
    tuned = tune(bundle, choice, options, batch_size=batch_size, slices=1 << 20)
    return open_choice(bundle, choice, tuned.options)


def _files_over_bytes(
    bundle: Bundle, library: Library, name: RuntimeName, rounds: int
) -> dict[str, Any]:
    """Compare files to results with bytes to probabilities, the same runtime, in turns."""
    with Decoders() as decoders, _open(bundle, name, AUTO_BATCH) as runtime:
        files: SystemUnderTest = FilesSystem(
            library.files, bundle, runtime, usable_cores(), AUTO_BATCH, decoders=decoders
        )
        slices: SystemUnderTest = BytesSystem(library.slices, runtime, AUTO_BATCH)

        def streaming(system: SystemUnderTest) -> Callable[[], None]:
            def run() -> None:
                for _ in system.stream(range(system.samples)):
                    pass

            return run

        wall, cores = _in_turns(streaming(files), streaming(slices), rounds)
        return {"wall": _summary(wall), "cores": _summary(cores)}


def _one_over_plain(
    bundle: Bundle, library: Library, name: RuntimeName, rounds: int, *, control: bool = False
) -> dict[str, Any]:
    """Compare our runtime's batch of one with the plain library's on the same graph.

    It has its default threads. Each is opened anew several times, first and second by turns: where
    its memory comes to lie makes one and the same model some percent slower or faster for as long
    as it is open. As a control the plain library takes our place: what comes of that is chance.
    """
    one = np.ascontiguousarray(library.slices[:1])
    wall, cores = [], []

    def opening(number: int) -> tuple[list[float], list[float]]:
        plain = _plain(bundle, name) if number % 2 else None
        with contextlib.ExitStack() as stack:
            ours: Callable[[np.ndarray], Any] = (
                _plain(bundle, name) if control else stack.enter_context(_open(bundle, name, 1))
            )
            plain = plain or _plain(bundle, name)
            return _in_turns(partial(ours, one), partial(plain, one), max(1, rounds // 2), QUERIES)

    for number in range(OPENINGS):
        found = opening(number)
        wall += found[0]
        cores += found[1]
    return {"wall": _summary(wall), "cores": _summary(cores)}


def _open(bundle: Bundle, name: RuntimeName, batch_size: int) -> Runtime:
    options = RuntimeOptions(Precision.INT8, runtime=name)
    return open_tuned(bundle, choose_runtime(bundle, options), options, batch_size)


def _plain(bundle: Bundle, name: RuntimeName) -> Callable[[np.ndarray], Any]:
    # The same form as ours: the tracked one saturates on some processors, and is faster for it.
    form = load_cpu_int8(bundle.graph(Precision.INT8).data, name)
    if name is RuntimeName.OPENVINO:
        openvino = require("openvino", extra="openvino", why="to compare with it")
        core = openvino.Core()
        # Left alone it takes bfloat16 for what is float: faster, and other answers.
        hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(form), "CPU", hints)
        return lambda batch: compiled([batch])
    import onnxruntime

    session = onnxruntime.InferenceSession(form, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {bundle.input_name: batch})


def _in_turns(
    ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, calls: int = 1
) -> tuple[list[float], list[float]]:
    """Return time of ours over theirs in each turn, by wall and by cores."""
    ours()
    theirs()
    wall, cores = [], []
    # A turn is short beside what disturbs it: twice as many, and every other one swapped.
    for number in range(2 * rounds):
        order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
        spent = {run: _spent(run, calls) for run in order}
        wall.append(spent[ours][0] / spent[theirs][0])
        cores.append(spent[ours][1] / spent[theirs][1])
    return wall, cores


def _spent(run: Callable[[], Any], calls: int) -> tuple[float, float]:
    if calls > 1:
        # The caches are the other's still.
        run()
    worked, started = _worked(), time.perf_counter()
    for _ in range(calls):
        run()
    return time.perf_counter() - started, _worked() - worked


def _worked() -> float:
    """Return the seconds of cores that this process and its decoders have taken."""
    others = psutil.Process().children(recursive=True)
    return time.process_time() + sum(sum(each.cpu_times()[:2]) for each in others)


def _summary(ratios: list[float]) -> dict[str, float]:
    found = interval(ratios, lambda values: float(statistics.median(values)))
    return {"median": found.value, "low": found.low, "high": found.high}
