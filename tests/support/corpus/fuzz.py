"""Mutate the corpus for a stated time and classify what comes of it, under the watchdog.

    PYTHONPATH=tests python -m support.corpus.fuzz --seconds 300 --seed 1 --keep unsound/

Prints one JSON object: executions, outcomes, crashes, hangs, tracebacks, slowest and largest. The
exit code is 1 if there was anything that must not be; the inputs of those are kept.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from support.corpus.case import Case
from support.corpus.hostile_dicom import dicom_cases
from support.corpus.hostile_nifti import nifti_cases
from support.corpus.hostile_raster import raster_cases
from support.corpus.hostile_tiff import tiff_cases
from support.corpus.mutations import mutated
from support.corpus.watchdog import MEMORY_LIMIT_BYTES, Watchdog
from support.scan_cases import PATIENT_WORDS
from support.tiny_models import tiny_bundle

LIMIT_S = 10.0
SLOW_S = 2.0
"""An input this slow is kept too, and counted, though it is sound."""

IMAGE_PIXELS = 1 << 20
QUOTED = "quoted"
_LARGEST_SEED_BYTES = 1 << 16


def seeds(cases: list[Case]) -> list[tuple[str, bytes]]:
    """Return suffix and content of the corpus's small files."""
    found = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            path = case.make(Path(folder))
            if path.stat().st_size <= _LARGEST_SEED_BYTES:
                found.append((path.suffix, path.read_bytes()))
    return found


def fuzz(seconds: float, seed: int, keep: Path) -> dict[str, Any]:
    """Run for a time; returns what is to be reported."""
    draw = random.Random(seed)
    known = seeds([*raster_cases(), *tiff_cases(), *dicom_cases(), *nifti_cases()])
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    executions = unsound = slow = 0
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        bundle = tiny_bundle(Path(folder) / "tiny")
        with Watchdog(bundle.folder, LIMIT_S, IMAGE_PIXELS) as watchdog:
            # The worker's start is no part of any input's time.
            first = Path(folder) / "first.png"
            first.write_bytes(known[0][1])
            watchdog.ask(first, whole=False)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                suffix, data = draw.choice(known)
                changed = mutated(data, draw.choice(known)[1], draw)
                path = Path(folder) / f"scan{suffix}"
                path.write_bytes(changed)
                answer = watchdog.ask(path, whole=False)
                path.unlink()
                executions += 1
                outcomes.update(answer.outcomes or {"no row"})
                kinds.update(str(row["error"]).split(":")[0] for row in answer.rows if row["error"])
                slowest = max(slowest, answer.seconds)
                largest = max(largest, answer.peak_bytes)
                shown = json.dumps([{**row, "path": ""} for row in answer.rows]) + answer.said
                quoted = any(word.lower() in shown.lower() for word in PATIENT_WORDS)
                outcomes[QUOTED] += quoted
                bad = quoted or not answer.sound or not answer.outcomes
                unsound += bad
                slow += answer.seconds > SLOW_S
                if bad or answer.seconds > SLOW_S:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / f"{seed}-{executions}{suffix}").write_bytes(changed)
                    (keep / f"{seed}-{executions}.txt").write_text(
                        f"{answer.seconds:.1f} s {answer.outcomes}\n{answer.said}\n{shown}\n"
                    )
    return {
        "seconds": seconds,
        "seed": seed,
        "seeds": len(known),
        "executions": executions,
        "rows": {name: count for name, count in outcomes.most_common() if count},
        "errors": dict(kinds.most_common()),
        "unsound": unsound,
        "slow": slow,
        "slowest_s": round(slowest, 3),
        "largest_mib": int(largest) >> 20,
        "limit_s": LIMIT_S,
        "limit_mib": MEMORY_LIMIT_BYTES >> 20,
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("unsound"))
    options = parser.parse_args()
    report = fuzz(options.seconds, options.seed, options.keep)
    print(json.dumps(report, indent=2))
    sys.exit(report["unsound"] > 0)


if __name__ == "__main__":
    main()
