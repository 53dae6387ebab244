"""Scans in, results out: decoding in threads, batches in order, memory bounded.

Worker threads decode and preprocess files ahead of the model, at most a window of them; the calling
thread assembles batches and runs the model, during which the workers go on. Where the runtime
preprocesses on its device, the workers only decode.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.bundle import Bundle
from neuroscan_edge.errors import NeuroScanError, RejectedScanError, ScanError, SpecError
from neuroscan_edge.findings import Finding
from neuroscan_edge.preprocess.cpu import CpuPreprocessor
from neuroscan_edge.preprocess.packing import check_slice
from neuroscan_edge.results import Result
from neuroscan_edge.runtimes.base import Probabilities, RawSliceRuntime, Runtime
from neuroscan_edge.scans import Limits, Provenance, Scan, ScanFault, read_scans
from neuroscan_edge.scans.quality import QualityThresholds, examine
from neuroscan_edge.spec import MAX_BATCH

MOST_WORKERS = 16
"""Decoding threads that are started without being asked for."""

AUTO_BATCH = 16
"""Beyond this the CPU gains nothing and memory grows by some 10 MB a slice."""

RAW_PIXELS = 1 << 22
"""Pixels of one file that wait for the GPU as they are; what exceeds them is resized before."""

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
        Threads that decode and preprocess, 1 to 64.
    limits : Limits
        Inputs to refuse.
    quality : QualityThresholds
        From where on pixels are found fault with.
    """

    batch_size: int = 0
    workers: int = 2
    limits: Limits = Limits()
    quality: QualityThresholds = QualityThresholds()

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
        The runtime: N slices to (N, classes) float32.
    conclude : callable
        A result from a row of probabilities or an error.
    """

    decode: Callable[[Path, Limits], Iterator[Scan | ScanFault]]
    preprocess: Callable[[_UInt8, int], _UInt8]
    compute: Callable[[list[_UInt8]], Probabilities]
    conclude: Callable[..., Result]


WrapSteps = Callable[[Steps], Steps]
"""Puts something around the steps, such as clocks; where there is none, nothing is called."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A slice ready for the runtime, or the reason why it is not."""

    provenance: Provenance
    pixels: _UInt8 | None
    error: str | None = None
    findings: tuple[Finding, ...] = ()


