"""Classifying what arrives in a folder, until interrupted."""

import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType, ModuleType

from neuroscan_edge.classify.arrivals import Arrival, Arrivals
from neuroscan_edge.classify.decoders import (
    DecoderOptions,
    Decoders,
    ready_decoders,
    start_decoders,
)
from neuroscan_edge.classify.loaded_model import LoadedModel, load_model
from neuroscan_edge.classify.output.appending import WatchedOutput
from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.classify.pipeline import MOST_WORKERS, PipelineOptions, classify_batches
from neuroscan_edge.classify.prefetch import StalledError
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.classify.run import UNWANTED, counted, rows_in, unwanted_kinds
from neuroscan_edge.errors import EXIT_TERMINATED, NeuroScanError, UsageError
from neuroscan_edge.results import result_format
from neuroscan_edge.results.ordering import Arrangement
from neuroscan_edge.scans.discovery import walk
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.machine import usable_cores
from neuroscan_edge.system.optional import require

_TICK_MS = 250
_GROUP_MS = 500
_POLL_MS = 1000
_RESCAN_S = 30.0
"""A system may drop events, in a burst or on a network; what was missed is found by this."""

_MANY_SLICES = 1 << 20


class WatchError(NeuroScanError):
    """The system does not tell of changes in a folder."""


def watch(request: ClassifyRequest) -> int:
    """Classify what is in a folder and what arrives, until an interrupt.

    Results are appended to the output as JSON lines, each file's once and when it is whole; a file
    that is replaced by new content is a new one. Begun again, it goes on where it was.

    Raises
    ------
    KeyboardInterrupt
        When it is interrupted, which is how it ends.
    UsageError
        If there is no folder to watch, or no output that can grow.
    JournalError, OutputError
        If the output cannot be continued, or not be written.
    WatchError
        If the system does not tell of changes there.
    MissingDependencyError
        If watchfiles is not installed.
    """
    watchfiles = require("watchfiles", extra="watch", why="to watch a folder")
    folder, output = _checked(request)
    with contextlib.ExitStack() as stack:
        decoders = None
        if request.isolate:
            decoders = start_decoders(DecoderOptions(request.file_timeout_s), stack)
            if decoders:
                decoders.expect_dicom()
        written = stack.enter_context(WatchedOutput(output, restart=request.restart))
        model = stack.enter_context(load_model(request, _MANY_SLICES))
        watched = _Watch(request, folder, model, ready_decoders(decoders), written)
        try:
            with _ended_by_sigterm():
                # It watches before the first look: nothing can come between the two.
                for changed in _changes(watchfiles, folder, request.poll):
                    watched.look(changed)
        finally:
            watched.summarise()
    return 0


def _changes(watchfiles: ModuleType, folder: Path, poll: bool) -> Iterator[set[Path]]:
    """Yield what changed, and nothing where for a while nothing did."""
    changes = watchfiles.watch(
        folder,
        watch_filter=None,
        debounce=_GROUP_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        force_polling=True if poll else None,
        poll_delay_ms=_POLL_MS,
        ignore_permission_denied=True,
    )
    while True:
        try:
            changed = next(changes)
        except (OSError, RuntimeError) as error:
            raise WatchError(
                f"{folder} cannot be watched ({error}); try --poll, and see that it is there"
            ) from error
        yield {Path(path) for _, path in changed}


def _checked(request: ClassifyRequest) -> tuple[Path, Path]:
    if request.watch is None or not request.watch.is_dir():
        raise UsageError(f"{request.watch} is not a folder; give one to --watch")
    if request.inputs:
        raise UsageError("give scans or --watch, not both: what is in the folder is taken first")
    suffixes = {".jsonl", ".ndjson"}
    if request.output is None or request.output.suffix.lower() not in suffixes:
        raise UsageError("--watch appends JSON lines: give --output a name that ends in .jsonl")
    if request.resume:
        raise UsageError("a watch goes on where it was by itself; leave --resume out")
    if request.heatmaps is not None or request.arrangement != Arrangement():
        raise UsageError("--watch writes rows as they come: leave out --heatmaps, --sort, --group")
    if request.output_format not in {None, "jsonl"}:
        raise UsageError(f"--watch writes JSON lines, not {request.output_format}")
    if not request.output.parent.is_dir():
        raise UsageError(f"{request.output.parent} is not a folder; make it or write elsewhere")
    # Resolved: a file has one name however it was found.
    return request.watch.resolve(), request.output


