"""The inference runtimes: what each is called, which extra brings it, which version is here."""

import importlib.metadata
import re
from dataclasses import dataclass
from types import ModuleType

from neuroscan_edge.errors import MissingDependencyError, RuntimeNotAvailableError
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.optional import require

_MODULES = {
    RuntimeName.TENSORRT: "tensorrt",
    RuntimeName.TENSORRT_RTX: "tensorrt_rtx",
    RuntimeName.ONNXRUNTIME: "onnxruntime",
    RuntimeName.OPENVINO: "openvino",
}
_EXTRAS = {
    RuntimeName.TENSORRT: "tensorrt",
    RuntimeName.TENSORRT_RTX: "rtx",
    RuntimeName.ONNXRUNTIME: "cpu",
    RuntimeName.OPENVINO: "openvino",
}
# The wheels carry the CUDA they were built with in their names: tensorrt-rtx-cu13.
_CUDA_WHEEL = {
    RuntimeName.TENSORRT: re.compile(r"^tensorrt[-_]cu(\d+)"),
    RuntimeName.TENSORRT_RTX: re.compile(r"^tensorrt[-_]rtx[-_]cu(\d+)"),
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A runtime that is installed here.

    Parameters
    ----------
    name : RuntimeName
        Which.
    version : str
        Its exact version.
    cuda_major : int or None
        Of the CUDA that it was built with, where known.
    """

    name: RuntimeName
    version: str
    cuda_major: int | None = None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def load_flavour(name: RuntimeName, why: str) -> ModuleType:
    """Import a runtime's Python module.

    Raises
    ------
    MissingDependencyError
        If it is not installed; the message names the extra.
    """
    return require(_MODULES[name], extra=_EXTRAS[name], why=why)


def installed(name: RuntimeName, why: str = "to load an engine") -> Installed:
    """Say which version of a runtime is here.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    RuntimeNotAvailableError
        If it is, and cannot be imported.
    """
    try:
        module = load_flavour(name, why)
    except MissingDependencyError:
        raise
    # A missing library, a wrong symbol, another CUDA: broken installs fail in their own ways.
    except Exception as error:
        raise RuntimeNotAvailableError(
            f"{name} is installed but broken ({type(error).__name__}: {error}); install it again"
        ) from error
    version = str(module.__version__)
    # OpenVINO appends build number and branch to its version.
    return Installed(name, version.split("-")[0], _cuda_major(name))


def _cuda_major(name: RuntimeName) -> int | None:
    pattern = _CUDA_WHEEL.get(name)
    if pattern is None:
        return None
    for distribution in importlib.metadata.distributions():
        matched = pattern.match((distribution.metadata["Name"] or "").lower())
        if matched:
            return int(matched[1])
    return None
