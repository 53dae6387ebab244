"""The picture of growth: memory that should be flat above time that should be linear."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from neuroscan_edge.report.svg import COLOURS, FAINT, dot, line, round_step, svg, text

_WIDTH, _LEFT, _RIGHT, _PANEL, _GAP = 960, 80, 150, 190, 62
_TOP = 34
_COLOURS = (COLOURS[0], COLOURS[3], COLOURS[4], COLOURS[6])

Points = Sequence[tuple[float, float]]
Place = Callable[[float, float], tuple[float, float]]


def growth_chart(series: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw peak memory and seconds over the number of slices.

    Parameters
    ----------
    series : mapping of str to sequence
        By name, the points of a growth record: `slices`, `elapsed_s`, `peak_memory_bytes`.
    """
    counts = sorted({float(point["slices"]) for points in series.values() for point in points})
    across = _logarithmic(counts, _LEFT + 20, _WIDTH - _RIGHT - 20)
    memory = {
        name: [(point["slices"], point["peak_memory_bytes"] / 1e6) for point in points]
        for name, points in series.items()
    }
    seconds = {
        name: [(point["slices"], point["elapsed_s"]) for point in points]
        for name, points in series.items()
    }
    lower = _TOP + _PANEL + _GAP
    parts = [
        *_memory_panel(memory, across, _TOP, _TOP + _PANEL),
        *_seconds_panel(seconds, across, lower, lower + _PANEL),
    ]
    bottom = lower + _PANEL
    for count in counts:
        if np.log10(count) % 1 == 0:
            parts.append(text(across(count), bottom + 20, f"{count:,.0f}", "middle"))
    parts.append(text(_WIDTH - _RIGHT + 24, bottom + 20, "slices"))
    title = "peak memory, and seconds, over the number of slices"
    return svg(_WIDTH, bottom + 34, parts, title)


def _memory_panel(
    series: Mapping[str, Points], across: Callable[[float], float], top: float, bottom: float
) -> list[str]:
    highest = 1.1 * max(value for points in series.values() for _, value in points)
    up = (bottom - top) / highest
    parts = [text(_LEFT, top - 14, "peak memory, MB")]
    for tick in np.arange(0, highest, round_step(highest, 4)):
        parts += _gridline(bottom - tick * up, f"{tick:g}")
    for index, (name, points) in enumerate(series.items()):
        parts += _drawn(name, [(across(x), bottom - y * up) for x, y in points], index)
    return parts


def _seconds_panel(
    series: Mapping[str, Points], across: Callable[[float], float], top: float, bottom: float
) -> list[str]:
    every = [value for points in series.values() for _, value in points]
    powers = np.arange(np.floor(np.log10(min(every))), np.ceil(np.log10(max(every))) + 1)
    down = _logarithmic([10.0 ** powers[0], 10.0 ** powers[-1]], bottom, top)
    words = "seconds, start included; dashed: in proportion to the last point"
    parts = [text(_LEFT, top - 14, words)]
    for power in powers:
        parts += _gridline(down(10.0**power), f"{10.0**power:,g}")
    for index, (name, points) in enumerate(series.items()):
        parts += _proportion(points, across, down, 10.0 ** powers[0], _COLOURS[index])
        parts += _drawn(name, [(across(x), down(y)) for x, y in points], index)
    return parts


def _proportion(
    points: Points,
    across: Callable[[float], float],
    down: Callable[[float], float],
    least: float,
    colour: str,
) -> list[str]:
    """Draw what time would be if it were in proportion, within the panel."""
    last, most = points[-1]
    first = max(points[0][0], last * least / most)
    ends = across(first), down(most * first / last), across(last), down(most)
    return [line(*ends, colour, "4 4")]


def _gridline(y: float, label: str) -> list[str]:
    return [line(_LEFT, y, _WIDTH - _RIGHT, y), text(_LEFT - 8, y + 4, label, "end", FAINT)]


def _drawn(name: str, places: Points, index: int) -> list[str]:
    colour = _COLOURS[index]
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="2"/>']
    parts += [dot(x, y, 4, colour) for x, y in places]
    x, y = places[-1]
    return [*parts, text(x + 12, y + 4, name, "start", colour)]


def _logarithmic(values: Sequence[float], first: float, last: float) -> Callable[[float], float]:
    """Return what places a value between two ends by its logarithm."""
    low, high = np.log10(min(values)), np.log10(max(values))
    span = (high - low) or 1.0
    return lambda value: float(first + (np.log10(value) - low) / span * (last - first))
