"""Self-contained HTML pages: one file, no script, no address to load from."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.spec import RESEARCH_USE

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
       max-width: 70rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin-bottom: 0.2rem; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #d5dae1; }
p.use { color: #8a2f1d; font-weight: 600; margin-top: 0; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums;
        display: block; overflow-x: auto; }
th, td { padding: 0.25rem 0.6rem; text-align: left; border-bottom: 1px solid #e3e7ec; }
td.number, th.number { text-align: right; }
img { max-width: 100%; height: auto; }
figure { margin: 1rem 0; }
figcaption { color: #55606e; font-size: 0.9rem; white-space: pre-line; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
.pairs figure { margin: 0; width: 21rem; }
.pairs figcaption { overflow-wrap: anywhere; }
.thumbnails { display: grid; grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr));
              gap: 1.5rem 1rem; }
.thumbnails figure { margin: 0; }
.thumbnails img { width: 100%; }
.thumbnails figcaption { overflow-wrap: anywhere; }
"""

Cell = str | int | float | None


def page(
    title: str, sections: Iterable[tuple[str, str]], *, style: str = "", opening: str = ""
) -> str:
    """Build a page from (heading, HTML) sections, in order; the statement of use comes first.

    `style` is more CSS, `opening` is HTML before the first section.
    """
    body = "".join(f"<h2>{escape(heading)}</h2>\n{html}\n" for heading, html in sections)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="use">{escape(RESEARCH_USE)}</p>\n'
        f"{opening}{body}</body>\n</html>\n"
    )


def paragraph(text: str) -> str:
    """Escape a text and make it a paragraph."""
    return f"<p>{escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """Escape lines and make them a list."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def table(header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """Build a table; numbers are set flush right, None is an en dash, text is escaped."""
    made = [[_cell(cell) for cell in row] for row in rows]
    # A column is numeric where its first cell is.
    numeric = [bool(made) and made[0][column][1] for column in range(len(header))]
    head = "".join(
        f"<th{_CLASS if number else ''}>{escape(name)}</th>"
        for name, number in zip(header, numeric, strict=True)
    )
    lines = "".join(
        "<tr>"
        + "".join(f"<td{_CLASS if number else ''}>{text}</td>" for text, number in row)
        + "</tr>\n"
        for row in made
    )
    return f"<table>\n<tr>{head}</tr>\n{lines}</table>"


def picture(png: bytes, caption: str) -> str:
    """Embed a PNG with its caption, which is its alternative text too."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def pictures(items: Iterable[tuple[bytes, str]]) -> str:
    """Embed small PNGs with their captions, side by side as the window allows."""
    return _side_by_side("pairs", items)


def thumbnails(items: Iterable[tuple[bytes, str]]) -> str:
    """Embed single slices with their captions, as a grid."""
    return _side_by_side("thumbnails", items)


def _side_by_side(kind: str, items: Iterable[tuple[bytes, str]]) -> str:
    return f'<div class="{kind}">{"".join(picture(png, text) for png, text in items)}</div>'


def grey_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Encode (H, W) uint8 grey levels as PNG."""
    return cv2.imencode(".png", pixels)[1].tobytes()


_CLASS = ' class="number"'


def _cell(value: Cell) -> tuple[str, bool]:
    if value is None:
        return "–", True
    if isinstance(value, float):
        return f"{value:.4g}", True
    return escape(str(value)), isinstance(value, int)
