"""Files to results: `classify` beside Keras, its memory, its cold start. Ratios from one run.

    python benchmarks/classify.py --data DATA --baseline training/checkpoints/xception-tuned.keras

Both sides decode and preprocess the same files with the same number of threads and the same code,
and take turns; the ratio is that of medians. Memory and start-up are whole processes' own.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parent.parent
KERAS_BATCH = 32


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--baseline", type=Path, required=True)
    parser.add_argument("--model", default=None, help="bundle; default: the shipped one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, help="write the record here, as JSON")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    record = {
        "machine": machine(),
        "throughput": throughput(options.data / "Testing", options),
        "memory": memory(options.data / "Testing", options.model),
        "start": start_up(options.data / "Testing", options.model),
    }
    text = json.dumps(record, indent=2)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")


def machine() -> dict[str, Any]:
    """Describe what this ran on."""
    import onnxruntime
    import tensorflow

    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "tensorflow": tensorflow.__version__,
    }


def throughput(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Images a second from files to results, the two in turn."""
    import keras

    from neuroscan_edge.classification import ClassifyRequest, run
    from neuroscan_edge.preprocess.cpu import CpuPreprocessor
    from neuroscan_edge.scans import find_scans, read_scans
    from neuroscan_edge.spec import Preprocessing

    model = keras.models.load_model(options.baseline, compile=False)
    files = find_scans([folder]).files
    preprocessor = CpuPreprocessor(Preprocessing())
    workers = len(os.sched_getaffinity(0))

    def with_keras() -> None:
        with ThreadPoolExecutor(workers) as pool:
            slices = pool.map(lambda path: preprocessor(next(read_scans(path)).pixels), files)
            batch = np.stack(list(slices))[..., None]
        model.predict(batch, batch_size=KERAS_BATCH, verbose=0)

    def with_classify() -> None:
        with tempfile.TemporaryDirectory() as place:
            output = Path(place) / "results.jsonl"
            request = ClassifyRequest((folder,), model=options.model, output=output)
            if run(request) != 0:
                raise SystemExit("not every slice was classified")

    with_keras()
    with_classify()
    rates: dict[str, list[float]] = {"keras": [], "classify": []}
    for _ in range(options.rounds):
        for name, step in (("keras", with_keras), ("classify", with_classify)):
            started = time.perf_counter()
            step()
            rates[name].append(len(files) / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    pairs = [ours / theirs for ours, theirs in zip(rates["classify"], rates["keras"], strict=True)]
    return {
        "images": len(files),
        "images_per_s": rates,
        "median_images_per_s": medians,
        "ratio_of_medians": medians["classify"] / medians["keras"],
        "ratio_min": min(pairs),
        "ratio_max": max(pairs),
    }


def memory(folder: Path, model: str | None, times: int = 10) -> dict[str, int]:
    """Peak resident memory of `classify` over the folder, and over `times` as many files."""
    with tempfile.TemporaryDirectory() as place:
        many = Path(place)
        for copy in range(times):
            for index, path in enumerate(sorted(folder.rglob("*.*"))):
                (many / f"{copy}-{index}{path.suffix}").symlink_to(path.resolve())
        once, often = (peak_bytes(source, model) for source in (folder, many))
    return {"once_bytes": once, f"times_{times}_bytes": often}


def peak_bytes(folder: Path, model: str | None) -> int:
    """Peak resident memory of one `classify` process."""
    probe = (
        "import sys; from pathlib import Path\n"
        "from neuroscan_edge.classification import ClassifyRequest, run\n"
        "output = Path(sys.argv[3])\n"
        "assert run(ClassifyRequest((Path(sys.argv[1]),), sys.argv[2] or None, output)) == 0\n"
        # Not getrusage: its peak includes that of the process which started this one.
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) * 1024)\n"
    )
    with tempfile.TemporaryDirectory() as place:
        output = Path(place) / "results.jsonl"
        arguments = [sys.executable, "-c", probe, str(folder), model or "", str(output)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=ROOT)
    return int(done.stdout)


def start_up(folder: Path, model: str | None, runs: int = 5) -> dict[str, float]:
    """Median seconds of whole processes: one image classified, and the help."""
    image = next(path for path in sorted(folder.rglob("*.*")) if path.is_file())
    chosen = ["--model", model] if model else []
    commands = {
        "one_image_s": ["classify", str(image), *chosen],
        "help_s": ["--help"],
    }
    return {
        name: statistics.median(process_s(arguments) for _ in range(runs))
        for name, arguments in commands.items()
    }


def process_s(arguments: list[str]) -> float:
    """Wall time of one `neuroscan-edge` process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "neuroscan_edge", *arguments]
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
