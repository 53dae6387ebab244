"""What every inference runtime offers, whatever runs beneath."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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


ReportDeviceTimes = Callable[[float, float, float, float], None]
"""Called for each batch with the milliseconds of upload, preprocessing, compute and download."""


@runtime_checkable
class DeviceTimed(Protocol):
    """A runtime whose device times its own work, as CUDA events do."""

    def report_device_times(self, report: ReportDeviceTimes | None) -> None:
        """Report every batch from now on; None stops, and then nothing is recorded."""
        ...
