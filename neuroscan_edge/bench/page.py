"""A record as a page: verdicts, latency distributions, stacked stages, throughput over batch."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from neuroscan_edge.bench.harness import Verdict
from neuroscan_edge.bench.record import BenchRecord
from neuroscan_edge.report.charts import curve, histogram, stacked_bars
from neuroscan_edge.report.html import Cell, bullets, page, paragraph, table

_SLOWEST = 15
_VERDICTS = {
    Verdict.VALID: "valid: every figure may be quoted",
    Verdict.UNSTABLE: "unstable: the figures may not be quoted",
    Verdict.PARTIAL: "partial: the run was cut short, the figures may not be quoted",
}


def render_page(record: BenchRecord) -> str:
    """Return the page of a record, self-contained."""
    content = record.content
    model = content["model"]
    title = f"Benchmark: {model['bundle']} {model['precision']}"
    if model.get("runtime"):
        title += f" on {model['runtime']}"
    return page(title, _sections(record))


def _sections(record: BenchRecord) -> Iterator[tuple[str, str]]:
    content = record.content
    yield "Verdict", _verdict(record)
    if content["scenarios"]:
        yield "Scenarios", _scenarios(content["scenarios"])
    for section in content["scenarios"]:
        if section.get("latencies_ms"):
            name = f"Latency, {section['scenario']} ({section['scope']})"
            yield name, _distribution(section)
    if "stages" in content:
        yield "Where the time goes", _stages(content["stages"])
    if content.get("layers"):
        yield "Layers of the model", _layers(content["layers"])
    if content.get("sweep"):
        yield "Throughput over batch size", _sweep(content["sweep"])
    loadgen = [each for each in content["scenarios"] if "loadgen" in each]
    if loadgen:
        yield "Beside MLPerf's LoadGen", _loadgen(loadgen)
    if content.get("cold_start"):
        cold = content["cold_start"]
        yield (
            "Cold start",
            paragraph(
                f"From the start of a process to its first result: {cold['median_s']:.2f} s, the "
                f"median of {len(cold['runs_s'])} ({min(cold['runs_s']):.2f} to "
                f"{max(cold['runs_s']):.2f}); the first {cold['first_s']:.2f} s."
            ),
        )
    yield "Memory, energy, GPU", _memory(content)
    yield "Machine, software, options", _circumstances(content)


def _verdict(record: BenchRecord) -> str:
    html = f"<p><strong>{_VERDICTS[record.verdict]}</strong></p>"
    notes = [*record.reasons, *record.content["input"].get("notes", [])]
    return html + (bullets(notes) if notes else "")


def _scenarios(sections: list[dict[str, Any]]) -> str:
    rows: list[list[Cell]] = []
    for each in sections:
        latency = each.get("latency_ms") or {}
        rows.append(
            [
                f"{each['scenario']}, {each['scope']}",
                each["verdict"],
                each["queries"],
                each["samples"],
                each["samples_per_s"],
                *(latency.get(name) for name in ("p50", "p90", "p99", "min", "max")),
                latency.get("early_stopping_estimate"),
                None if each["window_spread"] is None else f"{100 * each['window_spread']:.1f} %",
            ]
        )
    header = (
        "scenario",
        "verdict",
        "queries",
        "slices",
        "slices/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "min ms",
        "max ms",
        "bound ms",
        "spread",
    )
    return table(header, rows) + paragraph(
        "A percentile stands here only where there are enough queries for it. The bound is what "
        "the scenario's percentile stays below with 99 % confidence, by MLPerf's early stopping. "
        "The spread is that of all windows of time."
    )


def _distribution(section: dict[str, Any]) -> str:
    latency = section["latency_ms"]
    marks = {name: latency[name] for name in ("p50", "p90", "p99") if latency.get(name)}
    values = np.asarray(section["latencies_ms"], np.float64)
    name = f"{section['scenario']}: distribution of latencies"
    return histogram(values, marks or {"max": float(values.max())}, "ms", name)


def _stages(stages: dict[str, Any]) -> str:
    alone, together = stages["one_at_a_time"], stages["streaming"]
    rows = {"one at a time": alone["stages_ms"], "busy, streaming": together["stages_ms"]}
    html = stacked_bars(rows, "ms", "milliseconds a slice, by stage")
    both = list(dict.fromkeys([*alone["stages_ms"], *together["stages_ms"]]))
    whole = alone["file_to_result_ms"]
    cells: list[list[Cell]] = [
        [
            name,
            alone["stages_ms"].get(name),
            f"{100 * alone['stages_ms'].get(name, 0) / whole:.1f} %",
            together["stages_ms"].get(name),
        ]
        for name in both
    ]
    cells.append(["file to result", whole, "100 %", together["elapsed_ms"]])
    header = ("stage", "one at a time, ms", "share", "streaming, busy ms")
    return (
        html
        + table(header, cells)
        + paragraph(
            f"One at a time: {alone['slices']} files, each from file to result before the next. "
            f"Streaming: batches of {together['batch_size']}, {together['workers']} decoding "
            "threads; stages overlap, so what all threads spend in a stage adds up to more than "
            "the time a slice takes, which is the last line."
        )
    )


def _layers(layers: dict[str, Any]) -> str:
    if "kinds" not in layers:
        return paragraph(layers["reason"])
    whole = layers["ms"]
    rows: list[list[Cell]] = [
        [
            *_named(each),
            each["layers"],
            each["ms"],
            f"{100 * each['ms'] / whole:.1f} %",
            _rate(each),
        ]
        for each in layers["kinds"]
    ]
    rows.append(["all", "", len(layers["layers"]), whole, "100 %", None])
    kinds = table(("kind", "in", "layers", "ms", "share", "billion operations/s"), rows)
    slowest: list[list[Cell]] = [
        [each["name"], each["operator"], *_named(each), each["ms"], _rate(each)]
        for each in layers["layers"][:_SLOWEST]
    ]
    header = ("layer", "operator", "kind", "in", "ms", "billion operations/s")
    return (
        kinds
        + paragraph(
            f"Milliseconds of one core a slice, in batches of {layers['batch_size']}; of "
            f"{layers['runs']} runs the median (OpenVINO: the mean). Names and operators are the "
            "runtime's; operations are two a multiplication and addition. Timing every layer takes "
            "time of its own."
        )
        + paragraph(f"The {len(slowest)} slowest:")
        + table(header, slowest)
    )


def _named(layer: dict[str, Any]) -> list[Cell]:
    precision = "" if layer["operations"] is None else "INT8" if layer["int8"] else "float"
    return [layer["kind"], precision]


def _rate(layer: dict[str, Any]) -> float | None:
    if not layer["operations"] or not layer["ms"]:
        return None
    return float(layer["operations"] / layer["ms"] / 1e6)


def _sweep(sweep: dict[str, Any]) -> str:
    points = [(p["batch_size"], p["samples_per_s"]) for p in sweep["points"]]
    ranges = [(p["samples_per_s_range"][0], p["samples_per_s_range"][1]) for p in sweep["points"]]
    title = "slices a second over batch size"
    return curve(
        points, sweep["knee"], ("slices a batch", "slices a second"), title, ranges
    ) + paragraph(
        f"The bare runtime, medians and ranges of rounds in turns. The knee, {sweep['knee']}, is "
        "the smallest batch within 5 % of the best throughput."
    )


def _loadgen(sections: list[dict[str, Any]]) -> str:
    rows: list[list[Cell]] = []
    for each in sections:
        agreement = each["loadgen"]["agreement"]
        unit = "ms" if each["samples_per_query"] else "slices/s"
        rows.append(
            [
                f"{each['scenario']}, {each['scope']}",
                agreement["ours"] if agreement else None,
                agreement["loadgen"] if agreement else None,
                unit,
                f"{agreement['ratio']:.3f}" if agreement else "-",
                ("yes" if agreement["within_3_percent"] else "no") if agreement else "-",
                f"{each['loadgen']['same_queries']['ratio']:.4f}"
                if each["loadgen"].get("same_queries")
                else "-",
                each["loadgen"]["result"],
            ]
        )
    header = (
        "scenario",
        "ours",
        "LoadGen",
        "unit",
        "ratio",
        "within 3 %",
        "same queries",
        "result",
    )
    return table(header, rows) + paragraph(
        "The ratio compares runs in turns. Same queries: our clock and percentile over the very "
        "queries that LoadGen issued, over LoadGen's own figure; what else the machine does "
        "cancels out. The result is LoadGen's."
    )


def _memory(content: Any) -> str:
    rows: list[list[Cell]] = []
    peak = content.get("memory", {}).get("peak_host_bytes")
    rows.append(["peak host memory", f"{peak / 1e6:.0f} MB" if peak else "not told here"])
    rows.append(["GPU", content.get("gpu", {}).get("reason", "-")])
    for section in content["scenarios"]:
        if "gpu" in section:
            name = f"{section['scenario']} ({section['scope']}): "
            rows += [[name + str(label), value] for label, value in _gpu(section["gpu"])]
    return table(("", ""), rows)


def _gpu(gpu: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for name, label, unit in (
        ("graphics_clock_mhz", "graphics clock", "MHz"),
        ("memory_clock_mhz", "memory clock", "MHz"),
        ("temperature_c", "temperature", "degrees C"),
        ("power_w", "power", "W"),
    ):
        if gpu.get(name):
            rows.append((label, f"{gpu[name][0]:g} to {gpu[name][1]:g} {unit}"))
    if gpu.get("peak_memory_bytes"):
        rows.append(("peak device memory", f"{gpu['peak_memory_bytes'] / 1e6:.0f} MB"))
    if gpu.get("joules_per_slice") is not None:
        rows.append(("energy a slice", f"{gpu['joules_per_slice']:.3g} J"))
    rows.append(("throttled by", ", ".join(gpu.get("throttled_by", [])) or "nothing"))
    return rows


def _circumstances(content: Any) -> str:
    rows: list[list[Cell]] = [["measured", content.get("created", "-")]]
    for heading in ("machine", "software", "model", "options", "input"):
        for name, value in content[heading].items():
            if name in {"files", "notes"} or value in (None, [], {}):
                continue
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            if isinstance(value, dict):
                shown = ", ".join(f"{key} {each}" for key, each in value.items())
            rows.append([f"{heading}: {name}", str(shown)])
    for name in ("load_average_before", "load_average_after"):
        if content.get(name) is not None:
            rows.append([name.replace("_", " "), f"{content[name]:.2f}"])
    return table(("", ""), rows)
