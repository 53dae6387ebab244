"""What this machine has, what would run on it, and why the rest would not."""

from pathlib import Path
from typing import Any

from neuroscan_edge import __version__
from neuroscan_edge.errors import MissingDependencyError, NeuroScanError, RuntimeNotAvailableError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.engine.checks import verify_engine
from neuroscan_edge.model.engine.installed import installed
from neuroscan_edge.model.engine.manifest import find_engines, open_engine
from neuroscan_edge.runtimes.selection import RuntimeOptions, choose_runtime
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.cuda.context import pycuda_version
from neuroscan_edge.system.machine import Machine, this_machine

READY = "ready"


def diagnose(bundle: Bundle, machine: Machine | None = None) -> dict[str, Any]:
    """Look at this machine, its runtimes, and a bundle's engines.

    Returns
    -------
    dict
        JSON-ready; ``can_run`` is what `classify` would run, or None with the reason in
        ``cannot_run``.
    """
    machine = machine or this_machine()
    gpu = machine.gpu
    chosen, refused = None, None
    try:
        chosen = str(choose_runtime(bundle, RuntimeOptions(), machine))
    except NeuroScanError as error:
        refused = str(error)
    return {
        "neuroscan_edge": __version__,
        "platform": machine.platform,
        "cpu": machine.cpu,
        "exact_int8": machine.exact_int8,
        "gpus": [
            f"{each.name}, sm_{each.compute_capability.replace('.', '')}, "
            f"{each.memory_bytes / (1 << 30):.0f} GiB"
            for each in gpu.gpus
        ],
        "no_gpu_because": gpu.reason,
        "driver": gpu.driver,
        "driver_cuda": f"{gpu.cuda[0]}.{gpu.cuda[1]}" if gpu.cuda else None,
        "runtimes": {str(name): _runtime(name) for name in RuntimeName},
        "pycuda": pycuda_version() or "not installed; TensorRT engines need it to run",
        "bundle": str(bundle.folder),
        "engines": {
            folder.name: _engine(folder, bundle, machine) for folder in find_engines(bundle)
        },
        "can_run": chosen,
        "cannot_run": refused,
    }


def _runtime(name: RuntimeName) -> str:
    try:
        here = installed(name, "to run its engines")
    except MissingDependencyError as error:
        return f"not installed; {_install_command(error)}"
    except RuntimeNotAvailableError as error:
        return str(error)
    cuda = f", for CUDA {here.cuda_major}" if here.cuda_major else ""
    return f"{here.version}{cuda}"


def _engine(folder: Path, bundle: Bundle, machine: Machine) -> str:
    try:
        engine = open_engine(folder)
        verify_engine(engine, bundle, installed(engine.manifest.runtime), machine)
    except NeuroScanError as error:
        return f"{type(error).__name__}: {error}"
    return READY


def _install_command(error: MissingDependencyError) -> str:
    return str(error).rpartition("; ")[2]
