"""The summary for a terminal."""

from collections.abc import Iterator

from neuroscan_edge.model.labels import display_name
from neuroscan_edge.parity.evaluation.operating_point import OperatingPoint
from neuroscan_edge.parity.evaluation.proportions import Share
from neuroscan_edge.results.summary.counts import OUTCOMES, Tally
from neuroscan_edge.results.summary.demographics import ShownTable
from neuroscan_edge.results.summary.model import Summary
from neuroscan_edge.results.summary.screening import Screening
from neuroscan_edge.spec import RESEARCH_USE

OUTCOME_NAMES = {
    "answer": "answered",
    "refer": "referred to a person",
    "rejected": "rejected",
    "failed": "failed",
}
HIDDEN = "hidden"
"""Stands where a cell is hidden."""


def summary_text(summary: Summary) -> str:
    """Write the summary as lines."""
    return "\n".join([RESEARCH_USE, *_lines(summary)]) + "\n"


def share_text(share: Share) -> str:
    """Write a share in %, with its interval and its counts."""
    low, high = share.interval()
    return (
        f"{100 * share.value:.1f} % ({100 * low:.1f} to {100 * high:.1f}; "
        f"{share.count} of {share.of})"
    )


def point_rows(point: OperatingPoint) -> list[tuple[str, str, str]]:
    """Return what is told of an operating point: figure, held out, on the same images."""
    return [
        (
            "sensitivity, any tumour",
            share_text(point.held_out_sensitivity),
            share_text(point.sensitivity),
        ),
        ("specificity", share_text(point.held_out_specificity), share_text(point.specificity)),
    ]


def cell_text(value: int | None) -> str:
    """Write a cell of a demographic table."""
    return HIDDEN if value is None else str(value)


def column_name(name: str) -> str:
    """Name a row or column of a demographic table."""
    return {"refer": "Referred"}.get(name, display_name(name))


def plain(text: str) -> str:
    """Make text safe for a terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _lines(summary: Summary) -> Iterator[str]:
    tally = summary.tally
    yield "1 slice" if tally.slices == 1 else f"{tally.slices} slices"
    for name in OUTCOMES:
        yield f"  {OUTCOME_NAMES[name]:<22}{_count(tally.outcomes[name], tally.slices)}"
    if tally.classes:
        yield ""
        yield f"{'class':<22}{'slices':>8}{'referred':>10}   confidence p10 / median / p90"
    for label, each in sorted(tally.classes.items()):
        count, quantile = each.confidences.count, each.confidences.quantile
        yield (
            f"{plain(display_name(label)):<22}{count:>8}{each.outcomes['refer'] / count:>10.1%}   "
            f"{quantile(0.1):.3f} / {quantile(0.5):.3f} / {quantile(0.9):.3f}"
        )
    for title, counts in (("findings", tally.findings), ("errors", tally.errors)):
        if counts:
            yield ""
            yield title
            for name, count in counts.most_common():
                yield f"  {name:<22}{_count(count, tally.slices)}"
    yield from _groups(tally)
    yield ""
    yield "made by"
    for (model, precision, runtime, digest), count in tally.made_by.most_common():
        yield f"  {plain(f'{model}, {precision}, {runtime}, {digest[:12]}')}: {count} slices"
    words = {"yes": "certified", "no": "not certified", "not told": "not told whether certified"}
    yield f"  {', '.join(f'{words[key]}: {count}' for key, count in tally.certified.items())}"
    yield ""
    yield from _screening(summary.screening, tally)
    if summary.demographics is not None:
        for title, table in (
            ("by sex", summary.demographics.by_sex()),
            ("by age", summary.demographics.by_age()),
        ):
            yield ""
            yield from _table(title, table)
        if summary.demographics.missing:
            yield f"{summary.demographics.missing} slices: no file where the row says"
    if summary.rows.passed_over:
        yield ""
        yield f"{summary.rows.passed_over} lines are no rows and were passed over"
        for number, reason in summary.rows.named:
            yield f"  line {number}: {reason}"


def _groups(tally: Tally) -> Iterator[str]:
    for level, outcomes in tally.group_outcomes.items():
        yield ""
        yield f"{outcomes.total()} rows of {level} ({', '.join(sorted(tally.aggregated))})"
        for label, each in sorted(tally.groups.get(level, {}).items()):
            count = _count(each.confidences.count, outcomes.total())
            yield f"  {plain(display_name(label)):<22}{count}"


def _screening(screening: Screening, tally: Tally) -> Iterator[str]:
    point = screening.point
    if point is None:
        yield f"no operating point for screening: {plain(screening.source)}"
        return
    yield (
        f"screening for any tumour, sensitivity of at least {100 * point.wanted:g} %: "
        f"suspicious from a risk of {point.threshold:.4g}"
    )
    for name, held_out, same in point_rows(point):
        yield f"  {name:<24}held out {held_out}; on the images it was chosen on {same}"
    yield f"  chosen on {screening.source}, {point.part} part"
    if tally.judged:
        yield f"  suspicious here         {_count(tally.suspicious, tally.judged)}"


def _table(title: str, table: ShownTable) -> Iterator[str]:
    if table.withheld:
        yield f"{title}: withheld, cells of too few patients could be computed"
        return
    names = [column_name(column)[:12] for column in table.columns]
    yield f"{title:<14}" + "".join(f"{plain(name):>13}" for name in names) + f"{'all':>9}"
    for name, cells, total in zip(table.rows, table.cells, table.totals, strict=True):
        line = "".join(f"{cell_text(cell):>13}" for cell in cells)
        yield f"{name:<14}{line}{cell_text(total):>9}"
    if table.joined:
        yield f"  the others: {plain(', '.join(map(column_name, table.joined)))}"


def _count(count: int, whole: int) -> str:
    return f"{count:>8}{count / whole if whole else 0:>9.1%}"
