"""CUDA graphs: a batch's kernels recorded once and launched as one. PyCUDA has none of this."""

import ctypes
from collections.abc import Callable
from typing import Any, Protocol

from neuroscan_edge.errors import RuntimeNotAvailableError

_SUCCESS = 0
# Calls of other threads neither end up in the graph nor break the recording.
_THREAD_LOCAL = 1
_DRIVER_LIBRARY = "libcuda.so.1"


class RecordedGraph(Protocol):
    """Kernels that can be launched again on the buffers that they were recorded with."""

    def launch(self, stream: Any) -> None:
        """Launch on a stream."""
        ...

    def destroy(self) -> None:
        """Free it."""
        ...


class GraphRecorder(Protocol):
    """Records what a callable puts on a stream."""

    def record(self, stream: Any, enqueue: Callable[[], None]) -> RecordedGraph:
        """Record; the work itself does not run."""
        ...


class DriverGraphs:
    """CUDA graphs through the driver's own functions.

    Parameters
    ----------
    library : object, optional
        With the driver's functions; the installed driver by default.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = ctypes.CDLL(_DRIVER_LIBRARY) if library is None else library

    def record(self, stream: Any, enqueue: Callable[[], None]) -> RecordedGraph:
        """Record what `enqueue` puts on a PyCUDA stream.

        Raises
        ------
        RuntimeNotAvailableError
            If the work cannot be recorded; the stream is usable again.
        """
        handle = ctypes.c_void_p(stream.handle)
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", handle, _THREAD_LOCAL)
        try:
            enqueue()
        finally:
            # Whatever happened, the stream must leave capture mode.
            status = self._library.cuStreamEndCapture(handle, ctypes.byref(graph))
        _check("cuStreamEndCapture", status)
        try:
            self._call(
                "cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong()
            )
        finally:
            self._library.cuGraphDestroy(graph)
        return _DriverGraph(self._library, executable)

    def _call(self, name: str, *arguments: Any) -> None:
        _check(name, getattr(self._library, name)(*arguments))


class _DriverGraph:
    def __init__(self, library: Any, executable: ctypes.c_void_p) -> None:
        self._library = library
        self._executable = executable

    def launch(self, stream: Any) -> None:
        status = self._library.cuGraphLaunch(self._executable, ctypes.c_void_p(stream.handle))
        _check("cuGraphLaunch", status)

    def destroy(self) -> None:
        self._library.cuGraphExecDestroy(self._executable)


def _check(name: str, status: int) -> None:
    if status != _SUCCESS:
        raise RuntimeNotAvailableError(f"the CUDA driver refused {name} (status {status})")
