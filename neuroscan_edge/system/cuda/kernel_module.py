"""Kernels in binary form onto the GPU, without nvcc or a toolkit."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from neuroscan_edge.errors import KernelNotAvailableError
from neuroscan_edge.system.cuda.context import Device


@dataclass(frozen=True, slots=True)
class LoadedModule:
    """Kernels on the GPU.

    Parameters
    ----------
    name : str
        Of the binary that was taken.
    module : object
        ``pycuda.driver.Module``.
    """

    name: str
    module: Any

    def function(self, name: str, signature: str) -> Any:
        """Find a kernel and fix the types of its arguments, as `struct` writes them."""
        return self.module.get_function(name).prepare(signature)


def load_module(device: Device, binaries: Iterable[tuple[str, bytes]]) -> LoadedModule:
    """Load the first binary that the driver takes.

    Parameters
    ----------
    device : Device
        The GPU, whose context is this thread's.
    binaries : iterable of (name, bytes)
        The best first; cubin or PTX.

    Raises
    ------
    KernelNotAvailableError
        If there is none, or the driver refuses all; the message names the compute capability.
    """
    refusals = []
    for name, data in binaries:
        try:
            # The driver reads PTX up to a NUL.
            module = device.driver.module_from_buffer(data + b"\0")
        except device.driver.Error as error:
            refusals.append(f"{name} ({error})")
        else:
            return LoadedModule(name, module)
    reasons = f"the driver refuses {', '.join(refusals)}" if refusals else "none is shipped for it"
    raise KernelNotAvailableError(
        f"{device.name} has compute capability {device.compute_capability_text} and no kernel to "
        f"preprocess with: {reasons}; use --preprocess cpu, or upgrade the NVIDIA driver"
    )
