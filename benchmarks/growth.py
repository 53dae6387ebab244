"""Images a second and peak memory of `classify` over more and more slices.

    python benchmarks/growth.py --data DATA --counts 100,1000,10000,100000

Files are repeated through hard links. Each count is a process of its own, since memory's peak is a
process' own. Time is told twice: by the clock, and as what the process and its decoders took of
the cores, which other work on the machine disturbs far less. With --tiny the network is one that
takes almost no time, so that what is left, the pipeline, shows its own memory and time over 100,000
slices in minutes.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import core_seconds, family, resident_bytes
from recording import RESULTS, opening, write

ROOT = Path(__file__).parent.parent
_SAMPLE_S = 0.2
_PROBE = """
import sys
from pathlib import Path
from neuroscan_edge.bench.environment import peak_memory_bytes
from neuroscan_edge.classify.run import ClassifyRequest, run
assert run(ClassifyRequest((Path(sys.argv[1]),), sys.argv[2] or None, Path(sys.argv[3]))) == 0
print(peak_memory_bytes())
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--model", help="bundle; default: the shipped one")
    parser.add_argument("--tiny", action="store_true", help="a network that takes no time")
    parser.add_argument("--counts", default="100,1000,10000,100000")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    name = "growth-tiny.json" if options.tiny else "growth.json"
    output = options.output or RESULTS / name
    record = opening()
    with tempfile.TemporaryDirectory(prefix="neuroscan-growth-") as place:
        model = str(tiny_bundle(Path(place) / "tiny")) if options.tiny else options.model or ""
        record["model"] = "tiny" if options.tiny else model or "the shipped bundle"
        record["points"] = []
        sources = copies(Path(options.data) / "Testing", Path(place) / "sources")
        for count in map(int, options.counts.split(",")):
            point = measure(sources, count, model, Path(place))
            record["points"].append(point)
            print(json.dumps(point), flush=True)
            # Kept at every step: the last count takes the most time.
            write(output, record)


def copies(folder: Path, place: Path) -> list[Path]:
    """Copy the images once: a hard link cannot cross to another file system."""
    place.mkdir()
    found = sorted(path for path in folder.rglob("*.*") if path.is_file())
    return [
        Path(shutil.copyfile(path, place / f"{index:04}{path.suffix}"))
        for index, path in enumerate(found)
    ]


def measure(sources: list[Path], count: int, model: str, place: Path) -> dict[str, Any]:
    """Classify `count` hard links in a new process."""
    folder = place / f"links-{count}"
    for index in range(count):
        source = sources[index % len(sources)]
        # A thousand to a folder, as archives have them.
        target = folder / f"{index // 1000:04}" / f"{index % 1000:03}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    command = [sys.executable, "-c", _PROBE, str(folder), model, str(place / "results.jsonl")]
    started = time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    decoders = 0
    worked: dict[int, float] = {}
    while running.poll() is None:
        children = family(running.pid)
        # What they share with each other counts in each.
        decoders = max(decoders, sum(resident_bytes(each) for each in children))
        # Of decoders that are killed at the end the system tells nothing afterwards.
        for each in (running.pid, *children):
            worked[each] = max(worked.get(each, 0.0), core_seconds(each))
        time.sleep(_SAMPLE_S)
    elapsed_s = time.perf_counter() - started
    said, _ = running.communicate()
    if running.returncode:
        raise SystemExit(f"classify ended with {running.returncode}; run it by hand to see why")
    shutil.rmtree(folder)
    return {
        "slices": count,
        "elapsed_s": elapsed_s,
        "slices_per_s": count / elapsed_s,
        "core_s": sum(worked.values()),
        "peak_memory_bytes": int(said),
        "decoders_peak_bytes": decoders,
    }


def tiny_bundle(folder: Path) -> Path:
    """Write a bundle of the study's input and output around a mean and a product."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    from neuroscan_edge.model.bundle import (
        GRAPHS,
        find_bundle,
        new_manifest,
        open_bundle,
        write_files,
    )
    from neuroscan_edge.spec import Precision

    shipped = open_bundle(find_bundle())
    height, width = shipped.preprocessing.shape
    weights = np.random.default_rng(0).normal(size=(1, len(shipped.labels))).astype(np.float32)
    make = helper.make_node
    nodes = [
        make("Cast", [shipped.input_name], ["real"], to=TensorProto.FLOAT),
        make("ReduceMean", ["real"], ["mean"], axes=[1, 2], keepdims=0),
        make("MatMul", ["mean", "weights"], ["logits"]),
        make("Softmax", ["logits"], [shipped.output_name]),
    ]
    image = ["batch", height, width, 1]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(shipped.input_name, TensorProto.UINT8, image)],
        [helper.make_tensor_value_info(
            shipped.output_name, TensorProto.FLOAT, ["batch", len(shipped.labels)]
        )],
        [numpy_helper.from_array(weights, "weights")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manifest = new_manifest(
        name="tiny",
        labels=shipped.labels,
        preprocessing=shipped.preprocessing,
        input_name=shipped.input_name,
        output_name=shipped.output_name,
        about={},
    )
    write_files(folder, manifest, {GRAPHS[Precision.FP32]: model.SerializeToString()})
    return folder


if __name__ == "__main__":
    main()
