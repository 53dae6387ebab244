"""Where TensorRT for RTX keeps the kernels that it compiles on first use. Losing it costs time.

It also records CUDA graphs by itself. Full TensorRT does neither.

What is in the file is code that will run: it lies in a folder of this user alone, never beside an
engine that someone copied here.
"""

from pathlib import Path
from typing import Any

from neuroscan_edge.model.engine.manifest import EngineManifest
from neuroscan_edge.system.cache import cache_folder, read_own, write_own

_LIMIT_BYTES = 1 << 30


def kernel_cache_path(engine_sha256: str, version: str, compute_capability: str) -> Path:
    """Name the file for one engine, runtime version and GPU."""
    name = f"{engine_sha256[:32]}-{version}-sm_{compute_capability.replace('.', '')}.kernels"
    return cache_folder() / name


def read_kernel_cache(path: Path) -> bytes | None:
    """Read a cache that this user wrote; None if there is none to trust."""
    return read_own(path, _LIMIT_BYTES)


def write_kernel_cache(path: Path, data: bytes) -> None:
    """Keep a cache; a full disk or a read-only home only means compiling again next time."""
    write_own(path, data)


class CompiledKernels:
    """An engine's kernel cache, where its runtime has one.

    Parameters
    ----------
    engine : object
        The deserialised engine.
    manifest : EngineManifest
        For the name of the file that the kernels are kept in.
    """

    def __init__(self, engine: Any, manifest: EngineManifest) -> None:
        self._engine = engine
        self._config: Any = None
        self._cache: Any = None
        self._path = kernel_cache_path(
            manifest.engine_sha256,
            manifest.runtime_version,
            "-".join(manifest.compute_capabilities),
        )

    def create_context(self, trt: Any) -> Any:
        """Make an execution context with what was kept; None if TensorRT refuses."""
        create_config = getattr(self._engine, "create_runtime_config", None)
        config = create_config() if create_config else None
        if config is None or not hasattr(config, "create_runtime_cache"):
            return self._engine.create_execution_context()
        self._config, self._cache = config, config.create_runtime_cache()
        stored = read_kernel_cache(self._path)
        if stored is not None and not self._cache.deserialize(stored):
            # Of another driver or version: it fills again.
            self._cache.reset()
        config.set_runtime_cache(self._cache)
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self._engine.create_execution_context(config)

    @property
    def leaves_recording(self) -> bool:
        """Whether CUDA graphs are left to the adapter, rather than recorded by the runtime."""
        return self._config is None

    def save(self) -> None:
        """Keep what was compiled."""
        if self._cache is not None:
            serialized = self._cache.serialize()
            if serialized is not None:
                write_kernel_cache(self._path, bytes(serialized))
