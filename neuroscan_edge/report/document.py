"""A report as sections of text, tables and pictures, written as Markdown or as an HTML page."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neuroscan_edge.report import html as page

Interval = Sequence[float] | None

_WRITTEN_INTERVAL = re.compile(r"\([^()]+ to [^()]+\)")
_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Bullets:
    """Lines of equal standing."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain text under a header of as many cells."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG: embedded in HTML, linked from Markdown as `file`."""

    file: str
    caption: str
    png: bytes


Block = str | Bullets | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it; a text block is a paragraph."""

    heading: str
    blocks: tuple[Block, ...]


def markdown(sections: Iterable[Section]) -> str:
    """Write sections as GitHub-flavoured Markdown."""
    pieces: list[str] = []
    for section in sections:
        pieces.append(f"## {_plain(section.heading)}")
        pieces += [_block_markdown(block) for block in section.blocks]
    return "\n\n".join(pieces) + "\n"


def html(section: Section) -> tuple[str, str]:
    """Return a section as `neuroscan_edge.report.html.page` takes it."""
    return section.heading, "\n".join(_block_html(block) for block in section.blocks)


def percent(value: float | None, interval: Interval = None) -> str:
    """Write a share in %, with its interval: ``78.2 (74.1 to 82.0)``; None is an en dash."""
    return _with_interval(value, interval, 100, 1)


def share(value: float | None, interval: Interval = None) -> str:
    """Write a figure of 0 to 1 as it is, with its interval: ``0.941 (0.921 to 0.959)``."""
    return _with_interval(value, interval, 1, 3)


def points(value: float, interval: Interval = None) -> str:
    """Write a difference of shares in percentage points, signed."""
    return _with_interval(value, interval, 100, 1, "+")


def _with_interval(
    value: float | None, interval: Interval, factor: float, digits: int, sign: str = ""
) -> str:
    if value is None:
        return "–"

    def written(number: float) -> str:
        # Adding 0 turns negative zero into zero: "-0.0" would read as a loss.
        return f"{round(factor * number, digits) + 0.0:{sign}.{digits}f}"

    if interval is None:
        return written(value)
    low, high = interval
    return f"{written(value)} ({written(low)} to {written(high)})"


def _block_markdown(block: Block) -> str:
    if isinstance(block, str):
        return _plain(block)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_plain(line)}" for line in block.lines)
    if isinstance(block, Picture):
        return f"![{_plain(block.caption)}]({block.file})"
    rule = ("---",) * len(block.header)
    rows = (block.header, rule, *block.rows)
    return "\n".join("| " + " | ".join(map(_plain, cells)) + " |" for cells in rows)


def _block_html(block: Block) -> str:
    if isinstance(block, str):
        return page.paragraph(block)
    if isinstance(block, Bullets):
        return page.bullets(block.lines)
    if isinstance(block, Picture):
        return page.picture(block.png, block.caption)
    return page.table(block.header, [[_unbroken(cell) for cell in row] for row in block.rows])


def _unbroken(cell: str) -> str:
    """Keep an interval on one line."""
    return _WRITTEN_INTERVAL.sub(lambda found: found[0].replace(" ", _NO_BREAK), cell)


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup, in text that names may be part of."""
    return re.sub(r"([\\`*<>|\[\]])", r"\\\1", " ".join(text.split()))
