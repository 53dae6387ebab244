"""Kill -9 at random moments, and memory and rate over many slices, of `classify` as it is run.

    python benchmarks/endurance.py kills --data DATA --slices 5000
    python benchmarks/endurance.py growth --data DATA --slices 100000

`kills` runs once unbroken, and again with a kill -9 at each of ten moments drawn from a seed,
continued by --resume after each; the bytes of both results are compared, and every slice counted.
`growth` samples the memory of the process and its decoders, and the rate, as the run goes on. Files
are repeated through hard links, a few bad ones among them. With --tiny the network is one that
takes almost no time, so that what is left is the pipeline.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from growth import ROOT, copies, tiny_bundle
from processes import family, living, resident_bytes
from recording import RESULTS, opening, write

from neuroscan_edge.classify.output.resumable import journal_path
from neuroscan_edge.system.files import sha256_file

KILLS = 10
BAD_EVERY = 997
"""One file in so many cannot be read: a prime, so that they fall anywhere in a batch."""

_SAMPLE_S = 0.5
_READY_S = 120.0


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("kills", "growth"))
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--slices", type=int, help="default: 5000 for kills, 100000 for growth")
    parser.add_argument("--model", help="bundle; default: the shipped one")
    parser.add_argument("--tiny", action="store_true", help="a network that takes no time")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    suffix = "-tiny" if options.tiny else ""
    output = options.output or RESULTS / f"endurance-{options.what}{suffix}.json"
    slices = options.slices or (5000 if options.what == "kills" else 100_000)
    record = opening()
    with tempfile.TemporaryDirectory(prefix="neuroscan-endurance-") as place:
        folder = Path(place)
        model = str(tiny_bundle(folder / "tiny")) if options.tiny else options.model
        record["model"] = "tiny" if options.tiny else model or "the shipped bundle"
        testing = Path(options.data) / "Testing"
        sources = copies(testing if testing.is_dir() else Path(options.data), folder / "sources")
        scans = links(sources, slices, folder / "scans")
        arguments = [str(scans), *(["--model", model] if model else [])]
        if options.what == "kills":
            record["kills"] = kills(arguments, slices, folder, random.Random(options.seed))
        else:
            record["growth"] = growth(arguments, slices, folder)
    write(output, record)
    if options.what == "kills" and not record["kills"]["identical"]:
        sys.exit("the results differ from those of an unbroken run")


def links(sources: list[Path], count: int, folder: Path) -> Path:
    """Make `count` hard links, a thousand to a folder, and every so often a file that is bad."""
    for index in range(count):
        source = sources[index % len(sources)]
        target = folder / f"{index // 1000:04}" / f"{index % 1000:03}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if index % BAD_EVERY == BAD_EVERY - 1:
            target.write_bytes(source.read_bytes()[:200])
        else:
            os.link(source, target)
    return folder


def kills(arguments: list[str], slices: int, folder: Path, chance: random.Random) -> dict[str, Any]:
    """Compare a run that is killed ten times with one that is not."""
    whole, output = folder / "whole.jsonl", folder / "results.jsonl"
    elapsed_s = unbroken(arguments, whole)
    print(f"{slices} slices unbroken in {elapsed_s:.1f} s", flush=True)
    # Moments by what is done, not by the clock: a kill before anything is done shows nothing.
    size = sum(1 for _ in whole.open("rb"))
    moments = sorted(chance.randrange(1, max(size - 1, 2)) for _ in range(KILLS))
    killed = []
    for moment in moments:
        running = start(arguments, output)
        done = wait_until(running, output, moment)
        # Anywhere in a batch, or in the writing of one.
        time.sleep(chance.uniform(0, 0.3 * elapsed_s * 16 / slices))
        decoders = family(running.pid)
        running.kill()
        running.wait()
        killed.append(
            {
                "asked_after": moment,
                "seen_before": done,
                "kept": rows_kept(output),
                "decoders": len(decoders),
                "decoders_left": survivors(decoders),
            }
        )
        print(json.dumps(killed[-1]), flush=True)
        if output.exists():
            # The last moments may fall together with the end.
            break
    before = rows_kept(output)
    running = start(arguments, output)
    code = running.wait()
    rows = Counter(identity(line) for line in output.open("rb"))
    return {
        "slices": slices,
        "unbroken_s": elapsed_s,
        "kills": killed,
        "exit_code": code,
        "continued_after": before,
        "sha256_unbroken": sha256_file(whole),
        "sha256_killed": sha256_file(output),
        "identical": whole.read_bytes() == output.read_bytes(),
        "rows": sum(rows.values()),
        "twice": sum(count - 1 for count in rows.values()),
        "missing": slices - len({path for path, _ in rows}),
        "decoders_left": sum(each["decoders_left"] for each in killed),
    }


def unbroken(arguments: list[str], output: Path) -> float:
    """Run to the end; returns seconds."""
    started = time.perf_counter()
    code = start(arguments, output).wait()
    if code not in {0, 1} or not output.exists():
        sys.exit(f"classify ended with {code}; run it by hand to see why")
    return time.perf_counter() - started


def start(arguments: list[str], output: Path) -> "subprocess.Popen[bytes]":
    """Start `classify`, continuing what there is."""
    command = [sys.executable, "-m", "neuroscan_edge", "classify", *arguments]
    return subprocess.Popen(
        [*command, "--output", str(output), "--resume"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )


def wait_until(running: "subprocess.Popen[bytes]", output: Path, rows: int) -> int:
    """Wait until so many rows are kept, or the run has ended; returns how many are."""
    before, moved_at = -1, time.monotonic()
    while True:
        kept = rows_kept(output)
        if kept >= rows or running.poll() is not None:
            return kept
        if kept != before:
            before, moved_at = kept, time.monotonic()
        elif time.monotonic() - moved_at > _READY_S:
            running.kill()
            sys.exit(f"nothing was done for {_READY_S:.0f} s")
        time.sleep(0.002)


class _Tail:
    """Counts a journal's rows without reading it again from the beginning."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.rows = 0

    def count(self) -> int:
        try:
            if self.path.stat().st_size < self.offset:
                self.offset = self.rows = 0
            with self.path.open("rb") as file:
                file.seek(self.offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self.offset += len(line)
                    record = json.loads(line.split(b" ", 1)[1])
                    self.rows += len(record.get("results", ()))
        except FileNotFoundError:
            self.offset = self.rows = 0
        return self.rows


_tails: dict[Path, _Tail] = {}


def rows_kept(output: Path) -> int:
    """Count the rows that a run has kept so far; all of them once the output is whole."""
    path = journal_path(output)
    return _tails.setdefault(path, _Tail(path)).count()


def identity(line: bytes) -> tuple[str, int]:
    """Name the slice that a row is of."""
    row = json.loads(line)
    return row["path"], row["frame"]


def growth(arguments: list[str], slices: int, folder: Path) -> dict[str, Any]:
    """Sample memory and rate over one long run."""
    output = folder / "results.jsonl"
    running = start(arguments, output)
    started = time.monotonic()
    samples = []
    while running.poll() is None:
        memory = [resident_bytes(each) for each in family(running.pid)]
        samples.append(
            {
                "s": round(time.monotonic() - started, 2),
                "rows": rows_kept(output),
                "run_bytes": resident_bytes(running.pid),
                "decoder_bytes": sum(memory),
                "decoders": len(memory),
            }
        )
        # As dense at the end as at the beginning, and some hundred in all.
        time.sleep(max(_SAMPLE_S, (time.monotonic() - started) / 200))
    elapsed_s = time.monotonic() - started
    if not output.exists():
        sys.exit(f"classify ended with {running.returncode}; run it by hand to see why")
    rows = sum(1 for _ in output.open("rb"))
    return {
        "slices": slices,
        "rows": rows,
        "exit_code": running.returncode,
        "elapsed_s": elapsed_s,
        "slices_per_s": rows / elapsed_s,
        "tenths": tenths(samples),
        "samples": samples,
    }


def tenths(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Summarise a run in ten parts of equal length: rate and greatest memory of each."""
    busy = [sample for sample in samples if sample["rows"]]
    parts = []
    for index in range(10):
        part = busy[len(busy) * index // 10 : len(busy) * (index + 1) // 10 + 1]
        if len(part) < 2:
            continue
        seconds = part[-1]["s"] - part[0]["s"]
        parts.append(
            {
                "slices_per_s": (part[-1]["rows"] - part[0]["rows"]) / seconds,
                "run_bytes": max(sample["run_bytes"] for sample in part),
                "decoder_bytes": max(sample["decoder_bytes"] for sample in part),
                "decoder_bytes_median": statistics.median(
                    sample["decoder_bytes"] for sample in part
                ),
            }
        )
    return parts


def survivors(processes: list[int]) -> int:
    """Count those that still live a second after their run was killed."""
    deadline = time.monotonic() + 1.0
    while left := set(processes) & {child for child, _ in living()}:
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return len(left)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
