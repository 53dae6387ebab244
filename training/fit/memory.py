"""Whether a stage fits into memory, asked before it begins: a killed process says nothing."""

import math
from pathlib import Path

import keras
import psutil

from neuroscan_edge.errors import NeuroScanError

# Weights, gradients, two Adam moments and the moving average, in float32.
_COPIES_OF_WEIGHTS = 5
# Forward values are kept for the backward pass, which computes as much again; the rest is
# workspace of the kernels. From the peaks of Xception at 128 and 224 pixels, which differ by 2.8.
_COPIES_OF_ACTIVATIONS = 3.0
# Of a container: its limit, what it uses, and which line of its statistics can be given back.
_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
)


class MemoryShortageError(NeuroScanError):
    """The batch does not fit into the memory that is free."""

    exit_code = 2


def training_memory_bytes(model: keras.Model, batch_size: int) -> int:
    """Estimate what training a model takes, from its layers' outputs and weights.

    Layers that are not trained and lie before all that are keep no values for a backward pass:
    of those only the largest input and output count.
    """
    first = next((i for i, layer in enumerate(model.layers) if layer.trainable_weights), 0)
    outputs = [_bytes_of(layer) for layer in model.layers]
    kept = sum(outputs[first:]) * _COPIES_OF_ACTIVATIONS
    passing = max((sum(pair) for pair in zip(outputs, outputs[1:first], strict=False)), default=0)
    weights = sum(int(keras.ops.size(weight)) for weight in model.weights)
    return int(batch_size * (kept + passing) + 4 * weights * _COPIES_OF_WEIGHTS)


def available_memory_bytes() -> int:
    """Free memory of the machine, or of the container if that is less."""
    available = int(psutil.virtual_memory().available)
    for folder, limit, usage, reclaimable in _CGROUPS:
        free = container_free_bytes(Path(folder), limit, usage, reclaimable)
        if free is not None:
            available = min(available, free)
    return available


def container_free_bytes(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    """Read what a control group may still take; None where it has no limit.

    Cached file pages count as used there although they are given back when memory is short.
    """
    try:
        allowed = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    cached = sum(int(line.split()[1]) for line in lines if line.split()[:1] == [reclaimable])
    return allowed - used + cached


def _bytes_of(layer: keras.Layer) -> int:
    width = keras.backend.standardize_dtype(layer.output.dtype)
    elements = math.prod(layer.output.shape[1:])
    return elements * (2 if width in {"bfloat16", "float16"} else 4)


def check_memory(model: keras.Model, batch_size: int, available: int | None = None) -> None:
    """Refuse a batch that cannot fit.

    Raises
    ------
    MemoryShortageError
        With the largest batch that would fit.
    """
    available = available_memory_bytes() if available is None else available
    needed = training_memory_bytes(model, batch_size)
    if needed <= available:
        return
    fixed = training_memory_bytes(model, 0)
    each = max((needed - fixed) // batch_size, 1)
    fitting = max((available - fixed) // each, 0)
    advice = f"use batch_size {fitting} or less" if fitting else "free memory, or reduce image_size"
    raise MemoryShortageError(
        f"a batch of {batch_size} needs about {needed / 1e9:.1f} GB to train, "
        f"{available / 1e9:.1f} GB are free; {advice}"
    )
