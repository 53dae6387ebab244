"""Drawings for the certificate's page, as SVG: no script, no file beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuroscan_edge.svg import FAINT, INK, PALE, box, dot, line, svg, text

BASELINE_COLOUR = "#5b6b7d"
ENGINE_COLOUR = "#1f6fb2"
_BEYOND = "#f6d9d3"


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
