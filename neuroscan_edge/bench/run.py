"""A whole benchmark: scenarios, stages, cold start and sweep, into one record."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from neuroscan_edge.bench.cold_start import measure_cold_start
from neuroscan_edge.bench.environment import (
    describe_machine,
    describe_software,
    load_average,
    peak_memory_bytes,
    pin_to,
)
from neuroscan_edge.bench.harness import Measurement, Verdict, run_scenario
from neuroscan_edge.bench.library import Library, open_library
from neuroscan_edge.bench.loadgen import load_loadgen, run_beside
from neuroscan_edge.bench.record import BenchRecord, new_record
from neuroscan_edge.bench.scenarios import SCENARIOS, Pace, ScenarioName
from neuroscan_edge.bench.stages import measure_stages
from neuroscan_edge.bench.sweep import measure_sweep
from neuroscan_edge.bench.system import BytesSystem, FilesSystem, Scope, SystemUnderTest
from neuroscan_edge.bundle import Bundle, find_bundle, open_bundle
from neuroscan_edge.decoding import DecoderOptions, Decoders, ready_decoders, start_decoders
from neuroscan_edge.errors import SpecError, UsageError
from neuroscan_edge.gpu.telemetry import GpuTelemetry, open_telemetry
from neuroscan_edge.machine import usable_cores
from neuroscan_edge.pipeline import AUTO_BATCH, MOST_WORKERS, PipelineOptions
from neuroscan_edge.runtimes import (
    Choice,
    Runtime,
    RuntimeOptions,
    Tuned,
    choose_runtime,
    open_choice,
    tune,
)
from neuroscan_edge.runtimes.tuning import WORTH_MEASURING
from neuroscan_edge.spec import MAX_BATCH, Precision, RuntimeName


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
    stage_slices, cold_starts : int
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
        if min(self.stage_slices, self.cold_starts) < 0:
            raise SpecError("stage slices and cold starts must be 0 or more")


@dataclass(slots=True)
class _Opened:
    """What every part of a run uses, and what it has found so far."""

    request: BenchRequest
    bundle: Bundle
    choice: Choice
    options: RuntimeOptions
    library: Library
    telemetry: GpuTelemetry | None
    decoders: Decoders | None
    sections: dict[str, Any]

    @property
    def workers(self) -> int:
        return self.request.workers or min(usable_cores(), MOST_WORKERS)

    @property
    def batch_size(self) -> int:
        return self.request.batch_size or AUTO_BATCH

    @contextlib.contextmanager
    def runtime(self, batch_size: int) -> Iterator[Runtime]:
        """Load the model, with threads and streams for batches of this size."""
        tuned = tune(
            self.bundle,
            self.choice,
            self.options,
            batch_size=batch_size,
            slices=WORTH_MEASURING,
            again=self.request.retune,
        )
        self._note(batch_size, tuned)
        with open_choice(self.bundle, self.choice, tuned.options) as runtime:
            info = runtime.info
            self.sections["model"] |= {
                "runtime": info.runtime,
                "runtime_version": info.version,
                "device": info.device,
                "engine_sha256": info.engine_sha256,
            }
            yield runtime

    def system(self, scope: Scope, runtime: Runtime) -> SystemUnderTest:
        batch_size = self.request.batch_size or runtime.info.batch_size or AUTO_BATCH
        if scope is Scope.RUNTIME:
            return BytesSystem(self.library.slices, runtime, batch_size)
        return self.files_system(runtime, batch_size)

    def files_system(self, runtime: Runtime, batch_size: int) -> FilesSystem:
        files = self.library.files
        return FilesSystem(
            files, self.bundle, runtime, self.workers, batch_size, decoders=self.decoders
        )

    def sample(self, slices: int) -> None:
        if self.telemetry is not None:
            self.telemetry.sample(slices)

    def _note(self, batch_size: int, tuned: Tuned) -> None:
        key = "one slice" if batch_size == 1 else "many slices"
        self.sections["options"]["parallelism"][key] = f"{tuned.options.on_cpu} ({tuned.reason})"


def run_bench(request: BenchRequest) -> BenchRecord:
    """Measure. An interrupt ends it with a record of what there is, marked partial.

    Raises
    ------
    UsageError
        If there are no scans.
    MissingDependencyError
        If LoadGen or the runtime is asked for and not installed.
    EngineError
        If the engine does not fit this machine.
    """
    try:
        pin_to(request.pin)
    except (OSError, ValueError) as error:
        raise UsageError(f"cores {request.pin} cannot be used ({error}); see --pin") from error
    if request.loadgen:
        # Told now rather than after the first scenario.
        load_loadgen()
    bundle = open_bundle(find_bundle(request.model))
    options = RuntimeOptions(
        request.precision,
        request.threads,
        request.runtime,
        request.engine,
        request.batch_size or None,
    )
    choice = choose_runtime(bundle, options)
    library = open_library(
        request.inputs, bundle.preprocessing, request.samples, noise=request.noise
    )
    with library as samples, contextlib.ExitStack() as stack:
        decoders = ready_decoders(start_decoders(DecoderOptions(), stack))
        telemetry, no_gpu = open_telemetry()
        sections = _opening(request, bundle, choice, samples)
        opened = _Opened(request, bundle, choice, options, samples, telemetry, decoders, sections)
        try:
            _measure(opened)
        except KeyboardInterrupt:
            sections["interrupted"] = True
        sections["memory"] = {"peak_host_bytes": peak_memory_bytes()}
        sections["load_average_after"] = load_average()
        sections["gpu"] = {"reason": no_gpu or "watched: see each scenario"}
        if telemetry is not None:
            telemetry.stop()
    return new_record(sections)


def _opening(
    request: BenchRequest, bundle: Bundle, choice: Choice, library: Library
) -> dict[str, Any]:
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "interrupted": False,
        "machine": describe_machine(),
        "software": describe_software(),
        "load_average_before": load_average(),
        "model": {
            "bundle": bundle.name,
            "files": {name: each.sha256 for name, each in bundle.files.items()},
            "preprocessing_sha256": bundle.preprocessing.sha256,
            "precision": str(choice.precision),
            "choice": choice.reason,
        },
        "options": {
            "pace": {
                name: getattr(request.pace, name)
                for name in ("warm_up_s", "min_duration_s", "max_duration_s", "windows", "spread")
            },
            "batch_size": request.batch_size or AUTO_BATCH,
            "workers": request.workers or min(usable_cores(), MOST_WORKERS),
            "threads": request.threads,
            "parallelism": {},
            "pinned_to": list(request.pin),
            "harness": "loadgen" if request.loadgen else "own",
        },
        "input": {
            "kind": library.kind,
            "samples": len(library.files),
            "left_out": library.left_out,
            "notes": _notes(request, len(library.files)),
        },
        "scenarios": [],
    }


def _notes(request: BenchRequest, samples: int) -> list[str]:
    """Say where a percentile is taken over fewer scans than it needs."""
    notes = []
    for name in request.scenarios:
        scenario = SCENARIOS[name]
        needed = scenario.queries_needed * scenario.samples_per_query
        if samples < needed:
            notes.append(
                f"{name}: p{100 * (scenario.percentile or 0):.0f} needs {needed} slices in "
                f"{scenario.queries_needed} queries, there are {samples} scans: they are repeated. "
                f"Give {needed} or more to speak of as many different scans"
            )
    return notes


def _measure(opened: _Opened) -> None:
    request, sections = opened.request, opened.sections
    for name in request.scenarios:
        for scope in request.scopes:
            measured = _scenario(opened, name, scope)
            if measured.verdict is Verdict.PARTIAL:
                raise KeyboardInterrupt
    if request.stage_slices:
        with opened.runtime(1) as one, opened.runtime(opened.batch_size) as many:
            sections["stages"] = measure_stages(
                opened.files_system(many, opened.batch_size),
                request.stage_slices,
                alone=opened.files_system(one, 1),
            )
    if request.sweep:
        with opened.runtime(opened.batch_size) as runtime:
            sections["sweep"] = measure_sweep(runtime, opened.library.slices, request.sweep)
    if request.cold_starts:
        sections["cold_start"] = measure_cold_start(
            opened.library.files[0], _classify_options(opened), request.cold_starts
        )


def _scenario(opened: _Opened, name: ScenarioName, scope: Scope) -> Measurement:
    scenario, request = SCENARIOS[name], opened.request
    with opened.runtime(scenario.samples_per_query or opened.batch_size) as runtime:
        system = opened.system(scope, runtime)
        measured = run_scenario(scenario, system, request.pace, each_window=opened.sample)
        section = {"scope": str(scope), **measured.to_json()}
        if opened.telemetry is not None:
            section["gpu"] = opened.telemetry.summary()
        opened.sections["scenarios"].append(section)
        if request.loadgen and measured.verdict is not Verdict.PARTIAL:
            section["loadgen"] = run_beside(
                scenario, system, request.pace, section, rounds=request.loadgen_rounds
            )
    return measured


def _classify_options(opened: _Opened) -> list[str]:
    request, choice = opened.request, opened.choice
    options = ["--model", str(opened.bundle.folder), "--runtime", str(choice.installed.name)]
    if request.engine is not None:
        return [*options, "--engine", str(request.engine)]
    options += ["--precision", str(choice.precision)]
    return [*options, "--threads", str(request.threads)]
