"""Shapes of an SVG as text: charts are drawn with these, with no library and no script."""

from collections.abc import Sequence
from html import escape

import numpy as np

INK, PALE, FAINT, MARK = "#1c2430", "#d5dae1", "#6b7685", "#c0392b"

COLOURS = (
    "#4c78a8",
    "#72b7b2",
    "#eeca3b",
    "#f58518",
    "#b279a2",
    "#9d9da1",
    "#54a24b",
    "#d8d8dc",
)


def svg(
    width: float, height: float, parts: Sequence[str], title: str, *, inline: bool = False
) -> str:
    """Wrap shapes in an SVG of its own, as wide as what holds it; `inline` in a page, as it is."""
    size, style = (f"{width:g}", "") if inline else ("100%", ' style="height:auto"')
    # A page knows the namespace, and nothing in it should look like an address.
    names = "" if inline else ' xmlns="http://www.w3.org/2000/svg"'
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{size}" role="img"{style} '
        f'aria-label="{escape(title, quote=True)}"{names} '
        f'font-family="system-ui, sans-serif" font-size="13" fill="{INK}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    colour: str = INK,
    *,
    size: float = 13,
    bold: bool = False,
) -> str:
    """Place a line of text."""
    font = "" if size == 13 else f' font-size="{size:g}"'
    font += ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{font}>'
        f"{escape(words)}</text>"
    )


def line(
    x1: float,
    y1: float,
    x2: float,
    y2: float,
    colour: str = PALE,
    dash: str = "",
    *,
    width: float = 1,
) -> str:
    """Draw a straight line."""
    look = "" if width == 1 else f' stroke-width="{width:g}"'
    look += f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{look}/>'
    )


def box(x: float, y: float, width: float, height: float, colour: str, *, opacity: float = 1) -> str:
    """Draw a filled rectangle."""
    faded = "" if opacity == 1 else f' opacity="{opacity:g}"'
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" '
        f'height="{max(height, 0):.1f}" fill="{colour}"{faded}/>'
    )


def dot(x: float, y: float, radius: float, colour: str) -> str:
    """Draw a filled circle."""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def round_step(largest: float, steps: int = 5) -> float:
    """Return 1, 2 or 5 times a power of ten, so that about `steps` of them reach `largest`."""
    if largest <= 0:
        return 1.0
    rough = largest / steps
    power = 10.0 ** np.floor(np.log10(rough))
    for factor in (1, 2, 5, 10):
        if factor * power >= rough * (1 - 1e-9):
            return float(factor * power)
    return float(10 * power)
