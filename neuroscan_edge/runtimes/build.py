"""Building an engine: the bundle's graph of one precision, compiled for one runtime and machine."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import (
    BuildError,
    LayerPrecisionError,
    MissingDependencyError,
    NeuroScanError,
    RuntimeNotAvailableError,
    SpecError,
    UsageError,
)
from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, Bundle
from neuroscan_edge.model.engine.installed import Installed, installed, load_flavour
from neuroscan_edge.model.engine.layers import BuiltLayer, compare_layers, require_planned
from neuroscan_edge.model.engine.manifest import (
    ENGINES,
    BatchProfile,
    EngineManifest,
    StoredEngine,
    file_records,
    write_engine,
)
from neuroscan_edge.model.engine.runtime_graph import graph_for
from neuroscan_edge.model.graph.layer_plan import LayerPlan
from neuroscan_edge.model.graph.output_names import HEATMAPS
from neuroscan_edge.runtimes.build_progress import Report
from neuroscan_edge.runtimes.trt.builder import TensorRTOptions, build_plan, supported_targets
from neuroscan_edge.spec import MAX_BATCH, Precision, RuntimeName
from neuroscan_edge.system.files import write_whole
from neuroscan_edge.system.machine import Machine, this_machine
from neuroscan_edge.system.optional import require

PLAN_FILE = "engine.plan"
MAX_OPTIMIZATION_LEVEL = 5
_WHY = "to build an engine for it"
_ON_A_CPU = Precision.INT8


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What to build.

    Parameters
    ----------
    runtime : RuntimeName or None
        None takes the fastest that is installed and has its GPU here.
    precision : Precision or None
        None is FP16 for a GPU, INT8 for a CPU.
    batch : BatchProfile
        Batches a GPU engine takes; those of CPU runtimes are free.
    targets : tuple of str
        Compute capabilities such as ``8.6``, for TensorRT for RTX; empty is the GPU at hand, or
        all it can build for where there is none.
    optimization_level : int or None
        0 to 5; None is the builder's default.
    workspace_mib : int or None
        Most scratch memory, in MiB.
    timing_cache : Path or None
        File with timings of earlier builds, for TensorRT; made if absent.
    output : Path or None
        Folder for the engine; None is inside the bundle.
    heatmaps : bool
        Whether the engine also draws: every batch then costs what its heatmaps cost.
    """

    runtime: RuntimeName | None = None
    precision: Precision | None = None
    batch: BatchProfile = BatchProfile(1, 8, 32)
    targets: tuple[str, ...] = ()
    optimization_level: int | None = None
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    output: Path | None = None
    heatmaps: bool = False

    def __post_init__(self) -> None:
        batch = self.batch
        if not 1 <= batch.min <= batch.opt <= batch.max <= MAX_BATCH:
            raise SpecError(
                f"the batch is {batch.min}, {batch.opt}, {batch.max}; give min, opt and max in "
                f"this order, 1 to {MAX_BATCH}"
            )
        level = self.optimization_level
        if level is not None and not 0 <= level <= MAX_OPTIMIZATION_LEVEL:
            raise SpecError(f"the optimisation level is {level}; give 0 to 5")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise SpecError(f"the workspace is {self.workspace_mib} MiB; give at least 1")
        for target in self.targets:
            major, _, minor = target.partition(".")
            if not (major.isdigit() and minor.isdigit()):
                raise SpecError(f"target {target!r} is no compute capability such as 8.6")


@dataclass(frozen=True, slots=True)
class _Compiled:
    files: dict[str, bytes]
    layers: Sequence[BuiltLayer]
    compute_capabilities: tuple[str, ...] = ()
    batch: BatchProfile = BatchProfile(1, 1, MAX_BATCH)


