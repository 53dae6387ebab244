"""Scans in, results out: decoding ahead, batches in order, memory bounded.

Threads have files decoded and preprocessed ahead of the model, in decoder processes where there are
such, at most a window of them; the calling thread assembles batches and runs the model, during
which the others go on. Where the runtime preprocesses on its device, files are only decoded. A
runtime with several streams is given the next batch before it is done with one, if that is ready:
streams seldom wait for the last of them, or for what is made of the results. Two batches more are
held in memory for it, one in the model and one before it.
"""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.classify.decoders import Decoders, Preparation, Prepared
from neuroscan_edge.classify.decoders.prepare import Decode, Preprocess, prepare_file
from neuroscan_edge.classify.output.position import BEGINNING, Position
from neuroscan_edge.classify.prefetch import MOST_TOGETHER, Placed, Prefetch, full_batches
from neuroscan_edge.errors import NeuroScanError, SpecError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.results import Result
from neuroscan_edge.runtimes.protocol import (
    Computed,
    JudgingRuntime,
    Outputs,
    Pending,
    RawSliceRuntime,
    Runtime,
    RuntimeInfo,
    overlapping,
)
from neuroscan_edge.scans import Limits, read_scans
from neuroscan_edge.scans.quality import QualityThresholds
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.scans.series_rule import SeriesRule, kind_of
from neuroscan_edge.spec import MAX_BATCH

MOST_WORKERS = 16
"""Decoders that are started without being asked for."""

AUTO_BATCH = 16
"""Beyond this the CPU gains nothing and memory grows by some 10 MB a slice."""

_UInt8 = npt.NDArray[np.uint8]


