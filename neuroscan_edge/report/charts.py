"""Charts as SVG, for benchmarks, certificates and summaries: no plotting library and no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.report.svg import (
    COLOURS,
    FAINT,
    INK,
    MARK,
    PALE,
    box,
    dot,
    line,
    round_step,
    svg,
    text,
)

BASELINE_COLOUR = "#5b6b7d"
ENGINE_COLOUR = "#1f6fb2"
_BEYOND = "#f6d9d3"
OUTCOME_COLOURS = {
    "answer": "#2f7d58",
    "refer": "#c4820e",
    "rejected": "#9aa3ad",
    "failed": "#b5402f",
}
_WIDTH = 960
_AXIS = "#55606e"
_POINT = "#c0392b"


def stacked_bars(rows: Mapping[str, Mapping[str, float]], unit: str, title: str) -> str:
    """Draw a horizontal bar for each row, stacked by stage, with one legend for all.

    Parameters
    ----------
    rows : mapping of str to mapping of str to float
        Value by stage, by row.
    unit : str
        Of the values.
    title : str
        For those who cannot see it.
    """
    width, left, bar, gap = 960, 190, 34, 18
    names = list(dict.fromkeys(name for stages in rows.values() for name in stages))
    largest = max((sum(stages.values()) for stages in rows.values()), default=1.0) or 1.0
    scale = (width - left - 110) / largest
    bottom = 10 + len(rows) * (bar + gap)
    parts: list[str] = []
    step = round_step(largest)
    for tick in np.arange(0, largest + step / 2, step):
        x = left + tick * scale
        if x > width - 20:
            # Its label would be cut off.
            break
        parts += [line(x, 6, x, bottom), text(x, bottom + 16, f"{tick:g}", "middle")]
    for index, (label, stages) in enumerate(rows.items()):
        y, x = 10 + index * (bar + gap), float(left)
        parts.append(text(left - 10, y + bar / 2 + 5, label, "end"))
        for name, value in stages.items():
            colour = COLOURS[names.index(name) % len(COLOURS)]
            parts.append(box(x, y, value * scale, bar, colour))
            x += value * scale
        parts.append(text(x + 8, y + bar / 2 + 5, f"{sum(stages.values()):.3g} {unit}"))
    parts.append(text(left - 10, bottom + 16, unit, "end"))
    height = bottom + 46
    x = float(left)
    for index, name in enumerate(names):
        needed = 26 + 7.2 * len(name)
        if x + needed > width:
            x, height = float(left), height + 22
        parts += [
            box(x, height - 12, 14, 14, COLOURS[index % len(COLOURS)]),
            text(x + 20, height, name),
        ]
        x += needed + 14
    return svg(width, height + 12, parts, title)


def histogram(
    values: npt.NDArray[np.float64], marks: Mapping[str, float], unit: str, title: str
) -> str:
    """Draw a distribution with named positions; what lies above its 99.9th percentile is told."""
    width, height, left, bottom, top = 960, 290, 60, 240, 48
    limit = max(float(np.quantile(values, 0.999)), *marks.values()) if len(values) else 1.0
    low = float(values.min())
    span = (limit - low) or max(limit, 1e-9) * 0.1
    low, limit = max(low - 0.05 * span, 0.0), limit + 0.05 * span
    bins = min(60, max(8, round(2 * len(values) ** 0.5)))
    counts, edges = np.histogram(values[values <= limit], bins=bins, range=(low, limit))
    across = (width - left - 20) / (limit - low)
    up = (bottom - top) / max(int(counts.max()), 1)
    parts = []
    step = round_step(limit - low, 8)
    for tick in np.arange(np.ceil(low / step) * step, limit, step):
        x = left + (tick - low) * across
        parts += [line(x, bottom, x, bottom + 5, INK), text(x, bottom + 20, f"{tick:g}", "middle")]
    for number, edge in zip(counts, edges, strict=False):
        x, tall = left + (edge - low) * across, number * up
        parts.append(box(x, bottom - tall, (edges[1] - edges[0]) * across - 1, tall, COLOURS[0]))
    parts.append(line(left, bottom, width - 20, bottom, INK))
    for index, (name, value) in enumerate(marks.items()):
        x, y = left + (value - low) * across, 16 + 13 * (index % 3)
        parts += [
            line(x, y + 4, x, bottom, MARK, "4 3"),
            text(x + 4 if x < width - 170 else x - 4, y, f"{name} {value:.3g} {unit}",
                 "start" if x < width - 170 else "end", MARK),
        ]  # fmt: skip
    above = int((values > limit).sum())
    more = f"; {above} above {limit:.3g} not drawn" if above else ""
    parts.append(text(left, bottom + 40, f"{unit}, {len(values)} queries{more}"))
    return svg(width, height, parts, title)


def curve(
    points: Sequence[tuple[float, float]],
    mark: float | None,
    labels: tuple[str, str],
    title: str,
    ranges: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw values over a logarithmic axis, each point named, one of them marked.

    Parameters
    ----------
    points : sequence of (x, y)
        x above 0.
    mark : float or None
        The x to mark.
    labels : (str, str)
        Of the two axes.
    title : str
        For those who cannot see it.
    ranges : sequence of (low, high)
        Of each point's y, drawn as a bar.
    """
    width, left, bottom, top = 960, 70, 250, 30
    highest = max([y for _, y in points] + [high for _, high in ranges])
    logs = [float(np.log2(x)) for x, _ in points]
    across = (width - left - 60) / ((max(logs) - min(logs)) or 1.0)
    up = (bottom - top) / (highest * 1.05)
    parts = []
    step = round_step(highest)
    for tick in np.arange(0, highest * 1.05, step):
        y = bottom - tick * up
        parts += [line(left, y, width - 40, y), text(left - 8, y + 4, f"{tick:g}", "end")]
    places = [(left + 20 + (log - min(logs)) * across * 0.96, bottom - y * up)
              for log, (_, y) in zip(logs, points, strict=True)]  # fmt: skip
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(
        f'<polyline points="{joined}" fill="none" stroke="{COLOURS[0]}" stroke-width="2"/>'
    )
    for index, ((px, py), (x, _)) in enumerate(zip(places, points, strict=True)):
        marked = mark is not None and x == mark
        colour = MARK if marked else COLOURS[0]
        if ranges:
            low, high = ranges[index]
            parts.append(line(px, bottom - low * up, px, bottom - high * up, colour))
        parts.append(dot(px, py, 6 if marked else 4, colour))
        parts.append(text(px, bottom + 18, f"{x:g}", "middle"))
        if marked:
            parts += [
                line(px, py, px, bottom, MARK, "4 3"),
                text(px + 8, py + 22, "knee", "start", MARK),
            ]
    parts += [
        text((left + width - 40) / 2, bottom + 40, labels[0], "middle"),
        text(left, 16, labels[1]),
    ]
    return svg(width, bottom + 54, parts, title)


