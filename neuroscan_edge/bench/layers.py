"""Where the model's own time goes: its layers, one by one, on one core."""

import statistics
from typing import Any

import numpy as np

from neuroscan_edge.model.graph.roofline import LayerWork, layer_work
from neuroscan_edge.runtimes.parallelism import PART
from neuroscan_edge.runtimes.protocol import LayerTime, LayerTimed, Runtime, UInt8Batch

_WARM_UP_RUNS = 3
# Of the runtime's word for an operator.
_COMPUTING = ("conv", "gemm", "matmul", "fullyconnected")
# What runtimes add to the names of layers that they fuse, retype or lay out anew.
_PREFIXES = ("InsertedPrecisionFreeCast_",)
_SUFFIXES = ("_nchwc", "/MatMulAddFusion", "/WithoutBiases")
# For what lies between; the first that is in the word counts.
_BETWEEN = (
    ("quantisation", ("quantize",)),
    ("pooling", ("pool", "reducemean")),
    ("layout", ("transpose", "reorder", "concat", "reshape")),
    ("sums and scales", ("add", "sub", "mul", "div", "power", "relu", "clip", "cast", "convert")),
)
_OTHERS = "others"


def measure_layers(
    runtime: Runtime, graph: bytes, slices: UInt8Batch, runs: int, batch_size: int = PART
) -> dict[str, Any]:
    """Time every layer, and put beside it the arithmetic that it does.

    Parameters
    ----------
    runtime : Runtime
        Opened with `timed_layers` and one thread: then a layer's time is that of one core.
    graph : bytes
        The ONNX graph that it was made from, for names and operations.
    slices : (N, H, W, 1) uint8
        Preprocessed; repeated for a larger batch.
    runs : int
        How often; medians are taken.
    batch_size : int
        Slices a run, by default what a stream takes at once.

    Returns
    -------
    dict
        `layers`, the slowest first: name, operator in the runtime's words, kind, `int8`, `ms` a
        slice and `operations` a slice, None for what lies between convolutions and dense layers;
        `kinds`, the sums of them; or the `reason` why there are none.
    """
    batch = np.take(slices, np.arange(batch_size) % len(slices), axis=0)
    for _ in range(_WARM_UP_RUNS):
        runtime(batch)
    times = runtime.layer_times(batch, runs) if isinstance(runtime, LayerTimed) else []
    if not times:
        return {"reason": f"{runtime.info.runtime} does not tell the times of its layers here"}
    known = {name: each for each in layer_work(graph) for name in each.names if name}
    layers = [_layer(each, known, batch_size) for each in times]
    layers.sort(key=lambda each: -each["ms"])
    return {
        "batch_size": batch_size,
        "runs": runs,
        "cores": 1,
        "ms": sum(each["ms"] for each in layers),
        "kinds": _sums(layers),
        "layers": layers,
    }


def _layer(time: LayerTime, known: dict[str, LayerWork], batch_size: int) -> dict[str, Any]:
    found = _work_of(time, known)
    return {
        "name": time.name,
        "operator": time.operator,
        "kind": found.kind if found else _between(time.operator),
        "int8": time.int8,
        "ms": statistics.median(time.ms) / batch_size,
        "operations": found.work.operations if found else None,
    }


def _work_of(time: LayerTime, known: dict[str, LayerWork]) -> LayerWork | None:
    # A Q, DQ or reordering may be called after the layer that it follows.
    word = time.operator.split()[0].lower()
    if not any(each in word for each in _COMPUTING) or word == "convert":
        return None
    name = time.name
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return known.get(name)


def _between(operator: str) -> str:
    word = operator.split()[0].lower()
    for kind, parts in _BETWEEN:
        if any(part in word for part in parts):
            return kind
    return _OTHERS


def _sums(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    sums: dict[tuple[str, bool | None], dict[str, Any]] = {}
    for each in layers:
        computes = each["operations"] is not None
        key = (each["kind"], each["int8"] if computes else None)
        empty = {
            "kind": key[0],
            "int8": key[1],
            "layers": 0,
            "ms": 0.0,
            "operations": 0 if computes else None,
        }
        total = sums.setdefault(key, empty)
        total["layers"] += 1
        total["ms"] += each["ms"]
        if computes:
            total["operations"] += each["operations"]
    return sorted(sums.values(), key=lambda each: -each["ms"])
