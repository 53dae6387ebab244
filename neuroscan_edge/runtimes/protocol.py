"""What every inference runtime offers, whatever runs beneath."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.graph.output_names import HEATMAPS, OUTLIER_SCORE
from neuroscan_edge.spec import Precision

UInt8Batch = npt.NDArray[np.uint8]
UInt8Slice = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What is running, for results and records.

    Parameters
    ----------
    runtime : str
        ``onnxruntime``, ``openvino``, ``tensorrt``, ...
    version : str
        Of the runtime.
    device : str
        ``cpu`` or the GPU's name.
    precision : Precision
        Of the graph.
    engine_sha256 : str
        Of the very file that was verified and loaded.
    batch_size : int or None
        Slices a call that keep it busy; None leaves that to the caller.
    preprocessing : str
        Where slices are preprocessed: ``cpu`` or ``cuda``, and in parentheses with what, or why.
    """

    runtime: str
    version: str
    device: str
    precision: Precision
    engine_sha256: str
    batch_size: int | None = None
    preprocessing: str = "cpu"


class Runtime(Protocol):
    """A loaded model: a context manager that turns batches into probabilities."""

    @property
    def info(self) -> RuntimeInfo:
        """What is running."""
        ...

    def __enter__(self) -> "Runtime": ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __call__(self, batch: UInt8Batch) -> Probabilities:
        """Classify a batch.

        batch : (N, H, W, 1) uint8, N at least 1. Returns (N, classes) float32, which the caller
        owns: no buffer is shared with another call.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outputs:
    """All that a model gives for a batch; the caller owns every array.

    Parameters
    ----------
    probabilities : (N, C) float32
        Of the classes.
    outlier_scores : (N,) float32 or None
        How far each slice lies from training; None where the graph does not give it.
    heatmaps : (N, C, H, W) float32 or None
        Grad-CAM of every class; None unless the model was opened with them.
    """

    probabilities: Probabilities
    outlier_scores: npt.NDArray[np.float32] | None = None
    heatmaps: npt.NDArray[np.float32] | None = None

    @classmethod
    def named(cls, names: Sequence[str], values: Sequence[npt.NDArray[np.float32]]) -> "Outputs":
        """Make it of the probabilities and what else a graph gives, by the outputs' names."""
        others = dict(zip(names[1:], values[1:], strict=True))
        return cls(values[0], others.get(OUTLIER_SCORE), others.get(HEATMAPS))

    @classmethod
    def joined(cls, parts: Sequence["Outputs"]) -> "Outputs":
        """Put the outputs of a batch's parts together, in their order."""
        if len(parts) == 1:
            return parts[0]
        scores = [each.outlier_scores for each in parts if each.outlier_scores is not None]
        maps = [each.heatmaps for each in parts if each.heatmaps is not None]
        return cls(
            np.concatenate([each.probabilities for each in parts]),
            np.concatenate(scores) if scores else None,
            np.concatenate(maps) if maps else None,
        )


@runtime_checkable
class JudgingRuntime(Protocol):
    """A runtime that also gives what a graph has beside its probabilities."""

    def outputs(self, batch: UInt8Batch) -> Outputs:
        """Classify a batch, (N, H, W, 1) uint8, and give all of the graph's outputs."""
        ...


class Pending(Protocol):
    """A batch that a runtime has started on."""

    def result(self) -> Outputs:
        """Wait for it."""
        ...

    def cancel(self) -> None:
        """Have no more of it computed than what is being computed."""
        ...


@dataclass(frozen=True, slots=True)
class Computed:
    """A batch that was computed at once, as `Pending`.

    Parameters
    ----------
    outputs : Outputs
        Of it.
    """

    outputs: Outputs

    def result(self) -> Outputs:
        """Return them."""
        return self.outputs

    def cancel(self) -> None:
        """Do nothing."""


@runtime_checkable
class OverlappingRuntime(Protocol):
    """A runtime that can begin with a batch while it is at work on the one before."""

    @property
    def overlaps(self) -> bool:
        """Whether that gains anything; else `start` computes before it returns."""
        ...

    def start(self, batch: UInt8Batch) -> Pending:
        """Start on a batch, (N, H, W, 1) uint8, which is to stay as it is until it is done."""
        ...


def overlapping(runtime: Runtime) -> OverlappingRuntime | None:
    """Return the runtime if it gains from being given the next batch early."""
    if isinstance(runtime, OverlappingRuntime) and runtime.overlaps:
        return runtime
    return None


def outputs_in_turn(
    runtime: Runtime, batches: Iterable[UInt8Batch]
) -> Generator[Outputs, None, None]:
    """Yield what is computed of each batch, (N, H, W, 1) uint8, in order.

    Where the runtime gains from it, the next batch is begun before one is done.
    """
    ahead = overlapping(runtime)
    if ahead is None:
        for batch in batches:
            yield Outputs(runtime(batch))
        return
    begun: deque[Pending] = deque()
    try:
        for batch in batches:
            begun.append(ahead.start(batch))
            if len(begun) > 1:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for pending in begun:
            pending.cancel()


@runtime_checkable
class RawSliceRuntime(Protocol):
    """A runtime that can also preprocess, on the device that it computes on.

    Beside `Runtime`: a slice goes there as it was decoded, and what the kernels make of it is in
    the engine's input when the engine starts, with no wait between.
    """

    @property
    def takes_raw(self) -> bool:
        """Whether `run_raw` may be called; else slices come preprocessed."""
        ...

    def run_raw(self, slices: Sequence[UInt8Slice]) -> Probabilities:
        """Preprocess and classify.

        slices : at least one (H, W) uint8, of any sizes, each passed by
        `neuroscan_edge.preprocess.packing.check_slice`. Returns (N, classes) float32, which the
        caller owns.
        """
        ...

    def outputs_raw(self, slices: Sequence[UInt8Slice]) -> Outputs:
        """Preprocess and classify as `run_raw` does, and give all of the graph's outputs."""
        ...


ReportDeviceTimes = Callable[[float, float, float, float], None]
"""Called for each batch with the milliseconds of upload, preprocessing, compute and download."""


@runtime_checkable
class DeviceTimed(Protocol):
    """A runtime whose device times its own work, as CUDA events do."""

    def report_device_times(self, report: ReportDeviceTimes | None) -> None:
        """Report every batch from now on; None stops, and then nothing is recorded."""
        ...


@dataclass(frozen=True, slots=True)
class LayerTime:
    """What one layer of a loaded model took.

    Parameters
    ----------
    name : str
        As the runtime calls it.
    operator : str
        The runtime's word for what computes it.
    int8 : bool
        Whether it computes in INT8.
    ms : tuple of float
        Of the whole batch, run for run; one mean of all runs where a runtime tells no more.
    """

    name: str
    operator: str
    int8: bool
    ms: tuple[float, ...]


@runtime_checkable
class LayerTimed(Protocol):
    """A runtime that, opened for it, tells the time of each of its layers."""

    def layer_times(self, batch: UInt8Batch, runs: int) -> list[LayerTime]:
        """Run a batch, (N, H, W, 1) uint8, `runs` times, and return the layers that computed.

        To be called once.
        """
        ...
