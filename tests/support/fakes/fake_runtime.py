"""Runtimes that keep the protocol and compute means: one at once, one when it is waited for."""

import time
from types import TracebackType

import numpy as np

from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.runtimes.protocol import Outputs
from neuroscan_edge.spec import Precision


class FakeRuntime:
    """Keeps the protocol: records batches, and answers from each slice's mean."""

    def __init__(self, delay_s: float = 0.0, spoil: float | None = None) -> None:
        self.batches: list[np.ndarray] = []
        self._delay_s = delay_s
        self._spoil = spoil
        self.info = RuntimeInfo("fake", "1", "cpu", Precision.FP32, "0" * 64)

    def __enter__(self) -> "FakeRuntime":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch)
        time.sleep(self._delay_s)
        mean = batch.reshape(len(batch), -1).mean(axis=1, dtype=np.float32) / 255
        rows = np.stack([mean, 1 - mean, 0 * mean, 0 * mean], axis=1).astype(np.float32)
        if self._spoil is not None:
            rows[-1, 0] = self._spoil
        return rows


class OverlappingFake(FakeRuntime):
    """Computes when it is waited for, and notes what was begun, done and cancelled, in order.

    Starting takes so long that what comes next is decoded by then.
    """

    overlaps = True

    def __init__(self, start_s: float = 0.3, **options: float) -> None:
        super().__init__(**options)
        self.said: list[str] = []
        self._start_s = start_s

    def start(self, batch: np.ndarray) -> "Begun":
        begun = Begun(self, batch, sum(word.startswith("begun") for word in self.said))
        time.sleep(self._start_s)
        return begun


class Begun:
    """A batch that an `OverlappingFake` was given."""

    def __init__(self, runtime: OverlappingFake, batch: np.ndarray, number: int) -> None:
        self._runtime, self._batch, self._number = runtime, batch, number
        self._say("begun")

    def result(self) -> Outputs:
        self._say("done")
        return Outputs(self._runtime(self._batch))

    def cancel(self) -> None:
        self._say("cancelled")

    def _say(self, what: str) -> None:
        self._runtime.said.append(f"{what} {self._number}")
