"""The tables of the three scenarios, ours and MLPerf's LoadGen beside them."""

from typing import Any

from benchmarks.machines import described, is_one_machine
from benchmarks.markup import table


def scenarios_table(content: dict[str, Any], peers: dict[str, Any]) -> str:
    """Return our three scenarios, and on what they ran."""
    rows = []
    for each in content["scenarios"]:
        latency = each.get("latency_ms") or {}

        def shown(name: str, latency: dict[str, Any] = latency) -> str:
            value = latency.get(name)
            return "-" if value is None else f"{value:.1f}"

        rows.append(
            [
                each["scenario"],
                each["verdict"],
                str(each["queries"]),
                f"{each['samples_per_s']:.1f}",
                shown("p50"),
                shown("p90"),
                shown("p99"),
                shown("early_stopping_estimate"),
            ]
        )
    header = ["file to result", "verdict", "queries", "slices/s", "p50 ms", "p90", "p99", "bound"]
    other = "" if is_one_machine(content, peers) else ", **another machine** than the tables' above"
    lines = [
        f"{described(content['machine'])}; onnxruntime {content['software']['onnxruntime']}; "
        f"{content['created'][:10]}{other}.",
        table(header, rows),
    ]
    if content["reasons"]:
        lines.append("Not valid because: " + "; ".join(content["reasons"]) + ".")
    if content.get("cold_start"):
        lines.append(
            f"Cold start, process to first result: {content['cold_start']['median_s']:.2f} s. "
            f"Knee of throughput over batch size: {content['sweep']['knee']} slices."
        )
    return "\n\n".join(lines)


def loadgen_table(content: dict[str, Any]) -> str:
    """Return ours beside LoadGen's."""
    rows = []
    for each in content["scenarios"]:
        found = each.get("loadgen", {}).get("agreement")
        what = f"p{100 * each['latency_ms']['percentile']:.0f}, ms" if each.get(
            "latency_ms") else "slices/s"  # fmt: skip
        same = each.get("loadgen", {}).get("same_queries")
        clocks = f"{same['ratio']:.4f}" if same else "-"
        if found is None:
            rows.append(
                [each["scenario"], what, "-", "-", "-", "too few queries to claim it", clocks]
            )
            continue
        rows.append(
            [
                each["scenario"],
                what,
                f"{found['ours']:.2f}",
                f"{found['loadgen']:.2f}",
                f"{found['ratio']:.3f}",
                "yes" if found["within_3_percent"] else "no",
                clocks,
            ]
        )
    return table(
        ["", "figure", "ours", "LoadGen", "ratio", "within 3 %", "same queries, ratio"], rows
    )


def loadgen_summaries(content: dict[str, Any]) -> str:
    """Return LoadGen's own words."""
    blocks = []
    for each in content["scenarios"]:
        if "loadgen" in each:
            text = each["loadgen"]["summary"].split("Test Parameters Used")[0]
            lines = [line.rstrip() for line in text.splitlines() if not line.startswith("====")]
            blocks.append("```text\n" + "\n".join(lines).strip() + "\n```")
    return "\n\n".join(blocks)


def layers_table(content: dict[str, Any], ceilings: dict[str, Any]) -> str:
    """Return what the model's layers take of a core, by kind, and how near that is to the peak."""
    layers = content.get("layers", {})
    if "kinds" not in layers:
        return layers.get("reason", "Not measured yet.")
    cores = ceilings["machine"]["cores"]
    rows = []
    for each in layers["kinds"]:
        precision = rate = share = "-"
        if each["operations"] is not None:
            precision = "INT8" if each["int8"] else "FP32"
            per_s = 1000 * each["operations"] / each["ms"]
            rate = f"{per_s / 1e9:.0f}"
            peak = ceilings["operations_per_s"][precision.lower()] / cores
            share = f"{100 * per_s / peak:.0f} %" if is_one_machine(content, ceilings) else "-"
        part = f"{100 * each['ms'] / layers['ms']:.1f} %"
        name = [each["kind"], precision, str(each["layers"])]
        rows.append([*name, f"{each['ms']:.2f}", part, rate, share])
    rows.append(["all", "-", str(len(layers["layers"])), f"{layers['ms']:.2f}", "100 %", "-", "-"])
    header = [
        f"{content['model']['runtime']} {content['model']['precision']}",
        "in",
        "layers",
        "ms of a core a slice",
        "share",
        "billion operations/s",
        f"of the peak / {cores}",
    ]
    return table(header, rows)