class NonFiniteOutputError(NeuroScanError):
    """The model returned values that are not probabilities."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How to run.

    Parameters
    ----------
    batch_size : int
        Slices a batch at most, 1 to 1024; 0 chooses.
    workers : int
        Files that are decoded and preprocessed at the same time, 1 to 64.
    limits : Limits
        Inputs to refuse.
    quality : QualityThresholds or None
        From where on pixels are found fault with; None takes the bundle's.
    heatmaps : bool
        Whether each result comes with what can be drawn of it; the runtime must give heatmaps.
    series : tuple of SeriesRule
        Slices that fit none of them get no result and are counted; empty takes all.
    """

    batch_size: int = 0
    workers: int = 2
    limits: Limits = Limits()
    quality: QualityThresholds | None = None
    heatmaps: bool = False
    series: tuple[SeriesRule, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.batch_size <= MAX_BATCH:
            raise SpecError(f"batch size is {self.batch_size}; give 1 to {MAX_BATCH}, or 0")
        if not 1 <= self.workers <= 64:
            raise SpecError(f"workers is {self.workers}; give 1 to 64")


@dataclass(frozen=True, slots=True)
class Steps:
    """What the pipeline calls, in the order of a slice's way.

    Parameters
    ----------
    decode : callable
        A file's scans.
    preprocess : callable
        A slice, (H, W) uint8, and how many pixels of its file wait already, to what the runtime
        takes: the bytes that the graph reads, or a slice that its device preprocesses. Called from
        several threads.
    compute : callable
        The runtime: N slices to all that it gives of them. Not called where a runtime that overlaps
        batches is to start on them.
    conclude : callable
        A result from a row of probabilities or an error.
    """

    decode: Decode
    preprocess: Preprocess
    compute: Callable[[list[_UInt8]], Outputs]
    conclude: Callable[..., Result]


WrapSteps = Callable[[Steps], Steps]
"""Puts something around the steps, such as clocks; where there is none, nothing is called."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What an overlay is drawn from.

    Parameters
    ----------
    pixels : (H, W) uint8
        The slice as decoded.
    heatmaps : (C, h, w) float32
        Of every class.
    """

    pixels: _UInt8
    heatmaps: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """What one call of the model gave, and the errors that stood between its slices.

    Parameters
    ----------
    results : tuple of Result
        In order.
    after : Position
        Where the next batch begins.
    drawings : tuple of Drawing or None
        Of each result, where heatmaps were asked for and it is of a classified slice.
    unwanted : tuple of str
        The kind of series of each slice that fits none of the rules, such as ``T2 sagittal``.
    """

    results: tuple[Result, ...]
    after: Position
    drawings: tuple[Drawing | None, ...] = ()
    unwanted: tuple[str, ...] = ()


def classify_files(
    files: Iterable[Path],
    bundle: Bundle,
    runtime: Runtime,
    options: PipelineOptions | None = None,
    wrap: WrapSteps | None = None,
    decoders: Decoders | None = None,
) -> Generator[Result, None, None]:
    """Classify files in order, one result a slice; an unreadable file gives an error result.

    Parameters
    ----------
    files : iterable of Path
        Consumed as it is needed.
    bundle : Bundle
        The model's labels and preprocessing.
    runtime : Runtime
        The loaded model.
    options : PipelineOptions, optional
        Batch size, workers, limits.
    wrap : callable, optional
        Given the steps, returns those to run: how benchmarks time them. Files are then decoded in
        this process.
    decoders : Decoders, optional
        Processes that decode, so that a file may crash or stall its decoder and no more than that.
        None decodes in threads of this process.

    Raises
    ------
    NonFiniteOutputError
        If the model returns values that are not probabilities: nothing after can be trusted.
    StalledError
        If files one after another give no data in time.
    """
    batches = classify_batches(files, bundle, runtime, options, wrap, decoders)
    # Closing the generator early stops the workers.
    with contextlib.closing(batches):
        for batch in batches:
            yield from batch.results


def classify_batches(
    files: Iterable[Path],
    bundle: Bundle,
    runtime: Runtime,
    options: PipelineOptions | None = None,
    wrap: WrapSteps | None = None,
    decoders: Decoders | None = None,
    start: Position = BEGINNING,
) -> Generator[Batch, None, None]:
    """Classify files as `classify_files` does, batch by batch.

    Begun again where a batch ended, it composes the same batches as if it had gone on.

    Parameters
    ----------
    start : Position
        What is done already, of the same files.
    """
    options = options or PipelineOptions()
    batch_size = options.batch_size or runtime.info.batch_size or AUTO_BATCH
    raw = isinstance(runtime, RawSliceRuntime) and runtime.takes_raw
    quality = options.quality or _quality(bundle)
    preparation = Preparation(
        bundle.preprocessing, raw, options.limits, options.heatmaps, quality, options.series
    )
    steps = _steps(preparation, runtime)
    if wrap is not None:
        steps = wrap(steps)
        decoders = None
    cancelled = threading.Event()

    def prepare(paths: Sequence[Path]) -> Iterable[list[Prepared]]:
        if decoders is not None:
            return decoders.prepare_several(paths, preparation, cancelled)
        return (
            list(prepare_file(path, preparation, steps.decode, steps.preprocess)) for path in paths
        )

    def cancel() -> None:
        cancelled.set()
        if decoders is not None:
            decoders.release()

    # A clock around a batch would show the time of two.
    start_next = None if wrap is not None or raw else _starting(runtime)
    # When a batch has been taken, the one to begin after it must be ready already.
    ahead = batch_size if start_next is None else 2 * batch_size
    together = 1 if decoders is None else MOST_TOGETHER
    prepared = Prefetch(files, prepare, cancel, options.workers, ahead, start, together)
    begin = start_next or (lambda slices: Computed(steps.compute(slices)))

    def may_go_on() -> bool:
        # What is slow to decode holds no result back.
        return start_next is not None and prepared.has_ready(batch_size)

    # Closing the generator early stops the workers.
    with contextlib.closing(prepared):
        batches = full_batches(prepared, batch_size)
        with contextlib.closing(_computed(batches, begin, may_go_on)) as computed:
            for placed, outputs in computed:
                items = [each.item for each in placed if not each.item.unwanted]
                pairs = list(_concluded(items, outputs, bundle, runtime.info, steps.conclude))
                results, drawings = tuple(zip(*pairs, strict=True)) or ((), ())
                unwanted = tuple(
                    kind_of(each.item.series or SeriesFacts())
                    for each in placed
                    if each.item.unwanted
                )
                yield Batch(results, placed[-1].after, drawings, unwanted)


def _quality(bundle: Bundle) -> QualityThresholds:
    stated = bundle.judging.quality
    return QualityThresholds() if stated is None else QualityThresholds.from_json(stated)


def _steps(preparation: Preparation, runtime: Runtime) -> Steps:
    preprocess = preparation.preprocessor()
    if preparation.raw and isinstance(runtime, RawSliceRuntime):
        return Steps(read_scans, preprocess, runtime.outputs_raw, Result.of)
    return Steps(read_scans, preprocess, _on_stacked(runtime), Result.of)


def _starting(runtime: Runtime) -> Callable[[list[_UInt8]], Pending] | None:
    """Return what starts on a batch and does not wait for it, if the runtime has that."""
    ahead = overlapping(runtime)
    return None if ahead is None else lambda slices: ahead.start(_stacked(slices))


def _stacked(slices: list[_UInt8]) -> _UInt8:
    return np.stack(slices)[..., None]


def _on_stacked(runtime: Runtime) -> Callable[[list[_UInt8]], Outputs]:
    """Run preprocessed slices as one batch."""
    if isinstance(runtime, JudgingRuntime):
        judging = runtime
        return lambda slices: judging.outputs(_stacked(slices))
    return lambda slices: Outputs(runtime(_stacked(slices)))


def _computed(
    batches: Iterator[list[Placed]],
    begin: Callable[[list[_UInt8]], Pending],
    may_go_on: Callable[[], bool],
) -> Generator[tuple[list[Placed], Outputs | None], None, None]:
    """Yield batches with what the model gave for their slices, in order.

    The next is begun before one is done, if it may be. An error on the way to the next is raised
    when those that were begun before have been yielded.
    """
    begun: deque[tuple[list[Placed], Pending | None]] = deque()
    failed: Exception | None = None
    ended = False
    try:
        while begun or not ended:
            if begun and (ended or len(begun) > 1 or not may_go_on()):
                placed, pending = begun.popleft()
                yield placed, None if pending is None else pending.result()
                continue
            try:
                placed = next(batches, [])
                if placed:
                    slices = [each.item.pixels for each in placed if each.item.pixels is not None]
                    begun.append((placed, begin(slices) if slices else None))
                ended = not placed
            except Exception as error:
                failed, ended = error, True
    finally:
        for _, pending in begun:
            if pending is not None:
                pending.cancel()
    if failed is not None:
        raise failed


def _concluded(
    items: list[Prepared],
    outputs: Outputs | None,
    bundle: Bundle,
    info: RuntimeInfo,
    conclude: Callable[..., Result],
) -> Iterator[tuple[Result, Drawing | None]]:
    if outputs is not None:
        _check(outputs, sum(item.pixels is not None for item in items), len(bundle.labels))
    row = 0
    for item in items:
        if item.pixels is None or outputs is None:
            result = conclude(item.provenance, bundle, info, None, item.error, item.findings)
            yield _of_series(result, item), None
            continue
        scores, maps = outputs.outlier_scores, outputs.heatmaps
        result = conclude(
            item.provenance,
            bundle,
            info,
            outputs.probabilities[row],
            item.error,
            item.findings,
            None if scores is None else scores[row],
        )
        result = _of_series(result, item)
        if maps is None or item.original is None:
            yield result, None
        else:
            yield result, Drawing(item.original, maps[row])
        row += 1


def _of_series(result: Result, item: Prepared) -> Result:
    return result if item.series is None else replace(result, series=item.series)


def _check(outputs: Outputs, slices: int, classes: int) -> None:
    _check_values("probabilities", outputs.probabilities, (slices, classes))
    if outputs.outlier_scores is not None:
        _check_values("outlier scores", outputs.outlier_scores, (slices,))


def _check_values(what: str, values: npt.NDArray[np.float32], wanted: tuple[int, ...]) -> None:
    if values.shape != wanted or not np.isfinite(values).all():
        raise NonFiniteOutputError(
            f"the model returned {what} of shape {values.shape}, finite: "
            f"{bool(np.isfinite(values).all())}; wanted {wanted}. "
            "The engine is faulty: build or copy it again"
        )