def build_engine(bundle: Bundle, options: BuildOptions, report: Report) -> StoredEngine:
    """Build an engine, prove its precision, and write it with its manifest.

    Parameters
    ----------
    bundle : Bundle
        Whose graph is compiled; nothing else is needed.
    options : BuildOptions
        What to build.
    report : Report
        Told how far the build is.

    Raises
    ------
    PrecisionNotAvailableError
        If the bundle has no such graph.
    MissingDependencyError
        If the runtime is not installed.
    BuildError
        If the builder refuses, or logs any error.
    LayerPrecisionError
        If fewer layers are in INT8 than planned.
    """
    machine = this_machine()
    runtime = installed(options.runtime or preferred_runtime(machine), _WHY)
    precision = options.precision or (Precision.FP16 if runtime.name.on_gpu else _ON_A_CPU)
    if runtime.name is RuntimeName.OPENVINO and precision is Precision.INT8:
        _require_exact_int8(machine)
    source = bundle.graph(precision)
    calibration = _calibration(bundle) if precision is Precision.INT8 else None
    data, plan = graph_for(
        source, runtime.name, exact_int8=machine.exact_int8, heatmaps=options.heatmaps
    )
    started = time.perf_counter()
    if runtime.name.on_gpu:
        compiled = _compile_tensorrt(bundle, data, runtime, machine, options, report)
    else:
        compiled = _compile_cpu(data, runtime.name, options)
    build_s = round(time.perf_counter() - started, 3)
    layers = _proven(plan, compiled.layers, runtime)
    manifest = EngineManifest(
        model=bundle.name,
        runtime=runtime.name,
        runtime_version=runtime.version,
        precision=precision,
        files=file_records(compiled.files),
        graph={
            "source": GRAPHS[precision],
            "source_sha256": source.sha256,
            "sha256": hashlib.sha256(data).hexdigest(),
            "size_bytes": len(data),
        },
        platform=machine.platform_for(runtime.name, precision),
        compute_capabilities=compiled.compute_capabilities,
        cuda_major=runtime.cuda_major,
        built_on=_built_on(machine),
        input=bundle.manifest["input"],
        output=bundle.manifest["output"],
        batch=compiled.batch,
        layers={"planned": plan.to_json(), "found": layers},
        calibration=calibration,
        preprocessing_sha256=bundle.preprocessing.sha256,
        labels=bundle.labels,
        builder={
            "optimization_level": options.optimization_level,
            "workspace_mib": options.workspace_mib,
        },
        build_s=build_s,
        extra_outputs=extra_outputs(data, bundle),
    )
    folder = options.output or bundle.folder / ENGINES / _folder_name(manifest)
    return write_engine(folder, manifest, compiled.files)


def extra_outputs(graph: bytes, bundle: Bundle) -> tuple[dict[str, Any], ...]:
    """List what a graph gives beside the probabilities: name, dtype and shape of each."""
    onnx = require("onnx", extra="cpu", why="to read the graph")
    found = list(bundle.extra_outputs)
    for value in onnx.load_from_string(graph).graph.output:
        if value.name == HEATMAPS:
            sizes = [each.dim_value for each in value.type.tensor_type.shape.dim[1:]]
            found.append({"name": HEATMAPS, "dtype": "float32", "shape": ["batch", *sizes]})
    return tuple(found)


def preferred_runtime(machine: Machine) -> RuntimeName:
    """Choose what to build for: the first runtime that is installed and knows this machine."""
    order = [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO]
    if machine.gpu.gpus:
        order = [RuntimeName.TENSORRT, RuntimeName.TENSORRT_RTX, *order]
    refused: NeuroScanError | None = None
    for name in order:
        try:
            installed(name, _WHY)
        except (MissingDependencyError, RuntimeNotAvailableError) as error:
            refused = refused or error
        else:
            if not name.on_gpu or _builds_for(name, machine):
                return name
    assert refused is not None
    raise refused


def _builds_for(name: RuntimeName, machine: Machine) -> bool:
    known = supported_targets(load_flavour(name, _WHY))
    return not known or machine.gpu.gpus[0].compute_capability in known


def _require_exact_int8(machine: Machine) -> None:
    if not machine.exact_int8:
        raise BuildError(
            f"{machine.cpu or 'this processor'} has no VNNI, without which OpenVINO's INT8 sums "
            'saturate; build "--runtime onnxruntime", which has exact kernels for it, or '
            '"--precision fp32"'
        )


def _calibration(bundle: Bundle) -> dict[str, Any]:
    """Name the table that the INT8 graph was made from, or refuse one made from another."""
    if CALIBRATION not in bundle.files:
        raise BuildError(
            f"{bundle.folder} has an INT8 graph and no {CALIBRATION}: nothing tells where its "
            'scales come from; make it again with "neuroscan-edge calibrate"'
        )
    stated = bundle.manifest.get("quantization", {}).get("calibration_sha256")
    found = bundle.files[CALIBRATION].sha256
    if stated != found:
        raise BuildError(
            f"the INT8 graph in {bundle.folder} was made from calibration table {stated}, "
            f'{CALIBRATION} is {found}; run "neuroscan-edge precision" or "neuroscan-edge '
            'calibrate" again'
        )
    table = json.loads(bundle.read(CALIBRATION))
    known = {name: table[name] for name in ("method", "percentile", "seed") if name in table}
    return {"sha256": found, **known}


