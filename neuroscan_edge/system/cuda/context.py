"""One GPU and its primary context, through PyCUDA."""

import contextlib
from collections.abc import Iterator
from typing import Any

from neuroscan_edge.errors import MissingDependencyError
from neuroscan_edge.system.optional import require


def load_driver(extra: str) -> Any:
    """Import PyCUDA's driver module.

    Raises
    ------
    MissingDependencyError
        If PyCUDA is not installed.
    """
    return require("pycuda.driver", extra=extra, why="to run an engine on the GPU")


def pycuda_version() -> str | None:
    """Version of PyCUDA, or None where it is not installed."""
    try:
        module = require("pycuda", extra="tensorrt", why="to run an engine on the GPU")
    except MissingDependencyError:
        return None
    return str(module.VERSION_TEXT)


class Device:
    """The first GPU, in the context that every CUDA library of this process shares.

    Parameters
    ----------
    driver : module
        ``pycuda.driver``.
    """

    def __init__(self, driver: Any) -> None:
        driver.init()
        self.driver = driver
        self.name: str = driver.Device(0).name()
        major, minor = driver.Device(0).compute_capability()
        self.compute_capability: tuple[int, int] = (major, minor)
        # The primary one: TensorRT and this process' other CUDA users work in it too.
        self._context = driver.Device(0).retain_primary_context()

    @property
    def compute_capability_text(self) -> str:
        """Compute capability as people write it, ``major.minor``."""
        return ".".join(map(str, self.compute_capability))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the context this thread's: CUDA calls belong to a thread, and callers differ."""
        self._context.push()
        try:
            yield
        finally:
            self.driver.Context.pop()

    def release(self) -> None:
        """Give the context back; memory allocated in it must be freed before."""
        self._context.detach()
