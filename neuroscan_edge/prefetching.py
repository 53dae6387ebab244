"""Files prepared ahead of the model, in order, and put together to full batches.

However many files there are, and however many slices one of them holds, what waits is bounded.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from neuroscan_edge.decoding import Prepared
from neuroscan_edge.errors import NeuroScanError

STALLED_IN_A_ROW = 3
"""Files that give no data in time, one after another, before a run takes the folder for gone."""

_SLICES_AHEAD = 512
"""Slices that are ready beyond which no further file is begun: a file may hold a thousand."""


class StalledError(NeuroScanError):
    """The files' disk or network does not answer: going on would make errors of all the rest."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come.

    Parameters
    ----------
    files : int
        Those that are wholly done, from the first.
    rows : int
        Results of the next file that are done.
    """

    files: int = 0
    rows: int = 0


BEGINNING = Position()


@dataclass(frozen=True, slots=True)
class Placed:
    """A slice or an error, and where the next one is."""

    item: Prepared
    after: Position


def prefetch(
    files: Iterable[Path],
    prepare: Callable[[Path], list[Prepared]],
    cancel: Callable[[], None],
    workers: int,
    batch_size: int,
    start: Position = BEGINNING,
) -> Generator[Placed, None, None]:
    """Yield the slices and errors of files, in order, while those after them are prepared.

    Parameters
    ----------
    files : iterable of Path
        Consumed as it is needed.
    prepare : callable
        A file to its slices; called from several threads.
    cancel : callable
        Called at the end, early or not: what is still being prepared is not wanted.
    workers : int
        Files that are prepared at the same time.
    batch_size : int
        Slices that are taken at once: about as many are ready before.
    start : Position
        Where to begin.
    """
    source = islice(files, start.files, None)
    opening = list(islice(source, 2))
    if len(opening) < 2:
        # Nothing to decode ahead of: handing a single file to a thread only adds to its latency.
        for path in opening:
            yield from _placed(prepare(path), start.files, start.rows)
        return
    rest = chain(opening, source)
    window, most_ready = workers + batch_size, max(_SLICES_AHEAD, 4 * batch_size)
    waiting: deque[Future[list[Prepared]]] = deque()
    ready = _Count()

    def prepare_and_count(path: Path) -> list[Prepared]:
        items = prepare(path)
        ready.add(len(items))
        return items

    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    number, skipped = start.files, start.rows
    try:
        while True:
            free = window - len(waiting) if not waiting or ready.count <= most_ready else 0
            for path in islice(rest, free):
                waiting.append(pool.submit(prepare_and_count, path))
            if not waiting:
                return
            items = waiting.popleft().result()
            yield from _placed(items, number, skipped)
            ready.add(-len(items))
            number, skipped = number + 1, 0
    finally:
        cancel()
        pool.shutdown(wait=True, cancel_futures=True)


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


def _placed(items: list[Prepared], number: int, skipped: int) -> Iterator[Placed]:
    last = len(items) - 1
    for index, item in enumerate(items):
        if index >= skipped:
            after = Position(number + 1) if index == last else Position(number, index + 1)
            yield Placed(item, after)


def _next_batch(prepared: Iterator[Placed], batch_size: int) -> list[Placed]:
    """Take slices up to a full batch, with the errors that stand between them."""
    batch: list[Placed] = []
    slices = stalled = 0
    while slices < batch_size and (placed := next(prepared, None)) is not None:
        batch.append(placed)
        slices += placed.item.pixels is not None
        # No batch ends between errors: those of one stall are all in this one, and not written.
        stalled = stalled + 1 if placed.item.stalled else 0
        if stalled == STALLED_IN_A_ROW:
            raise StalledError(
                f"{stalled} files in a row gave no data in time, the last of them "
                f"{placed.item.provenance.path}; check the disk or network that they lie on"
            )
    return batch
