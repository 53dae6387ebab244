"""A record in a few lines, for a terminal."""

from typing import Any

from neuroscan_edge.bench.record import BenchRecord


def summary_lines(record: BenchRecord) -> list[str]:
    """Return a line for each scenario, then stages, layers, knee, cold start and verdict."""
    content = record.content
    lines = [_scenario(each) for each in content["scenarios"]]
    for each in content["scenarios"]:
        if "loadgen" in each:
            lines.append(_loadgen(each))
    if "stages" in content:
        stages = content["stages"]["one_at_a_time"]
        parts = ", ".join(f"{name} {value:.3g}" for name, value in stages["stages_ms"].items())
        lines.append(f"file to result {stages['file_to_result_ms']:.3g} ms: {parts}")
    layers = content.get("layers", {})
    if "kinds" in layers:
        parts = ", ".join(f"{_layer_kind(each)} {each['ms']:.3g}" for each in layers["kinds"])
        lines.append(f"layers, ms of one core a slice: {parts}")
    elif layers:
        lines.append(f"no layers: {layers['reason']}")
    if content.get("sweep"):
        lines.append(f"knee: {content['sweep']['knee']} slices a batch")
    if content.get("cold_start"):
        lines.append(f"cold start: {content['cold_start']['median_s']:.2f} s to the first result")
    if not any("gpu" in each for each in content["scenarios"]):
        lines.append(f"no GPU figures: {content['gpu']['reason']}")
    lines += [f"note: {each}" for each in content["input"]["notes"]]
    lines.append(f"verdict: {record.verdict}")
    lines += [f"  {reason}" for reason in record.reasons]
    return lines


def _layer_kind(each: dict[str, Any]) -> str:
    if each["operations"] is None:
        return str(each["kind"])
    return f"{each['kind']} {'INT8' if each['int8'] else 'float'}"


def _scenario(section: dict[str, Any]) -> str:
    name = f"{section['scenario']} ({section['scope']})"
    if not section["samples"]:
        return f"{name}: nothing was measured"
    rate = section["samples_per_s"]
    latency = section.get("latency_ms")
    if not latency:
        return f"{name}: {rate:.4g} slices/s over {section['samples']} slices"
    label = f"p{100 * latency['percentile']:.0f}"
    if latency["claimed"] is None:
        return (
            f"{name}: no {label} from {section['queries']} queries, it needs "
            f"{latency['queries_needed']}; mean {latency['mean']:.4g} ms"
        )
    bound = latency["early_stopping_estimate"]
    return (
        f"{name}: {label} {latency['claimed']:.4g} ms (below {bound:.4g} with 99 % confidence), "
        f"{rate:.4g} slices/s over {section['queries']} queries"
    )


def _loadgen(section: dict[str, Any]) -> str:
    found = section["loadgen"]["agreement"]
    name = f"{section['scenario']} ({section['scope']}), LoadGen"
    if found is None:
        return f"{name}: nothing to compare ({section['loadgen']['result']})"
    unit = "ms" if section["samples_per_query"] else "slices/s"
    within = "within" if found["within_3_percent"] else "not within"
    return (
        f"{name}: {found['loadgen']:.4g} {unit}, ours {found['ours']:.4g}: "
        f"ratio {found['ratio']:.3f}, {within} 3 %"
    )
