"""TensorRT for RTX compiles kernels when an engine is first run, and can keep them.

It also records CUDA graphs by itself. Full TensorRT does neither.
"""

from typing import Any

from neuroscan_edge.engine.manifest import EngineManifest
from neuroscan_edge.gpu.kernel_cache import (
    kernel_cache_path,
    read_kernel_cache,
    write_kernel_cache,
)


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
