"""What this machine does at best: matrix products in FP32 and INT8, and memory bandwidth.

    python benchmarks/ceilings.py

A ceiling is what nothing exceeds, so it is the best of many rounds (another process can only lower
it), of several sizes, and of every library here that multiplies matrices: none reaches the peak of
every processor. Products come in chains with constant weights, as layers do: weights may be laid
out once, and INT8 is rounded between products while it is still in registers.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper
from recording import BF16, RESULTS, opening, write

from neuroscan_edge.bench.environment import instruction_sets
from neuroscan_edge.system.machine import usable_cores
from neuroscan_edge.system.timing import race

SIDES = (256, 512, 1024, 2048)
ROWS, DEPTH = 2048, 4
STREAM_BYTES = 1 << 28
Product = Callable[[], object]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--output", type=Path, default=RESULTS / "ceilings.json")
    options = parser.parse_args()
    record = opening()
    record |= ceilings(SIDES, options.rounds)
    record["rounds"] = options.rounds
    record["bytes_per_s"] = bandwidth(STREAM_BYTES, options.rounds)
    write(options.output, record)


def ceilings(sides: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """Measure every library at every size; returns rates by precision, size and library.

    With them: the best of each precision, who reached it, and what OpenVINO calls its kernels,
    which tells an INT8 product from one that was computed in float.
    """
    rates: dict[str, dict[str, dict[str, float]]] = {}
    kernels: dict[str, str] = {}
    chains = {"fp32": fp32_chain, "int8": int8_chain}
    if BF16 & set(instruction_sets()):
        chains["bf16"] = fp32_chain
    for precision, chain in chains.items():
        rates[precision] = {}
        for side in sides:
            runs, kernel = products(chain(side), side, bf16=precision == "bf16")
            # One after the other and not in turns: ONNX Runtime's idle threads go on spinning.
            spent = {name: race({name: run}, rounds)[name] for name, run in runs.items()}
            operations = 2 * DEPTH * ROWS * side**2
            rates[precision][str(side)] = {
                name: operations / (min(each) / 1e9) for name, each in spent.items()
            }
            if kernel:
                kernels[precision] = kernel
    best = {
        precision: max((rate, name) for each in by_side.values() for name, rate in each.items())
        for precision, by_side in rates.items()
        if any(by_side.values())
    }
    return {
        "chain": {"products": DEPTH, "rows": ROWS},
        "gemm": rates,
        "operations_per_s": {precision: rate for precision, (rate, _) in best.items()},
        "reached_by": {precision: name for precision, (_, name) in best.items()},
        "openvino_kernels": kernels,
    }


def fp32_chain(side: int) -> ModelProto:
    """Return a graph of products in FP32, one after the other."""
    rng = np.random.default_rng(0)
    nodes, constants = [], {}
    for index in range(DEPTH):
        # Scaled, so that values stay as they are: tiny ones are slow.
        constants[f"w{index}"] = rng.normal(size=(side, side)).astype(np.float32) / side**0.5
        nodes.append(helper.make_node("MatMul", [f"x{index}", f"w{index}"], [f"x{index + 1}"]))
    return chained(nodes, constants, side)


def int8_chain(side: int) -> ModelProto:
    """Return a graph of products between Q/DQ pairs: uint8 by int8, rounded to uint8 again.

    Weights stay within 7 bits: without VNNI larger ones saturate.
    """
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "scale": np.float32(0.02),
        "zero": np.uint8(128),
        "weights_scale": np.float32(0.001),
        "weights_zero": np.int8(0),
    }
    nodes = []
    for index in range(DEPTH):
        constants[f"w{index}"] = rng.integers(-63, 64, (side, side), np.int8)
        pair = ["scale", "zero"]
        weights = [f"w{index}", "weights_scale", "weights_zero"]
        nodes += [
            helper.make_node("QuantizeLinear", [f"x{index}", *pair], [f"q{index}"]),
            helper.make_node("DequantizeLinear", [f"q{index}", *pair], [f"d{index}"]),
            helper.make_node("DequantizeLinear", weights, [f"v{index}"]),
            helper.make_node("MatMul", [f"d{index}", f"v{index}"], [f"x{index + 1}"]),
        ]
    return chained(nodes, constants, side)


def chained(nodes: list[Any], constants: dict[str, Any], side: int) -> ModelProto:
    """Build the graph from `x0` to the last product, both (ROWS, side) float32."""
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [ROWS, side])
        for name in ("x0", f"x{DEPTH}")
    ]
    tensors = [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()]
    graph = helper.make_graph(nodes, "products", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def products(model: ModelProto, side: int, *, bf16: bool = False) -> tuple[dict[str, Product], str]:
    """Load a chain into every library here; returns what runs it, and OpenVINO's kernels.

    Only OpenVINO computes an FP32 graph in bfloat16.
    """
    data = model.SerializeToString()
    x = np.random.default_rng(1).normal(size=(ROWS, side)).astype(np.float32)
    runs: dict[str, Product] = {}
    if not bf16:
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        runs["onnxruntime"] = lambda: session.run(None, {"x0": x})
    try:
        import openvino
    except ImportError:
        return runs, ""
    core = openvino.Core()
    hint = "bf16" if bf16 else "f32"
    hints = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(data), "CPU", hints)
    request = compiled.create_infer_request()
    runs["openvino"] = lambda: request.infer([x], share_inputs=True)
    told = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    kernels = {
        each["primitiveType"].astype(str)
        for each in told
        if each["layerType"].astype(str) in {"FullyConnected", "MatMul"}
    }
    return runs, ", ".join(sorted(kernels))


def bandwidth(size_bytes: int, rounds: int) -> float:
    """Return bytes read and written a second by copies on every core at once."""
    cores = usable_cores()
    values = np.ones(size_bytes // 8)
    copies = np.empty_like(values)
    pieces = list(zip(np.array_split(values, cores), np.array_split(copies, cores), strict=True))
    with ThreadPoolExecutor(cores) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pieces))

        return 2 * values.nbytes / (min(race({"copy": copy}, rounds)["copy"]) / 1e9)


if __name__ == "__main__":
    main()