def _compile_tensorrt(
    bundle: Bundle,
    graph: bytes,
    runtime: Installed,
    machine: Machine,
    options: BuildOptions,
    report: Report,
) -> _Compiled:
    trt = load_flavour(runtime.name, _WHY)
    targets = options.targets
    known = supported_targets(trt)
    if targets and not known:
        raise UsageError(
            f"{runtime} builds for the GPU at hand only; leave out --target, or use "
            "--runtime tensorrt-rtx"
        )
    gpu = machine.gpu.gpus[0] if machine.gpu.gpus else None
    if not known and gpu is None:
        raise BuildError(
            f"{runtime} builds for the GPU at hand, and there is none ({machine.gpu.reason}); "
            'build on the machine with the GPU, or use "--runtime tensorrt-rtx --target 8.6"'
        )
    if known and not targets:
        # Turing takes other kernels and is built for on request only.
        newer = tuple(target for target in known if target != "7.5")
        targets = (gpu.compute_capability,) if gpu else newer
    if options.timing_cache and known:
        raise UsageError(f"{runtime} keeps no timing cache; leave out --timing-cache")
    build = build_plan(
        trt,
        graph,
        TensorRTOptions(
            input_name=bundle.input_name,
            slice_shape=(*bundle.preprocessing.shape, 1),
            batch=options.batch,
            targets=targets,
            optimization_level=options.optimization_level,
            workspace_bytes=options.workspace_mib << 20 if options.workspace_mib else None,
            timing_cache=_read_cache(options.timing_cache),
        ),
        report,
    )
    if options.timing_cache and build.timing_cache is not None:
        write_whole(options.timing_cache, build.timing_cache)
    built_for = targets or ((gpu.compute_capability,) if gpu else ())
    return _Compiled({PLAN_FILE: build.plan}, build.layers, built_for, options.batch)


def _compile_cpu(graph: bytes, runtime: RuntimeName, options: BuildOptions) -> _Compiled:
    if options.targets or options.timing_cache:
        raise UsageError(f"--target and --timing-cache are for a GPU, not for {runtime}")
    if runtime is RuntimeName.ONNXRUNTIME:
        from neuroscan_edge.runtimes.onnxrt.builder import build_onnxruntime

        built = build_onnxruntime(graph)
    else:
        from neuroscan_edge.runtimes.ov.builder import build_openvino

        built = build_openvino(graph)
    return _Compiled(built.files, built.layers)


def _proven(plan: LayerPlan, layers: Sequence[BuiltLayer], runtime: Installed) -> Mapping[str, Any]:
    """Compare the engine with the plan; see `require_planned` for what a GPU engine must show.

    A CPU runtime has no INT8 kernel for some layers that a GPU has one for: what it leaves in
    float is recorded. None in INT8 at all is as wrong there as anywhere.
    """
    if plan.int8 and not layers:
        raise LayerPrecisionError(
            f"{runtime} says nothing of the layers it built, so INT8 cannot be proven; "
            "build --precision fp16"
        )
    found = compare_layers(plan, layers)
    if runtime.name.on_gpu or found.found == 0:
        require_planned(found, str(runtime))
    return found.to_json()


def _read_cache(path: Path | None) -> bytes | None:
    if path is None:
        return None
    return path.read_bytes() if path.is_file() else b""


def _built_on(machine: Machine) -> dict[str, str | None]:
    cuda = machine.gpu.cuda
    return {
        "gpu": machine.gpu.gpus[0].name if machine.gpu.gpus else None,
        "driver": machine.gpu.driver,
        "driver_cuda": f"{cuda[0]}.{cuda[1]}" if cuda else None,
    }


def _folder_name(manifest: EngineManifest) -> str:
    gpus = [f"sm_{each.replace('.', '')}" for each in manifest.compute_capabilities] or ["cpu"]
    drawing = ["heatmaps"] if manifest.gives_heatmaps else []
    return "-".join([str(manifest.runtime), str(manifest.precision), *gpus, *drawing])
