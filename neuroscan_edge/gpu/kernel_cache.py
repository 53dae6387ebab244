"""Where TensorRT for RTX keeps the kernels that it compiles on first use. Losing it costs time.

What is in the file is code that will run: it lies in a folder of this user alone, never beside an
engine that someone copied here.
"""

from pathlib import Path

from neuroscan_edge._cache import cache_folder, read_own, write_own

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
