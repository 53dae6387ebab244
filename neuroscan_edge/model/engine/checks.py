"""Whether an engine may be loaded here. An engine is code: nothing of it runs before this."""

import shlex
from collections.abc import Mapping

from neuroscan_edge.errors import (
    EngineBatchError,
    EngineContractError,
    EngineDriverError,
    EngineFlavourError,
    EngineGpuError,
    EnginePlatformError,
    EngineVersionError,
)
from neuroscan_edge.model.bundle import GRAPHS, Bundle
from neuroscan_edge.model.engine.installed import Installed
from neuroscan_edge.model.engine.manifest import ENGINES, StoredEngine
from neuroscan_edge.model.graph.output_names import HEATMAPS
from neuroscan_edge.system.machine import Machine


def verify_engine(
    engine: StoredEngine,
    bundle: Bundle,
    installed: Installed,
    machine: Machine,
    batch_size: int | None = None,
) -> dict[str, bytes]:
    """Check an engine and return its verified bytes, which are what the runtime must be given.

    In this order: integrity, flavour, version, platform, GPU, driver, contract.

    Parameters
    ----------
    engine : StoredEngine
        What is about to be loaded.
    bundle : Bundle
        The contract it must keep.
    installed : Installed
        The runtime that would load it.
    machine : Machine
        Where.
    batch_size : int, optional
        Slices a batch that were asked for.

    Raises
    ------
    EngineIntegrityError, EngineFlavourError, EngineVersionError, EnginePlatformError
        Altered; of another runtime, version or platform.
    EngineGpuError, EngineDriverError
        The GPU or its driver does not fit.
    EngineContractError
        Other labels, preprocessing, tensors, graph or batch.
    """
    files = engine.read(rebuild_command(bundle, engine))
    _check_runtime(engine, bundle, installed)
    _check_machine(engine, bundle, machine)
    _check_contract(engine, bundle)
    if batch_size is not None:
        _check_batch(engine, bundle, batch_size)
    return files


def rebuild_command(bundle: Bundle, engine: StoredEngine, **changes: object) -> str:
    """Return the command that builds this engine again, with changes: ``max_batch=64``."""
    manifest = engine.manifest
    options: dict[str, object] = {"runtime": manifest.runtime, "precision": manifest.precision}
    if manifest.runtime.on_gpu:
        options |= {
            "min_batch": manifest.batch.min,
            "opt_batch": manifest.batch.opt,
            "max_batch": manifest.batch.max,
        }
    if engine.folder.parent != bundle.folder / ENGINES:
        options["output"] = shlex.quote(str(engine.folder))
    options |= changes
    words = [f"--{name.replace('_', '-')} {value}" for name, value in options.items()]
    folder = shlex.quote(str(bundle.folder))
    return f'run "neuroscan-edge build-engine {folder} {" ".join(words)}"'


def _check_runtime(engine: StoredEngine, bundle: Bundle, installed: Installed) -> None:
    manifest = engine.manifest
    if manifest.runtime is not installed.name:
        raise EngineFlavourError(
            str(engine.folder),
            found=f"an engine of {manifest.runtime}",
            wanted=f"one of {installed.name}",
            fix=rebuild_command(bundle, engine, runtime=installed.name),
        )
    if manifest.runtime_version != installed.version:
        raise EngineVersionError(
            str(engine.folder),
            found=f"an engine of {manifest.runtime} {manifest.runtime_version}",
            wanted=f"one of version {installed.version}, which is installed",
            fix=rebuild_command(bundle, engine),
        )


def _check_machine(engine: StoredEngine, bundle: Bundle, machine: Machine) -> None:
    manifest = engine.manifest
    platform = machine.platform_for(manifest.runtime, manifest.precision)
    if manifest.platform != platform:
        raise EnginePlatformError(
            str(engine.folder),
            found=f"an engine for {manifest.platform}",
            wanted=f"one for {platform}",
            fix=f"on this machine {rebuild_command(bundle, engine)}",
        )
    if not manifest.runtime.on_gpu:
        return
    built_for = ", ".join(map(_sm, manifest.compute_capabilities))
    if not machine.gpu.gpus:
        raise EngineGpuError(
            str(engine.folder),
            found=f"no usable GPU: {machine.gpu.reason}",
            wanted=f"an NVIDIA GPU of {built_for}",
            fix='install the driver, or run on the CPU with "--runtime onnxruntime"',
        )
    gpu = machine.gpu.gpus[0]
    if gpu.compute_capability not in manifest.compute_capabilities:
        raise EngineGpuError(
            str(engine.folder),
            found=f"an engine for {built_for}",
            wanted=f"one for {_sm(gpu.compute_capability)} ({gpu.name})",
            fix=rebuild_command(bundle, engine),
        )
    _check_driver(engine, machine)


def _check_driver(engine: StoredEngine, machine: Machine) -> None:
    wanted, cuda = engine.manifest.cuda_major, machine.gpu.cuda
    if wanted is not None and cuda is not None and cuda[0] < wanted:
        driver = f"driver {machine.gpu.driver}" if machine.gpu.driver else "a driver"
        raise EngineDriverError(
            str(engine.folder),
            found=f"{driver} for CUDA {cuda[0]}.{cuda[1]}",
            wanted=f"one for CUDA {wanted} or newer, which the engine was built with",
            fix="upgrade the NVIDIA driver, or install a runtime for the older CUDA and rebuild",
        )


def _check_contract(engine: StoredEngine, bundle: Bundle) -> None:
    manifest = engine.manifest
    graph = bundle.files.get(GRAPHS[manifest.precision])
    sides: Mapping[str, tuple[object, object]] = {
        "labels": (list(manifest.labels), list(bundle.labels)),
        "preprocessing": (manifest.preprocessing_sha256, bundle.preprocessing.sha256),
        "input": (dict(manifest.input), bundle.manifest["input"]),
        "output": (dict(manifest.output), bundle.manifest["output"]),
        "extra outputs": (
            [dict(each) for each in manifest.extra_outputs if each["name"] != HEATMAPS],
            list(bundle.extra_outputs),
        ),
        "graph": (manifest.graph["source_sha256"], graph.sha256 if graph else "none"),
    }
    for what, (found, wanted) in sides.items():
        if found != wanted:
            raise EngineContractError(
                str(engine.folder),
                found=f"an engine with {what} {found}",
                wanted=f"{wanted}, as the bundle states",
                fix=rebuild_command(bundle, engine),
            )


def _check_batch(engine: StoredEngine, bundle: Bundle, batch_size: int) -> None:
    batch = engine.manifest.batch
    if not batch.min <= batch_size <= batch.max:
        changes = {
            "min_batch": min(batch.min, batch_size),
            "opt_batch": min(batch.opt, batch_size) if batch_size < batch.min else batch.opt,
            "max_batch": max(batch.max, batch_size),
        }
        raise EngineBatchError(
            str(engine.folder),
            found=f"an engine for {batch} a batch",
            wanted=f"one for {batch_size}",
            fix=f'use "--batch-size {batch.max}", or ' + rebuild_command(bundle, engine, **changes),
        )


def _sm(compute_capability: str) -> str:
    return "sm_" + compute_capability.replace(".", "")
