"""Streams of a CPU runtime: each computes one part of a batch at a time, beside the others."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from neuroscan_edge.runtimes.parallelism import PART, shares
from neuroscan_edge.runtimes.protocol import Computed, Outputs, Pending, UInt8Batch

Run = Callable[[UInt8Batch], Outputs]


class Streams:
    """Shares batches out over streams, which take part after part, those of the next batch too.

    Parameters
    ----------
    runs : sequence of callable
        Of each stream, what it computes with; at least one. Where there are several, none is called
        by two threads at once.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._runs = tuple(runs)
        # In turn: the parts of one batch, as many as streams, go to each of them (`check_answers`).
        self._idle: SimpleQueue[Run] = SimpleQueue()
        for run in runs:
            self._idle.put(run)
        several = len(self._runs) > 1
        self._pool = ThreadPoolExecutor(len(self._runs), "stream") if several else None

    @property
    def several(self) -> bool:
        """Whether there are more than one, so that `start` does not wait."""
        return self._pool is not None

    def __call__(self, batch: UInt8Batch) -> Outputs:
        """Compute a batch, (N, H, W, 1) uint8."""
        if self._pool is None:
            return self._runs[0](batch)
        if len(batch) == 1:
            # A thread would only add to its latency.
            return self._run(batch)
        return self.start(batch).result()

    def start(self, batch: UInt8Batch) -> Pending:
        """Start on a batch, (N, H, W, 1) uint8, which is to stay as it is until it is done.

        With one stream it is done on return.
        """
        if self._pool is None:
            return Computed(self._runs[0](batch))
        parts = shares(len(batch), len(self._runs), at_most=PART)
        return _Parts([self._pool.submit(self._run, batch[part]) for part in parts])

    def close(self) -> None:
        """Wait for parts that are being computed; those not yet begun never are."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _run(self, part: UInt8Batch) -> Outputs:
        run = self._idle.get()
        try:
            return run(part)
        finally:
            self._idle.put(run)


class _Parts:
    """The parts of a batch, in order."""

    def __init__(self, begun: Sequence[Future[Outputs]]) -> None:
        self._begun = begun

    def result(self) -> Outputs:
        try:
            return Outputs.joined([each.result() for each in self._begun])
        except BaseException:
            self.cancel()
            raise

    def cancel(self) -> None:
        for each in self._begun:
            each.cancel()
