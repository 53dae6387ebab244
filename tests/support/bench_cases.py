"""Clocks that obey and systems that take a known time: no test waits, none depends on the load."""

from collections.abc import Callable, Iterable, Iterator

MS = 1_000_000


class Clock:
    """Nanoseconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


class FakeSystem:
    """Answers a query in the time that `cost_ms` gives for its number."""

    def __init__(
        self, clock: Clock, cost_ms: Callable[[int], float], samples: int = 10, batch_size: int = 4
    ) -> None:
        self.clock, self.cost_ms = clock, cost_ms
        self.samples, self.batch_size = samples, batch_size
        self.queries: list[list[int]] = []
        self.closed = False

    def query(self, indices: list[int]) -> None:
        self.clock.now += round(self.cost_ms(len(self.queries)) * MS)
        self.queries.append(indices)

    def stream(self, indices: Iterable[int]) -> Iterator[None]:
        batch: list[int] = []
        try:
            for index in indices:
                batch.append(index)
                if len(batch) == self.batch_size:
                    self.query(batch)
                    yield from (None for _ in batch)
                    batch = []
            if batch:
                self.query(batch)
                yield from (None for _ in batch)
        finally:
            self.closed = True
