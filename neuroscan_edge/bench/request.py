"""What to measure, and how: everything that a run can be asked."""

from dataclasses import dataclass, field
from pathlib import Path

from neuroscan_edge.bench.scenarios import Pace, ScenarioName
from neuroscan_edge.bench.system import Scope
from neuroscan_edge.classify.pipeline import PipelineOptions
from neuroscan_edge.errors import SpecError
from neuroscan_edge.spec import MAX_BATCH, Precision, RuntimeName

_MOST_LAYER_RUNS = 1000
"""ONNX Runtime's profiler keeps a million events, one for each layer and run."""


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What to measure and how.

    Parameters
    ----------
    inputs : tuple of Path
        Scans, or folders of them; empty with `noise`.
    scenarios : tuple of ScenarioName
        In this order.
    scopes : tuple of Scope
        Pipeline, bare runtime, or both.
    pace : Pace
        How long.
    loadgen : bool
        Run MLPerf's LoadGen as well, over the same system.
    loadgen_rounds : int
        How often both harnesses take their turn before they are compared.
    model, precision, runtime, engine, batch_size, workers, threads
        As for ``classify``; 0 chooses.
    samples : int
        Scans at most.
    noise : bool
        Random noise in place of scans.
    pin : tuple of int
        Cores to stay on; empty leaves that to the system.
    stage_slices, layer_runs, cold_starts : int
        How many to time; 0 leaves the part out.
    sweep : tuple of int
        Batch sizes; empty leaves the part out.
    retune : bool
        Measure threads and streams again.
    """

    inputs: tuple[Path, ...] = ()
    scenarios: tuple[ScenarioName, ...] = tuple(ScenarioName)
    scopes: tuple[Scope, ...] = (Scope.PIPELINE,)
    pace: Pace = field(default_factory=Pace)
    loadgen: bool = False
    loadgen_rounds: int = 1
    model: str | None = None
    precision: Precision | None = None
    runtime: RuntimeName | None = None
    engine: Path | None = None
    batch_size: int = 0
    workers: int = 0
    threads: int = 0
    samples: int = 256
    noise: bool = False
    pin: tuple[int, ...] = ()
    stage_slices: int = 64
    layer_runs: int = 20
    cold_starts: int = 5
    sweep: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    retune: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.samples <= 100_000:
            raise SpecError(f"samples is {self.samples}; give 1 to 100000")
        # Refused here as `classify` refuses them, and before anything is measured.
        PipelineOptions(self.batch_size, self.workers or 1)
        if self.loadgen_rounds < 1:
            raise SpecError(f"LoadGen rounds is {self.loadgen_rounds}; give 1 or more")
        if not self.scenarios or not self.scopes:
            raise SpecError("there is no scenario or no scope; give at least one of each")
        if any(not 1 <= size <= MAX_BATCH for size in self.sweep):
            raise SpecError(f"batch sizes {self.sweep} of the sweep; give 1 to {MAX_BATCH}")
        if min(self.stage_slices, self.layer_runs, self.cold_starts) < 0:
            raise SpecError("stage slices, layer runs and cold starts must be 0 or more")
        if self.layer_runs > _MOST_LAYER_RUNS:
            raise SpecError(f"layer runs is {self.layer_runs}; give 0 to {_MOST_LAYER_RUNS}")