def classify_files(
    files: Iterable[Path],
    bundle: Bundle,
    runtime: Runtime,
    options: PipelineOptions | None = None,
    wrap: WrapSteps | None = None,
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
        Given the steps, returns those to run: how benchmarks time them.

    Raises
    ------
    NonFiniteOutputError
        If the model returns values that are not probabilities: nothing after can be trusted.
    """
    options = options or PipelineOptions()
    batch_size = options.batch_size or runtime.info.batch_size or AUTO_BATCH
    steps = _steps(bundle, runtime)
    if wrap is not None:
        steps = wrap(steps)
    prepared = _prepare_ahead(files, steps, options, window=options.workers + batch_size)
    # Closing the generator early stops the workers.
    try:
        while batch := _next_batch(prepared, batch_size):
            yield from _classify_batch(batch, bundle, runtime, steps)
    finally:
        prepared.close()


def _steps(bundle: Bundle, runtime: Runtime) -> Steps:
    cpu = CpuPreprocessor(bundle.preprocessing)
    if isinstance(runtime, RawSliceRuntime) and runtime.takes_raw:
        return Steps(read_scans, _raw(cpu), runtime.run_raw, Result.of)
    return Steps(read_scans, _preprocessed(cpu), _on_stacked(runtime), Result.of)


def _on_stacked(runtime: Runtime) -> Callable[[list[_UInt8]], Probabilities]:
    """Run preprocessed slices as one batch."""
    return lambda slices: runtime(np.stack(slices)[..., None])


def _preprocessed(cpu: CpuPreprocessor) -> Callable[[_UInt8, int], _UInt8]:
    """Prepare slices for a runtime that takes the bytes of the graph."""
    return lambda pixels, waiting: cpu(pixels)


def _raw(cpu: CpuPreprocessor) -> Callable[[_UInt8, int], _UInt8]:
    """Prepare slices for a runtime that preprocesses.

    As they are, but in the model's size where they are many or large: resizing that again changes
    nothing, so that the result is the same.
    """

    def prepare(pixels: _UInt8, waiting: int) -> _UInt8:
        check_slice(pixels)
        if waiting + pixels.size > RAW_PIXELS:
            return cpu.resize(pixels)
        # A view would keep the whole of what it was cut from.
        return pixels if pixels.base is None else pixels.copy()

    return prepare


def _prepare_ahead(
    files: Iterable[Path], steps: Steps, options: PipelineOptions, window: int
) -> Generator[_Prepared, None, None]:
    source = iter(files)
    opening = list(islice(source, 2))
    if len(opening) < 2:
        # Nothing to decode ahead of: handing a single file to a thread only adds to its latency.
        for path in opening:
            yield from _prepare(path, steps, options)
        return
    source = chain(opening, source)
    waiting: deque[Future[list[_Prepared]]] = deque()
    pool = ThreadPoolExecutor(options.workers, thread_name_prefix="decode")
    try:
        while True:
            for path in islice(source, window - len(waiting)):
                waiting.append(pool.submit(_prepare, path, steps, options))
            if not waiting:
                return
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _prepare(path: Path, steps: Steps, options: PipelineOptions) -> list[_Prepared]:
    prepared: list[_Prepared] = []
    waiting = 0
    try:
        for scan in steps.decode(path, options.limits):
            if isinstance(scan, ScanFault):
                prepared.append(_failed(scan.provenance, scan.error))
                continue
            findings = examine(scan, options.quality)
            if any(finding.rejects for finding in findings):
                prepared.append(_Prepared(scan.provenance, None, findings=findings))
                continue
            ready = steps.preprocess(scan.pixels, waiting)
            waiting += ready.size
            prepared.append(_Prepared(scan.provenance, ready, findings=findings))
    except ScanError as error:
        provenance = error.provenance or Provenance(str(path), len(prepared))
        prepared.append(_failed(provenance, error))
    except MemoryError:
        provenance = Provenance(str(path), len(prepared))
        reason = "memory: there is too little memory to decode this file; use fewer --workers"
        prepared.append(_Prepared(provenance, None, reason))
    return prepared


def _failed(provenance: Provenance, error: ScanError) -> _Prepared:
    if isinstance(error, RejectedScanError):
        return _Prepared(provenance, None, findings=(Finding(error.finding),))
    return _Prepared(provenance, None, f"{error.kind}: {error}")


def _next_batch(prepared: Iterator[_Prepared], batch_size: int) -> list[_Prepared]:
    """Take slices up to a full batch, with the errors that stand between them."""
    batch: list[_Prepared] = []
    slices = 0
    while slices < batch_size and (item := next(prepared, None)) is not None:
        batch.append(item)
        slices += item.pixels is not None
    return batch


def _classify_batch(
    batch: list[_Prepared], bundle: Bundle, runtime: Runtime, steps: Steps
) -> Iterator[Result]:
    slices = [item.pixels for item in batch if item.pixels is not None]
    rows = iter(_run(slices, bundle, steps) if slices else ())
    info = runtime.info
    for item in batch:
        probabilities = None if item.pixels is None else next(rows)
        yield steps.conclude(
            item.provenance, bundle, info, probabilities, item.error, item.findings
        )


def _run(slices: list[_UInt8], bundle: Bundle, steps: Steps) -> Probabilities:
    probabilities = steps.compute(slices)
    wanted = (len(slices), len(bundle.labels))
    if probabilities.shape != wanted or not np.isfinite(probabilities).all():
        raise NonFiniteOutputError(
            f"the model returned {probabilities.shape} values, finite: "
            f"{bool(np.isfinite(probabilities).all())}; wanted {wanted} probabilities. "
            "The engine is faulty: build or copy it again"
        )
    return probabilities