class _Watch:
    """What happens at each look at the folder."""

    def __init__(
        self,
        request: ClassifyRequest,
        folder: Path,
        model: LoadedModel,
        decoders: Decoders | None,
        output: WatchedOutput,
    ) -> None:
        self._folder = folder
        self._model = model
        self._decoders = decoders
        self._output = output
        workers = request.workers or min(usable_cores(), MOST_WORKERS)
        self._options = PipelineOptions(request.batch_size, workers, series=request.series)
        self._line = result_format("jsonl", model.bundle.labels).line
        self._arrivals = Arrivals(output.seen, request.settle_s)
        self._counts: Counter[str] = Counter()
        self._rescan_at = 0.0
        self._away = False
        print(f"watching {folder}; an interrupt ends it", file=sys.stderr)

    def look(self, changed: set[Path]) -> None:
        """Take note of what changed and classify what is whole."""
        for path in changed:
            if self._is_hidden(path) or path in self._output.paths:
                continue
            if path.is_dir():
                # Its files may have come before it was watched.
                self._note_all(path)
            else:
                self._arrivals.note(path)
        if time.monotonic() >= self._rescan_at:
            started = time.monotonic()
            self._note_all(self._folder)
            # Of a folder that takes long to list, a small part of the time.
            self._rescan_at = time.monotonic() + max(_RESCAN_S, 20 * (time.monotonic() - started))
        if arrivals := self._arrivals.whole():
            self._classify(arrivals)

    def summarise(self) -> None:
        """Say what was done."""
        if self._counts.total() > rows_in(self._counts):
            print(unwanted_kinds(self._counts), file=sys.stderr)
        print(f"{counted(self._counts)}. {RESEARCH_USE}", file=sys.stderr)

    def _is_hidden(self, path: Path) -> bool:
        if not path.is_relative_to(self._folder):
            return True
        return any(part.startswith(".") for part in path.relative_to(self._folder).parts)

    def _note_all(self, folder: Path) -> None:
        try:
            for path in walk(folder):
                self._arrivals.note(path)
            self._away = False
        except UsageError as error:
            # A network folder may come back: said once, and looked for again.
            if not self._away:
                print(error, file=sys.stderr)
            self._away = True

    def _classify(self, arrivals: list[Arrival]) -> None:
        done = 0
        try:
            for text, files in self._results(arrivals):
                identities = [arrival.identity for arrival in arrivals[done:files]]
                self._output.append(text, identities)
                done = files
        except StalledError as error:
            print(f"{error}. They are tried again", file=sys.stderr)
            self._arrivals.again(arrivals[done:])

    def _results(self, arrivals: list[Arrival]) -> Iterator[tuple[str, int]]:
        """Yield results as text, with the number of files that are done, always whole files."""
        batches = classify_batches(
            [arrival.path for arrival in arrivals],
            self._model.bundle,
            self._model.runtime,
            self._options,
            decoders=self._decoders,
        )
        lines: list[str] = []
        counts: Counter[str] = Counter()
        with contextlib.closing(batches):
            for batch in batches:
                for result in batch.results:
                    result = replace(result, certified=self._model.certified)
                    lines.append(self._line(result))
                    counts[str(result.decision or "failed")] += 1
                counts.update(UNWANTED + kind for kind in batch.unwanted)
                if batch.after == Position(batch.after.files):
                    self._counts.update(counts)
                    counts.clear()
                    yield "".join(lines), batch.after.files
                    lines.clear()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Tell SIGTERM from an interrupt: watchfiles raises KeyboardInterrupt for both."""
    received = []

    def terminate(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise SystemExit(EXIT_TERMINATED)

    try:
        before = signal.signal(signal.SIGTERM, terminate)
    except ValueError:
        # Only the main thread may: elsewhere SIGTERM keeps its meaning.
        yield
        return
    try:
        yield
    except KeyboardInterrupt:
        if received:
            raise SystemExit(EXIT_TERMINATED) from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
