"""One process that classifies what it is told, one input after the other, under a memory limit.

Reads a JSON object a line, {"input": ..., "whole": bool}, from standard input and answers each with
one on the descriptor it was given. `whole` runs the command's own function, opening the bundle and
writing a results file; otherwise an opened runtime is used again, which is fast.
"""

import contextlib
import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from neuroscan_edge.classify.pipeline import PipelineOptions, classify_files
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.classify.run import run
from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import open_bundle
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.scans import Limits, find_scans
from neuroscan_edge.spec import Precision

PRECISION = Precision.FP32


def main() -> None:
    """Run until standard input ends."""
    answers, bundle_folder, limit_bytes, image_pixels = sys.argv[1:]
    limit = int(limit_bytes)
    limits = Limits(file_bytes=1 << 26, image_pixels=int(image_pixels), frames=64)
    options = PipelineOptions(workers=1, limits=limits)
    bundle = open_bundle(Path(bundle_folder))
    with open_runtime(bundle, RuntimeOptions(PRECISION, threads=1)) as runtime:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        with os.fdopen(int(answers), "w") as out:
            for line in sys.stdin:
                asked = json.loads(line)
                if asked["whole"]:
                    answer = _watched(partial(_whole, asked["input"], bundle_folder))
                else:
                    answer = _watched(partial(_fast, asked["input"], bundle, runtime, options))
                out.write(json.dumps(answer) + "\n")
                out.flush()


def _watched(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    _forget_peak()
    started = time.perf_counter()
    answer: dict[str, Any] = {"trace": None, "exit": None, "rows": []}
    try:
        answer |= work()
    except NeuroScanError as error:
        answer |= {"exit": error.exit_code, "said": str(error)}
    except BaseException:
        # Anything else is what the corpus looks for.
        answer["trace"] = traceback.format_exc()
    answer["seconds"] = time.perf_counter() - started
    answer["peak_bytes"] = _peak_bytes()
    return answer


def _whole(scan: str, bundle_folder: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "results.jsonl"
        request = ClassifyRequest(
            (Path(scan),), bundle_folder, output, precision=PRECISION, workers=1, threads=1
        )
        code = run(request)
        return {"exit": code, "rows": [json.loads(row) for row in output.open()]}


def _fast(scan: str, bundle: Any, runtime: Any, options: PipelineOptions) -> dict[str, Any]:
    files = find_scans([Path(scan)]).files
    rows = [each.to_json() for each in classify_files(files, bundle, runtime, options)]
    return {"exit": int(any(row["error"] for row in rows)), "rows": rows}


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    main()
