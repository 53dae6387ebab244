"""Baseline, graphs and engine on the same bytes, stage by stage."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import Bundle, Graph
from neuroscan_edge.parity.baseline_predictions import FloatRows, faults_of_probabilities
from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap, resample, stratified_draws
from neuroscan_edge.parity.evaluation.comparison import Measured, compare_with_baseline
from neuroscan_edge.parity.evaluation.metrics import classification_metrics
from neuroscan_edge.parity.gate import Criterion, Gate, judge
from neuroscan_edge.parity.slices import LabelledSlices
from neuroscan_edge.runtimes.parallelism import Parallelism
from neuroscan_edge.runtimes.protocol import Runtime
from neuroscan_edge.spec import Precision

BATCH = 16
CONTRACT = "contract"
PREPROCESSING = "preprocessing"
BASELINE = "baseline"
ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, run or not.

    Parameters
    ----------
    name : str
        ``contract``, ``preprocessing``, ``baseline``, ``fp32``, ``fp16``, ``int8``,
        ``int8-gpu-form`` or ``engine``.
    what : str
        In words.
    sha256 : str or None
        Of the file that computed.
    probabilities : (N, C) float32 or None
        Its outputs.
    faults : tuple of str
        What is wrong with it, whatever it decides.
    not_run : str or None
        Why there are no outputs.
    changed : tuple of int
        Slices that this stage changes where it has no outputs: other bytes.
    seconds : float
        How long it ran.
    """

    name: str
    what: str
    sha256: str | None = None
    probabilities: FloatRows | None = field(default=None, repr=False)
    faults: tuple[str, ...] = ()
    not_run: str | None = None
    changed: tuple[int, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JudgedStage:
    """A stage held against the baseline.

    Parameters
    ----------
    stage : Stage
        What ran.
    measured : Measured or None
        Its figures; None where it gave no finite outputs.
    comparison : dict or None
        From `compare_with_baseline`; None for the baseline itself and what was not measured.
    criteria : tuple of Criterion
        The gate, line by line.
    changed : tuple of int
        Slices it decides otherwise than the stage that ran before it.
    """

    stage: Stage
    measured: Measured | None = None
    comparison: dict[str, Any] | None = None
    criteria: tuple[Criterion, ...] = ()
    changed: tuple[int, ...] = ()

    def following(self, before: FloatRows) -> "JudgedStage":
        """Say what changes against other outputs, (N, C) float32, that the stage follows."""
        if self.measured is None:
            return self
        after = self.measured.probabilities.argmax(axis=1)
        changed = np.flatnonzero(after != before.argmax(axis=1))
        return replace(self, changed=tuple(map(int, changed)))

    @property
    def status(self) -> str:
        """``passed``, ``failed`` or ``not run``."""
        if self.stage.faults or not all(each.passed for each in self.criteria):
            return "failed"
        return "not run" if self.stage.not_run else "passed"


def run_stage(
    name: str,
    what: str,
    sha256: str,
    slices: LabelledSlices,
    open_it: Callable[[], Runtime],
    faults: Sequence[str] = (),
) -> Stage:
    """Run a graph or an engine over the slices.

    What a runtime refuses is a fault of the stage; outputs that are no probabilities are too.
    """
    started = time.perf_counter()
    try:
        with open_it() as runtime:
            rows = predict(runtime, slices.inputs)
    except NeuroScanError as error:
        return Stage(name, what, sha256, faults=(*faults, f"it does not run: {error}"))
    wanted = (len(slices.inputs), len(slices.labels))
    if rows.shape != wanted:
        wrong = f"it gives {rows.shape} outputs, not {wanted}"
        return Stage(name, what, sha256, faults=(*faults, wrong))
    seconds = time.perf_counter() - started
    faults = (*faults, *faults_of_probabilities(rows))
    return Stage(name, what, sha256, rows, tuple(faults), seconds=seconds)


def predict(runtime: Runtime, inputs: npt.NDArray[np.uint8], batch: int = 0) -> FloatRows:
    """Run a model over inputs, (N, H, W, 1) uint8, in batches; returns (N, C) float32."""
    size = batch or runtime.info.batch_size or BATCH
    starts = range(0, len(inputs), size)
    return np.concatenate([runtime(inputs[start : start + size]) for start in starts])


def open_graph(bundle: Bundle, graph: Graph, threads: int) -> Runtime:
    """Open a graph in ONNX Runtime on the CPU, as it is defined: the reference of its stage."""
    from neuroscan_edge.runtimes.onnxrt.runner import OnnxRuntime

    return OnnxRuntime(bundle, graph, Parallelism(threads), as_defined=True)


class Judge:
    """Holds stages against one baseline: the same slices, the same draws.

    Parameters
    ----------
    slices : LabelledSlices
        What all stages ran on.
    baseline : (N, C) float32
        What the baseline answered.
    gate : Gate
        Limits by precision.
    bootstrap : Bootstrap
        How intervals are made.
    """

    def __init__(
        self, slices: LabelledSlices, baseline: FloatRows, gate: Gate, bootstrap: Bootstrap
    ) -> None:
        self._slices, self._gate, self._bootstrap = slices, gate, bootstrap
        self._draws = stratified_draws(slices.targets, slices.groups, bootstrap)
        self.baseline = self._measure(baseline)

    def judge(self, stage: Stage, before: FloatRows, precision: Precision) -> JudgedStage:
        """Judge a stage by the limits of a precision; `before` are the outputs it follows."""
        rows = stage.probabilities
        if rows is None:
            return JudgedStage(stage, changed=stage.changed)
        if not np.isfinite(rows).all():
            lost = np.flatnonzero(~np.isfinite(rows).all(axis=1))
            return JudgedStage(stage, changed=tuple(map(int, lost)))
        measured = self._measure(rows)
        comparison = compare_with_baseline(
            self._slices.targets,
            measured,
            self.baseline,
            self._slices.labels,
            self._gate.negative_label,
            self._bootstrap,
            self._draws,
        )
        criteria = judge(self._gate.limits(precision), comparison)
        return JudgedStage(stage, measured, comparison, criteria).following(before)

    def _measure(self, rows: FloatRows) -> Measured:
        targets = self._slices.targets
        return Measured(
            metrics=classification_metrics(targets, rows, self._slices.labels),
            probabilities=rows,
            resampled=resample(self._draws, targets, rows),
        )
