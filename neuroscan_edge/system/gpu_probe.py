"""What GPUs this machine has, asked of the driver alone: no context, no CUDA toolkit."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

_DRIVER_LIBRARY = "libcuda.so.1"
_SUCCESS = 0
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 128
_BUS_ID_BYTES = 32
_DRIVER_VERSION_FILE = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Parameters
    ----------
    name : str
        As the driver calls it.
    compute_capability : str
        ``major.minor``.
    memory_bytes : int
        In total.
    bus_id : str
        Where it sits, as ``0000:65:00.0``: the one name that CUDA and NVML share, since they may
        count GPUs in different orders. Empty if the driver does not say.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    bus_id: str = ""


@dataclass(frozen=True, slots=True)
class GpuProbe:
    """What the driver answered.

    Parameters
    ----------
    gpus : tuple of Gpu
        In the driver's order; empty if there is none.
    cuda : tuple of int or None
        Newest CUDA that the driver runs, as (major, minor).
    driver : str or None
        The driver's own version, where it says so.
    reason : str or None
        Why there is no GPU to use.
    """

    gpus: tuple[Gpu, ...] = ()
    cuda: tuple[int, int] | None = None
    driver: str | None = None
    reason: str | None = None


def probe_gpus() -> GpuProbe:
    """Ask the NVIDIA driver; never raises for a machine that has none."""
    try:
        driver = ctypes.CDLL(_DRIVER_LIBRARY)
    except OSError:
        return GpuProbe(reason=f"no NVIDIA driver ({_DRIVER_LIBRARY}) is installed")
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != _SUCCESS:
        return GpuProbe(driver=driver_version(), reason="the NVIDIA driver does not answer")
    cuda = (version.value // 1000, version.value % 1000 // 10)
    status = driver.cuInit(0)
    if status != _SUCCESS:
        reason = f"the NVIDIA driver refuses to start (cuInit returned {status})"
        return GpuProbe(cuda=cuda, driver=driver_version(), reason=reason)
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    gpus = tuple(_describe(driver, ordinal) for ordinal in range(count.value))
    return GpuProbe(gpus, cuda, driver_version(), None if gpus else "the driver lists no GPU")


def driver_version() -> str | None:
    """Version of the NVIDIA kernel driver, such as 570.86.15, where it says so."""
    try:
        words = _DRIVER_VERSION_FILE.read_text().split()
    except OSError:
        return None
    return next((word for word in words if word.count(".") >= 1 and word[0].isdigit()), None)


def _describe(driver: ctypes.CDLL, ordinal: int) -> Gpu:
    device = ctypes.c_int()
    driver.cuDeviceGet(ctypes.byref(device), ordinal)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    memory = ctypes.c_size_t()
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    capability = []
    for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
        capability.append(str(value.value))
    bus_id = ctypes.create_string_buffer(_BUS_ID_BYTES)
    driver.cuDeviceGetPCIBusId(bus_id, _BUS_ID_BYTES, device)
    return Gpu(
        name.value.decode(errors="replace"),
        ".".join(capability),
        memory.value,
        bus_id.value.decode(errors="replace"),
    )
