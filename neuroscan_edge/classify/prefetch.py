"""Files prepared ahead of the model, in order, and put together to full batches.

However many files there are, and however many slices one of them holds, what waits is bounded.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from neuroscan_edge.classify.decoders import QUICK_S, Prepared
from neuroscan_edge.classify.output.position import BEGINNING, Position
from neuroscan_edge.errors import NeuroScanError

STALLED_IN_A_ROW = 3
"""Files that give no data in time, one after another, before a run takes the folder for gone."""

MOST_TOGETHER = 8
"""Files that a decoder process is asked for at once; twice as many would save nothing more."""

MAX_UNWANTED = 1024
"""Slices of a batch that fit no rule, beyond which it ends though it is not full."""

_SLICES_AHEAD = 512
"""Slices that are ready beyond which no further file is asked for: one may hold a thousand."""


class StalledError(NeuroScanError):
    """The files' disk or network does not answer: going on would make errors of all the rest."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A slice or an error, and where the next one is."""

    item: Prepared
    after: Position


@dataclass(frozen=True, slots=True)
class _Answer:
    """The slices of each of the files that were prepared, and how long they took in all."""

    files: list[list[Prepared]]
    time_s: float

    @property
    def was_quick(self) -> bool:
        """Whether the files were single slices without fault, and took little time."""
        single = all(len(items) == 1 and items[0].error is None for items in self.files)
        return single and self.time_s < QUICK_S * len(self.files)


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that a worker is asked for at once."""

    paths: Sequence[Path]
    answer: Future[_Answer]


class Prefetch:
    """Slices and errors of files, in order, while those after them are prepared: an iterator.

    Parameters
    ----------
    files : iterable of Path
        Consumed as it is needed.
    prepare : callable
        Files to the slices of each; called from several threads. If it stops before the last of
        several, the rest is asked for one by one.
    cancel : callable
        Called at the end, early or not: what is still being prepared is not wanted.
    workers : int
        Files that are prepared at the same time.
    slices_ahead : int
        About as many are ready before they are taken.
    start : Position
        Where to begin.
    most_together : int
        Files to ask for at once where those before were single slices and quick.
    """

    def __init__(
        self,
        files: Iterable[Path],
        prepare: Callable[[Sequence[Path]], Iterable[list[Prepared]]],
        cancel: Callable[[], None],
        workers: int,
        slices_ahead: int,
        start: Position = BEGINNING,
        most_together: int = 1,
    ) -> None:
        self._prepare, self._cancel = prepare, cancel
        self._workers, self._ahead = workers, slices_ahead
        self._most_together = max(1, min(most_together, slices_ahead // workers))
        self._together = 1
        self._most_ready = max(_SLICES_AHEAD, 4 * slices_ahead)
        self._waiting: deque[_Group] = deque()
        self._begun = 0
        self._ready = _Count()
        self._left = 0
        self._exhausted = False
        self._placed = self._all(islice(files, start.files, None), start)

    def __iter__(self) -> Iterator[Placed]:
        return self

    def __next__(self) -> Placed:
        return next(self._placed)

    def close(self) -> None:
        """Stop the workers."""
        self._placed.close()

    def has_ready(self, slices: int) -> bool:
        """Whether so many slices, or all that there still are, can be had without waiting."""
        count = self._left
        for group in self._waiting:
            if count >= slices:
                return True
            if not group.answer.done():
                return False
            if group.answer.exception() is not None:
                return True
            files = group.answer.result().files
            count += sum(map(_slices, files))
            if len(files) < len(group.paths):
                return count >= slices
        return count >= slices or self._exhausted

    def _all(self, source: Iterator[Path], start: Position) -> Generator[Placed, None, None]:
        opening = list(islice(source, 2))
        if len(opening) < 2:
            self._exhausted = True
            # Nothing to decode ahead of: a thread would only add to its latency.
            for path in opening:
                (items,) = self._prepare([path])
                yield from self._of_file(items, start)
            return
        rest = chain(opening, source)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="decode")
        try:
            while True:
                self._begin(rest, pool)
                if not self._waiting:
                    return
                group = self._waiting.popleft()
                answer = group.answer.result()
                files = answer.files
                self._together = self._most_together if answer.was_quick else 1
                self._begun -= len(files)
                left_out = [self._submit([path], pool) for path in group.paths[len(files) :]]
                self._waiting.extendleft(reversed(left_out))
                for number, items in enumerate(files, 1):
                    behind = sum(map(_slices, files[number:]))
                    yield from self._of_file(items, start, behind)
                    self._ready.add(-len(items))
                    start = Position(start.files + 1)
        finally:
            self._cancel()
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, rest: Iterator[Path], pool: ThreadPoolExecutor) -> None:
        if self._waiting and self._ready.count > self._most_ready:
            return
        window = self._workers * self._together + self._ahead
        free = window - self._begun
        if free < self._together:
            return
        paths = list(islice(rest, free))
        self._begun += len(paths)
        self._exhausted = len(paths) < free
        for first in range(0, len(paths), self._together):
            self._waiting.append(self._submit(paths[first : first + self._together], pool))

    def _submit(self, paths: Sequence[Path], pool: ThreadPoolExecutor) -> _Group:
        return _Group(paths, pool.submit(self._prepare_and_count, paths))

    def _prepare_and_count(self, paths: Sequence[Path]) -> _Answer:
        began = time.monotonic()
        files = []
        for items in self._prepare(paths):
            self._ready.add(len(items))
            files.append(items)
        return _Answer(files, time.monotonic() - began)

    def _of_file(self, items: list[Prepared], start: Position, behind: int = 0) -> Iterator[Placed]:
        """Place the items of one file, from where it is begun; more slices are ready behind it."""
        last = len(items) - 1
        self._left = _slices(items[start.rows :]) + behind
        for index in range(start.rows, len(items)):
            item = items[index]
            self._left -= item.pixels is not None
            whole = index == last
            after = Position(start.files + 1) if whole else Position(start.files, index + 1)
            yield Placed(item, after)


def full_batches(prepared: Iterator[Placed], batch_size: int) -> Iterator[list[Placed]]:
    """Yield as many slices at once as make a full batch, with the errors that stand between them.

    Raises
    ------
    StalledError
        If files one after another give no data in time.
    """
    while batch := _next_batch(prepared, batch_size):
        yield batch


class _Count:
    """A number that several threads add to."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, number: int) -> None:
        with self._lock:
            self.count += number


def _slices(items: list[Prepared]) -> int:
    return sum(item.pixels is not None for item in items)


def _next_batch(prepared: Iterator[Placed], batch_size: int) -> list[Placed]:
    """Take slices up to a full batch, with the errors that stand between them."""
    batch: list[Placed] = []
    slices = stalled = unwanted = 0
    while slices < batch_size and (placed := next(prepared, None)) is not None:
        batch.append(placed)
        unwanted += placed.item.unwanted
        if unwanted == MAX_UNWANTED:
            # Of a folder of which little is wanted: progress is kept all the same.
            slices = batch_size
        slices += placed.item.pixels is not None
        # No batch ends between errors: those of one stall are all in this one, and not written.
        stalled = stalled + 1 if placed.item.stalled else 0
        if stalled == STALLED_IN_A_ROW:
            raise StalledError(
                f"{stalled} files in a row gave no data in time, the last of them "
                f"{placed.item.provenance.path}; check the disk or network that they lie on"
            )
    return batch
