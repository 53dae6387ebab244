"""Streams of a CPU runtime: each computes one part of a batch at a time, beside the others."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from neuroscan_edge.runtimes.base import Outputs, Pending, UInt8Batch
from neuroscan_edge.runtimes.parallelism import PART, shares

Run = Callable[[UInt8Batch], Outputs]


class Streams:
    """Shares batches out over streams, which take part after part, those of the next batch too.

    Parameters
    ----------
    runs : sequence of callable
        Of each stream, what it computes with; never called by two threads at once. At least one.
    """

    def __init__(self, runs: Sequence[Run]) -> None:
        self._count = len(runs)
        # In turn: the parts of one batch, as many as streams, go to each of them (`check_answers`).
        self._idle: SimpleQueue[Run] = SimpleQueue()
        for run in runs:
            self._idle.put(run)
        self._pool = ThreadPoolExecutor(self._count, "stream") if self._count > 1 else None

    @property
    def several(self) -> bool:
        """Whether there are more than one, so that `start` does not wait."""
        return self._pool is not None

    def __call__(self, batch: UInt8Batch) -> Outputs:
        """Compute a batch, (N, H, W, 1) uint8."""
        if len(batch) == 1:
            # A thread would only add to its latency.
            return self._run(batch)
        return self.start(batch)()

    def start(self, batch: UInt8Batch) -> Pending:
        """Start on a batch, (N, H, W, 1) uint8, which is to stay as it is until it is done.

        With one stream it is done on return.
        """
        if self._pool is None:
            outputs = self._run(batch)
            return lambda: outputs
        parts = shares(len(batch), self._count, at_most=PART)
        begun = [self._pool.submit(self._run, batch[part]) for part in parts]
        return lambda: Outputs.joined([each.result() for each in begun])

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
