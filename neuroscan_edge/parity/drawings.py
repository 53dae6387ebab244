"""Drawings for the certificate's page, as SVG: no script, no file beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

BASELINE_COLOUR = "#5b6b7d"
ENGINE_COLOUR = "#1f6fb2"
_GRID = "#d5dae1"
_INK = "#1c2430"
_FAINT = "#6b7685"


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
        _text(left, 16, "worse than the baseline", anchor="start", colour=_FAINT),
        _text(width - 20, 16, "better", anchor="end", colour=_FAINT),
    ]
    for tick in _ticks(reach):
        parts.append(_line(x(tick), top - 8, x(tick), height - 30, _INK if tick == 0 else _GRID))
        parts.append(_text(x(tick), height - 12, f"{tick:+g}" if tick else "0", colour=_FAINT))
    for index, delta in enumerate(deltas):
        y = top + row * index + 8
        parts.append(_text(left - 14, y + 4, delta.name, anchor="end"))
        if delta.limit is not None:
            parts.append(
                f'<rect x="{x(-reach):.1f}" y="{y - 11}" width="{x(delta.limit) - x(-reach):.1f}" '
                'height="22" fill="#f6d9d3"/>'
            )
        if delta.interval is not None:
            low, high = delta.interval
            parts.append(_line(x(low), y, x(high), y, ENGINE_COLOUR, 2.5))
        parts.append(f'<circle cx="{x(delta.value):.1f}" cy="{y}" r="5" fill="{ENGINE_COLOUR}"/>')
    return _svg(width, height, "Differences, engine minus baseline", parts)


def reliability(bins: Sequence[Mapping[str, Any]], title: str, colour: str) -> str:
    """Draw accuracy by confidence: bars against the diagonal, images below.

    bins : from `reliability_bins`.
    """
    left, top, side = 46, 28, 250
    parts = [_text(left + side / 2, 16, title, weight="600")]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = top + side * (1 - share)
        parts.append(_line(left, y, left + side, y, _GRID))
        parts.append(_text(left - 6, y + 4, f"{share:.0%}", anchor="end", colour=_FAINT, size=11))
    most = max((each["images"] for each in bins), default=0) or 1
    for each in bins:
        if not each["images"]:
            continue
        x, step = left + side * each["above"], side * (each["up_to"] - each["above"])
        tall = side * each["accuracy"]
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{top + side - tall:.1f}" width="{step - 2:.1f}" '
            f'height="{tall:.1f}" fill="{colour}" opacity="0.85"/>'
        )
        drop = 34 * each["images"] / most
        parts.append(
            f'<rect x="{x + 1:.1f}" y="{top + side + 22}" width="{step - 2:.1f}" '
            f'height="{drop:.1f}" fill="{_FAINT}"/>'
        )
        parts.append(
            _text(x + step / 2, top + side + 35 + drop, str(each["images"]), size=9, colour=_FAINT)
        )
    parts.append(_line(left, top + side, left + side, top, _INK, 1.2, dash=True))
    for share in (0, 0.5, 1):
        parts.append(
            _text(left + side * share, top + side + 15, f"{share:.0%}", size=11, colour=_FAINT)
        )
    parts.append(
        _text(left + side / 2, top + side + 88, "how sure it says it is", size=12, colour=_FAINT)
    )
    parts.append(
        f'<text x="12" y="{top + side / 2}" font-size="12" fill="{_FAINT}" text-anchor="middle" '
        f'transform="rotate(-90 12 {top + side / 2})">how often it is right</text>'
    )
    return _svg(left + side + 14, top + side + 96, f"Reliability of {title}", parts)


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
        mark = " ✓" if name == truth else ""
        weight = "600" if name == truth else "400"
        parts.append(_text(left - 8, y + 17, name + mark, anchor="end", size=12, weight=weight))
        for value, colour, place, chosen in (
            (before, BASELINE_COLOUR, y, decided[0] == name),
            (after, ENGINE_COLOUR, y + 13, decided[1] == name),
        ):
            long = max((width - left - 56) * value, 0.5)
            parts.append(
                f'<rect x="{left}" y="{place}" width="{long:.1f}" height="11" fill="{colour}" '
                f'opacity="{1 if chosen else 0.45}"/>'
            )
            parts.append(
                _text(
                    left + long + 5,
                    place + 9.5,
                    f"{100 * value:.1f} %",
                    anchor="start",
                    size=10.5,
                    weight="600" if chosen else "400",
                )
            )
    return _svg(width, row * len(rows), "Probabilities of baseline and engine", parts)


def _ticks(reach: float) -> list[float]:
    step = next(each for each in (0.5, 1, 2, 5, 10, 20, 50, 100) if reach / each <= 4)
    count = int(reach / step)
    return [step * index for index in range(-count, count + 1)]


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    colour: str = _INK,
    size: float = 13,
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )


def _line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, *, dash: bool = False
) -> str:
    dashes = ' stroke-dasharray="5 4"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{dashes}/>'
    )


def _svg(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(label)}" font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
