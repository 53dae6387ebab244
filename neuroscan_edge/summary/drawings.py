"""Drawings of the summary's page."""

from collections.abc import Mapping, Sequence

from neuroscan_edge.svg import COLOURS, box, line, svg, text

OUTCOME_COLOURS = {
    "answer": "#2f7d58",
    "refer": "#c4820e",
    "rejected": "#9aa3ad",
    "failed": "#b5402f",
}
_WIDTH = 960
_FAINT = "#55606e"
_POINT = "#c0392b"


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
    shapes.append(line(left, 0, left, y - gap + 4, _FAINT))
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
    shapes.append(line(left, bottom, width - left, bottom, _FAINT))
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        x = left + share * (width - 2 * left)
        shapes.append(text(x, bottom + 18, f"{share:.0%}", anchor, _FAINT))
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
        shapes.append(text(left - 8, y + 4, f"{share:.0%}", "end", _FAINT))
        shapes.append(text(x, top + side + 18, f"{share:.0%}", "middle", _FAINT))
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
