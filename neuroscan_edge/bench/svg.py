"""Charts of benchmarks as SVG: the page needs no plotting library and no script."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from neuroscan_edge.svg import COLOURS, INK, MARK, box, dot, line, round_step, svg, text


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
