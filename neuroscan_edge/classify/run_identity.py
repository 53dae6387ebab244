"""All that the bytes of a run's results depend on, by the names that people know it under."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from neuroscan_edge import __version__
from neuroscan_edge.classify.pipeline import AUTO_BATCH, PipelineOptions
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.runtimes import Parallelism, Runtime, RuntimeOptions
from neuroscan_edge.system.machine import this_machine


def run_identity(
    files: Iterable[Path],
    bundle: Bundle,
    runtime: Runtime,
    runtime_options: RuntimeOptions,
    options: PipelineOptions,
    others: Mapping[str, Any],
) -> dict[str, Any]:
    """Return it, JSON-ready.

    Parameters
    ----------
    files : iterable of Path
        In order.
    bundle, runtime
        What classifies them, loaded.
    runtime_options : RuntimeOptions
        With the threads and streams that the runtime was loaded with.
    options : PipelineOptions
        Batch size and limits.
    others : mapping
        What else the results depend on, JSON-ready.
    """
    info = runtime.info
    count, digest = _digest(files)
    manifest = json.dumps(bundle.manifest, sort_keys=True)
    return {
        "neuroscan-edge": __version__,
        "the model": bundle.name,
        "the model's files": hashlib.sha256(manifest.encode()).hexdigest(),
        "the engine": info.engine_sha256,
        "the runtime": f"{info.runtime} {info.version}",
        "the device": info.device,
        "the processor": this_machine().cpu,
        "the precision": str(info.precision),
        # Why it is there may differ; where, and so which code computes, may not.
        "preprocessing": info.preprocessing.split(" ")[0],
        "the batch size": options.batch_size or info.batch_size or AUTO_BATCH,
        "threads and streams": asdict(runtime_options.on_cpu),
        "the limits": asdict(options.limits),
        "the number of files": count,
        "the files' names, sizes and times": digest,
        **others,
    }


def parallelism_of(identity: Mapping[str, Any]) -> Parallelism:
    """Return the threads and streams that a run was begun with."""
    return Parallelism(**identity["threads and streams"])


def _digest(files: Iterable[Path]) -> tuple[int, str]:
    digest = hashlib.sha256()
    count = 0
    for path in files:
        try:
            status = os.stat(path)
            facts = f"{status.st_size} {status.st_mtime_ns}"
        except OSError:
            facts = "absent"
        digest.update(os.fsencode(path) + b"\0" + facts.encode() + b"\n")
        count += 1
    return count, digest.hexdigest()
