"""The machine at hand, as engines depend on it: system, processor, GPU, driver."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.gpu_probe import GpuProbe, probe_gpus

_CPU_INFO = Path("/proc/cpuinfo")
_VNNI_FLAGS = {"avx512_vnni", "avx_vnni", "avx10_1"}


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
    exact_int8 : bool
        Whether the processor adds products of uint8 and int8 in 32 bits. x86 does with VNNI;
        without, the fast kernels add pairs of them in 16 bits that saturate. Where it cannot be
        told, it is taken not to.
    """

    system: str
    architecture: str
    cpu: str
    gpu: GpuProbe
    exact_int8: bool = True

    @property
    def platform(self) -> str:
        """System and architecture, as ``linux x86_64``."""
        return f"{self.system} {self.architecture}"

    def platform_for(self, runtime: RuntimeName, precision: Precision) -> str:
        """Platform that an engine belongs to; INT8 on x86 has two, which differ in results."""
        if runtime.on_gpu or precision is not Precision.INT8 or self.architecture != "x86_64":
            return self.platform
        return f"{self.platform} {'with' if self.exact_int8 else 'without'} VNNI"


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def this_machine() -> Machine:
    """Look at this machine."""
    architecture = platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "aarch64"}
    architecture = names.get(architecture, architecture)
    flags = set(cpu_flags())
    return Machine(
        platform.system().lower(),
        architecture,
        _cpu_field("model name", platform.processor()),
        probe_gpus(),
        exact_int8=architecture != "x86_64" or not flags.isdisjoint(_VNNI_FLAGS),
    )


def cpu_flags() -> list[str]:
    """Return the instruction sets that the processor names; empty where it cannot be told."""
    return (_cpu_field("flags", "") or _cpu_field("Features", "")).split()


def _cpu_field(name: str, default: str) -> str:
    """Read a field of the first processor in Linux's own description."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return default
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in fields if key.strip() == name), default)