@dataclass(frozen=True, slots=True)
class Delta:
    """One difference, engine minus baseline, in percentage points.

    Parameters
    ----------
    name : str
        Of the figure.
    value : float
        The difference.
    interval : (float, float) or None
        Its paired interval.
    limit : float or None
        How far it may fall: a negative number of points, where the gate has one.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    limit: float | None = None


def forest(deltas: Sequence[Delta]) -> str:
    """Draw differences with their intervals around a line at zero, a row each."""
    left, width, row, top = 230, 760, 30, 34
    reach = 1.0
    for delta in deltas:
        for value in (delta.value, *(delta.interval or ()), delta.limit or 0):
            reach = max(reach, abs(value))
    reach *= 1.15
    height = top + row * len(deltas) + 34

    def x(value: float) -> float:
        return left + (value / reach + 1) * (width - left - 20) / 2

    parts = [
        text(left, 16, "worse than the baseline", "start", FAINT),
        text(width - 20, 16, "better", "end", FAINT),
    ]
    for tick in _ticks(reach):
        parts.append(line(x(tick), top - 8, x(tick), height - 30, PALE if tick else INK))
        label = f"{tick:+g}" if tick else "0"
        parts.append(text(x(tick), height - 12, label, "middle", FAINT))
    for index, delta in enumerate(deltas):
        y = top + row * index + 8
        parts.append(text(left - 14, y + 4, delta.name, "end"))
        if delta.limit is not None:
            parts.append(box(x(-reach), y - 11, x(delta.limit) - x(-reach), 22, _BEYOND))
        if delta.interval is not None:
            low, high = delta.interval
            parts.append(line(x(low), y, x(high), y, ENGINE_COLOUR, width=2.5))
        parts.append(dot(x(delta.value), y, 5, ENGINE_COLOUR))
    title = "Differences, engine minus baseline"
    return svg(width, height, parts, title, inline=True)


def reliability(bins: Sequence[Mapping[str, Any]], title: str, colour: str) -> str:
    """Draw accuracy by confidence: bars against the diagonal, images below.

    bins : from `reliability_bins`.
    """
    left, top, side = 46, 28, 250
    bottom = top + side
    parts = [text(left + side / 2, 16, title, "middle", bold=True)]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + side * (1 - share)
        parts.append(line(left, y, left + side, y))
        parts.append(text(left - 6, y + 4, f"{share:.0%}", "end", FAINT, size=11))
    most = max((each["images"] for each in bins), default=0) or 1
    for each in bins:
        if not each["images"]:
            continue
        x, step = left + side * each["above"], side * (each["up_to"] - each["above"])
        tall, drop = side * each["accuracy"], 34 * each["images"] / most
        number = str(each["images"])
        parts += [
            box(x + 1, bottom - tall, step - 2, tall, colour, opacity=0.85),
            box(x + 1, bottom + 22, step - 2, drop, FAINT),
            text(x + step / 2, bottom + 35 + drop, number, "middle", FAINT, size=9),
        ]
    parts.append(line(left, bottom, left + side, top, INK, "5 4", width=1.2))
    for share in (0, 0.5, 1):
        parts.append(
            text(left + side * share, bottom + 15, f"{share:.0%}", "middle", FAINT, size=11)
        )
    label = "how sure it says it is"
    parts.append(text(left + side / 2, bottom + 88, label, "middle", FAINT, size=12))
    upright = text(12, top + side / 2, "how often it is right", "middle", FAINT, size=12)
    parts.append(f'<g transform="rotate(-90 12 {top + side / 2})">{upright}</g>')
    return svg(left + side + 14, bottom + 96, parts, f"Reliability of {title}", inline=True)


def probability_bars(
    rows: Sequence[tuple[str, float, float]], truth: str, decided: tuple[str, str]
) -> str:
    """Draw two rows of probabilities class by class: the baseline's bar above the engine's.

    rows : (class, baseline, engine); `truth` and the two decisions are among the classes.
    """
    left, width, row = 142, 360, 32
    parts = []
    for index, (name, before, after) in enumerate(rows):
        y = index * row + 4
        true = name == truth
        label = f"{name} ✓" if true else name
        parts.append(text(left - 8, y + 17, label, "end", size=12, bold=true))
        for value, colour, place, chosen in (
            (before, BASELINE_COLOUR, y, decided[0] == name),
            (after, ENGINE_COLOUR, y + 13, decided[1] == name),
        ):
            long = max((width - left - 56) * value, 0.5)
            share = f"{100 * value:.1f} %"
            parts += [
                box(left, place, long, 11, colour, opacity=1 if chosen else 0.45),
                text(left + long + 5, place + 9.5, share, size=10.5, bold=chosen),
            ]
    title = "Probabilities of baseline and engine"
    return svg(width, row * len(rows), parts, title, inline=True)


def _ticks(reach: float) -> list[float]:
    step = next(each for each in (0.5, 1, 2, 5, 10, 20, 50, 100) if reach / each <= 4)
    count = int(reach / step)
    return [step * index for index in range(-count, count + 1)]


def one_bar(parts: Mapping[str, tuple[int, str]], title: str) -> str:
    """Draw shares of a whole as one bar with a legend that tells counts.

    parts : count and colour by name.
    """
    whole = sum(count for count, _ in parts.values()) or 1
    shapes: list[str] = []
    x, legend = 0.0, 0.0
    for name, (count, colour) in parts.items():
        wide = _WIDTH * count / whole
        shapes.append(box(x, 0, wide, 44, colour))
        if wide > 60:
            shapes.append(text(x + wide / 2, 27, f"{count / whole:.1%}", "middle", "#fff"))
        shapes.append(box(legend, 60, 14, 14, colour))
        words = f"{name}: {count} ({count / whole:.1%})"
        shapes.append(text(legend + 20, 72, words))
        legend += 44 + 7.0 * len(words)
        x += wide
    return svg(_WIDTH, 84, shapes, title)


def bars(rows: Mapping[str, Mapping[str, int]], colours: Mapping[str, str], title: str) -> str:
    """Draw a horizontal bar for each row, stacked, with its count at the end.

    rows : counts by part, by row; colours : by part.
    """
    left, bar, gap = 190, 26, 12
    largest = max((sum(parts.values()) for parts in rows.values()), default=1) or 1
    scale = (_WIDTH - left - 80) / largest
    shapes: list[str] = []
    y = 4.0
    for name, parts in rows.items():
        x = float(left)
        shapes.append(text(left - 12, y + bar / 2 + 5, _short(name), "end"))
        for part, count in parts.items():
            shapes.append(box(x, y, count * scale, bar, colours[part]))
            x += count * scale
        shapes.append(text(x + 8, y + bar / 2 + 5, str(sum(parts.values()))))
        y += bar + gap
    shapes.append(line(left, 0, left, y - gap + 4, _AXIS))
    return svg(_WIDTH, round(y), shapes, title)


def small_histogram(counts: Sequence[int], title: str, colour: str, mark: float | None) -> str:
    """Draw counts over equal bins of 0 to 1, with one value marked."""
    width, height, left, bottom, top = 300, 170, 8, 138, 30
    across = (width - 2 * left) / len(counts)
    up = (bottom - top) / (max(counts, default=0) or 1)
    shapes = [text(left, 16, _short(title, 30)), text(width - left, 16, str(sum(counts)), "end")]
    for index, count in enumerate(counts):
        x = left + index * across
        shapes.append(box(x + 0.5, bottom - count * up, across - 1, count * up, colour))
    shapes.append(line(left, bottom, width - left, bottom, _AXIS))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = left + share * (width - 2 * left)
        shapes.append(text(x, bottom + 18, f"{share:.0%}", anchor, _AXIS))
    if mark is not None:
        x = left + mark * (width - 2 * left)
        shapes.append(line(x, top - 6, x, bottom, _POINT, "4 3"))
    return svg(width, height, shapes, title)


def screening_curve(
    points: Sequence[tuple[float, float]], chosen: tuple[float, float], title: str
) -> str:
    """Draw sensitivity over 1 - specificity, and the chosen point."""
    side, left, top = 300, 56, 14

    def place(point: tuple[float, float]) -> tuple[float, float]:
        return left + side * point[0], top + side * (1 - point[1])

    shapes: list[str] = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = place((share, share))
        shapes += [line(left, y, left + side, y), line(x, top, x, top + side)]
        shapes.append(text(left - 8, y + 4, f"{share:.0%}", "end", _AXIS))
        shapes.append(text(x, top + side + 18, f"{share:.0%}", "middle", _AXIS))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
    colour = COLOURS[0]
    shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    x, y = place(chosen)
    shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="{_POINT}"/>')
    shapes.append(
        text(left + side / 2, top + side + 40, "share of healthy called suspicious", "middle")
    )
    shapes.append(
        f'<text x="14" y="{top + side / 2}" text-anchor="middle" '
        f'transform="rotate(-90 14 {top + side / 2})">share of tumours found</text>'
    )
    return svg(left + side + 24, top + side + 52, shapes, title)


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
