"""A whole benchmark: scenarios, stages, layers, sweep and cold start, into one record."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
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
from neuroscan_edge.bench.layers import measure_layers
from neuroscan_edge.bench.library import Library, open_library
from neuroscan_edge.bench.loadgen import load_loadgen, run_beside
from neuroscan_edge.bench.record import BenchRecord, new_record
from neuroscan_edge.bench.request import BenchRequest
from neuroscan_edge.bench.scenarios import SCENARIOS, ScenarioName
from neuroscan_edge.bench.stages import measure_stages
from neuroscan_edge.bench.sweep import measure_sweep
from neuroscan_edge.bench.system import BytesSystem, FilesSystem, Scope, SystemUnderTest
from neuroscan_edge.classify.decoders import (
    DecoderOptions,
    Decoders,
    ready_decoders,
    start_decoders,
)
from neuroscan_edge.classify.pipeline import AUTO_BATCH, MOST_WORKERS
from neuroscan_edge.errors import NeuroScanError, UsageError
from neuroscan_edge.model.bundle import Bundle, find_bundle, open_bundle
from neuroscan_edge.runtimes import (
    Choice,
    Parallelism,
    Runtime,
    RuntimeOptions,
    Tuned,
    choose_runtime,
    open_choice,
    tune,
)
from neuroscan_edge.runtimes.thread_tuning import WORTH_MEASURING
from neuroscan_edge.system.gpu_telemetry import GpuTelemetry, open_telemetry
from neuroscan_edge.system.machine import this_machine, usable_cores


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
    tuned: dict[int, Tuned] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        return self.request.workers or min(usable_cores(), MOST_WORKERS)

    @contextlib.contextmanager
    def runtime(self, batch_size: int = 0) -> Iterator[Runtime]:
        """Load the model, with threads and streams for batches of this size; 0: for a stream's."""
        batch_size = batch_size or self.request.batch_size or AUTO_BATCH
        tuned = self._tuned(batch_size)
        key = "one slice" if batch_size == 1 else "many slices"
        options = self.sections["options"]
        options["parallelism"][key] = f"{tuned.options.on_cpu} ({tuned.reason})"
        with open_choice(self.bundle, self.choice, tuned.options) as runtime:
            info = runtime.info
            self.sections["model"] |= {
                "runtime": info.runtime,
                "runtime_version": info.version,
                "device": info.device,
                "engine_sha256": info.engine_sha256,
            }
            options["batch_size"] = self.batch_of(runtime)
            yield runtime

    def batch_of(self, runtime: Runtime) -> int:
        """Return the slices a batch of a stream: as asked for, else as `classify` takes them."""
        return self.request.batch_size or runtime.info.batch_size or AUTO_BATCH

    def system(self, scope: Scope, runtime: Runtime) -> SystemUnderTest:
        batch_size = self.batch_of(runtime)
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

    def _tuned(self, batch_size: int) -> Tuned:
        # Once in a run for each size: measuring again at every opening would take minutes.
        if batch_size not in self.tuned:
            self.tuned[batch_size] = tune(
                self.bundle,
                self.choice,
                self.options,
                batch_size=batch_size,
                slices=WORTH_MEASURING,
                again=self.request.retune,
            )
        return self.tuned[batch_size]


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
        telemetry, no_gpu = _watch(choice)
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


def _watch(choice: Choice) -> tuple[GpuTelemetry | None, str]:
    """Watch the GPU that runs the model; a GPU that does not says nothing of this run."""
    if not choice.on_gpu:
        return None, "the model runs on the CPU"
    gpus = this_machine().gpu.gpus
    # Every runtime here takes CUDA's first GPU.
    return open_telemetry(bus_id=gpus[0].bus_id if gpus else "")


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
            "batch_size": request.batch_size or None,
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
        with opened.runtime(1) as one, opened.runtime() as many:
            sections["stages"] = measure_stages(
                opened.files_system(many, opened.batch_of(many)),
                request.stage_slices,
                alone=opened.files_system(one, 1),
            )
    if request.layer_runs:
        sections["layers"] = _layers(opened)
    if request.sweep:
        with opened.runtime() as runtime:
            sections["sweep"] = measure_sweep(runtime, opened.library.slices, request.sweep)
    if request.cold_starts:
        sections["cold_start"] = measure_cold_start(
            opened.library.files[0], _classify_options(opened), request.cold_starts
        )


def _layers(opened: _Opened) -> dict[str, Any]:
    if opened.choice.on_gpu:
        return {"reason": "layers are timed on a CPU only"}
    graph = opened.bundle.graph(opened.choice.precision).data
    one_core = replace(opened.options, parallelism=Parallelism(threads=1), timed_layers=True)
    # What was measured before is worth more than this.
    try:
        with open_choice(opened.bundle, opened.choice, one_core) as runtime:
            return measure_layers(runtime, graph, opened.library.slices, opened.request.layer_runs)
    except NeuroScanError as error:
        return {"reason": str(error)}
    except OSError as error:
        return {
            "reason": f"the times cannot be kept ({error.strerror}); check the temporary folder"
        }


def _scenario(opened: _Opened, name: ScenarioName, scope: Scope) -> Measurement:
    scenario, request = SCENARIOS[name], opened.request
    with opened.runtime(scenario.samples_per_query) as runtime:
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
    options += ["--threads", str(request.threads)]
    if request.engine is not None:
        return [*options, "--engine", str(request.engine)]
    return [*options, "--precision", str(choice.precision)]
