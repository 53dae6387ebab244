"""Where TensorRT for RTX keeps the kernels that it compiles on first use. Losing it costs time.

What is in the file is code that will run: it lies in a folder of this user alone, never beside an
engine that someone copied here, and a file that another user could have written is not read.
"""

import contextlib
import os
import stat
from pathlib import Path

from neuroscan_edge._files import write_whole

_LIMIT_BYTES = 1 << 30
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def kernel_cache_path(engine_sha256: str, version: str, compute_capability: str) -> Path:
    """Name the file for one engine, runtime version and GPU."""
    root = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = f"{engine_sha256[:32]}-{version}-sm_{compute_capability.replace('.', '')}.kernels"
    return Path(root) / "neuroscan-edge" / name


def read_kernel_cache(path: Path) -> bytes | None:
    """Read a cache that this user wrote; None if there is none to trust."""
    try:
        for each in (path.parent, path):
            status = each.stat()
            if status.st_uid != os.getuid() or status.st_mode & _OTHERS_MAY_WRITE:
                return None
        return path.read_bytes() if path.stat().st_size <= _LIMIT_BYTES else None
    except OSError:
        return None


def write_kernel_cache(path: Path, data: bytes) -> None:
    """Keep a cache; a full disk or a read-only home only means compiling again next time."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, data)
        path.chmod(0o600)
