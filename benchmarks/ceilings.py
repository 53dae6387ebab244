"""What this machine does at best: matrix products in FP32 and INT8, and memory bandwidth.

    python benchmarks/ceilings.py

The best of many rounds, since a ceiling is what nothing exceeds: another process can only lower it.
"""

import argparse
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from recording import RESULTS, opening, write

SIDES = (512, 1024, 2048)
STREAM_BYTES = 1 << 28


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "ceilings.json")
    options = parser.parse_args()
    record = opening()
    record["rounds"] = options.rounds
    record["gemm"] = {
        "fp32": {str(side): best_rate(side, fp32(side), options.rounds) for side in SIDES},
        "int8": {str(side): best_rate(side, int8(side), options.rounds) for side in SIDES},
    }
    record["operations_per_s"] = {
        name: max(rates.values()) for name, rates in record["gemm"].items()
    }
    record["bytes_per_s"] = bandwidth(options.rounds)
    write(options.output, record)


def fp32(side: int) -> Callable[[], object]:
    """Return the faster of two FP32 matrix products: NumPy's BLAS and ONNX Runtime's kernels."""
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(side, side)).astype(np.float32) for _ in range(2))
    session = product("MatMul", TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.FLOAT, side)
    by = {"numpy": lambda: a @ b, "onnxruntime": lambda: session.run(None, {"a": a, "b": b})}
    return min(by.values(), key=lambda run: min(seconds(run) for _ in range(5)))


def int8(side: int) -> Callable[[], object]:
    """Return ONNX Runtime's uint8 by int8 product: what its quantised convolutions come down to."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (side, side), np.uint8)
    b = rng.integers(-128, 128, (side, side), np.int8)
    kinds = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32)
    session = product("MatMulInteger", *kinds, side)
    return lambda: session.run(None, {"a": a, "b": b})


def product(kind: str, a: int, b: int, c: int, side: int) -> onnxruntime.InferenceSession:
    """Build a graph of one matrix product."""
    graph = helper.make_graph(
        [helper.make_node(kind, ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info(n, t, [side, side]) for n, t in (("a", a), ("b", b))],
        [helper.make_tensor_value_info("c", c, [side, side])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def best_rate(side: int, run: Callable[[], object], rounds: int) -> float:
    """Return operations a second of the fastest round."""
    run()
    return 2 * side**3 / min(seconds(run) for _ in range(rounds))


def bandwidth(rounds: int) -> float:
    """Return bytes read and written a second by copies on every core at once."""
    cores = len(os.sched_getaffinity(0))
    values = np.ones(STREAM_BYTES // 8)
    copies = np.empty_like(values)
    pieces = list(zip(np.array_split(values, cores), np.array_split(copies, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pieces))

        copy()
        return 2 * values.nbytes / min(seconds(copy) for _ in range(rounds))


def seconds(run: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
