"""The machine at hand, as engines depend on it: system, processor, GPU, driver."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.gpu.probe import GpuProbe, probe_gpus

_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Machine:
    """What an engine must match.

    Parameters
    ----------
    system : str
        ``linux``, ``windows``, ``darwin``.
    architecture : str
        ``x86_64``, ``aarch64``.
    cpu : str
        The processor's name.
    gpu : GpuProbe
        GPUs and driver.
    """

    system: str
    architecture: str
    cpu: str
    gpu: GpuProbe

    @property
    def platform(self) -> str:
        """System and architecture, as ``linux x86_64``."""
        return f"{self.system} {self.architecture}"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def this_machine() -> Machine:
    """Look at this machine."""
    architecture = platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    return Machine(
        platform.system().lower(),
        names.get(architecture, architecture),
        _cpu_name(),
        probe_gpus(),
    )


def _cpu_name() -> str:
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
