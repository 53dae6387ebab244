"""The GPU runtimes that this machine can be tested with."""

from neuroscan_edge.errors import MissingDependencyError
from neuroscan_edge.model.engine import installed
from neuroscan_edge.model.engine.installed import load_flavour
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.gpu_probe import probe_gpus

GPUS = probe_gpus().gpus


def flavours() -> list[RuntimeName]:
    """GPU runtimes that are installed and know this GPU."""
    from neuroscan_edge.runtimes.trt.builder import supported_targets

    found = []
    for name in (RuntimeName.TENSORRT, RuntimeName.TENSORRT_RTX):
        try:
            installed(name)
        except MissingDependencyError:
            continue
        targets = supported_targets(load_flavour(name, "to be tested"))
        if not targets or GPUS[0].compute_capability in targets:
            found.append(name)
    return found
