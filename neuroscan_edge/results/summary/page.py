"""The summary as a page: the figures that matter first, legible at a glance."""

from collections import Counter
from collections.abc import Iterator
from html import escape

from neuroscan_edge.model.labels import NO_TUMOUR, display_name, printable
from neuroscan_edge.parity.evaluation.operating_point import curve
from neuroscan_edge.report.charts import (
    OUTCOME_COLOURS,
    bars,
    one_bar,
    screening_curve,
    small_histogram,
)
from neuroscan_edge.report.document import percent
from neuroscan_edge.report.html import Cell, bullets, page, paragraph, table
from neuroscan_edge.report.svg import COLOURS
from neuroscan_edge.results.summary.counts import OUTCOMES, Tally
from neuroscan_edge.results.summary.demographics import DemographicTables, ShownTable
from neuroscan_edge.results.summary.model import Summary
from neuroscan_edge.results.summary.text import (
    HIDDEN,
    OUTCOME_NAMES,
    cell_text,
    column_name,
    point_rows,
)

_STYLE = """
.tiles { display: flex; flex-wrap: wrap; gap: 0.8rem; margin: 1.2rem 0; }
.tile { border: 1px solid #d5dae1; border-radius: 10px; padding: 0.7rem 1.1rem; min-width: 8.2rem; }
.tile b { display: block; font-size: 1.9rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: #55606e; font-size: 0.92rem; }
.small { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
.beside { display: flex; flex-wrap: wrap; gap: 1rem 2.5rem; align-items: flex-start; }
.beside > svg { max-width: 24rem; } .beside > div { flex: 1; min-width: 24rem; }
h3 { font-size: 1.02rem; margin: 1.2rem 0 0.2rem; }
td { overflow-wrap: anywhere; }
td.hidden { color: #98a2ae; font-size: 0.85rem; }
table.shares td, table.shares th { text-align: right; }
table.shares td:first-child, table.shares th:first-child { text-align: left; }
"""
_FINDING_COLOUR = COLOURS[0]


def summary_page(summary: Summary) -> str:
    """Write the page; it needs no other file, and names no scan and no person."""
    return page("Results at a glance", _sections(summary), style=_STYLE, opening=_tiles(summary))


def _tiles(summary: Summary) -> str:
    tally = summary.tally
    classified = tally.outcomes["answer"] + tally.outcomes["refer"]
    tumour = sum(
        each.confidences.count for label, each in tally.classes.items() if label != NO_TUMOUR
    )
    tiles = [(str(tally.slices), "slices")]
    tiles += [
        (_percent(tally.outcomes[name], tally.slices), OUTCOME_NAMES[name]) for name in OUTCOMES
    ]
    if NO_TUMOUR in tally.classes:
        tiles.append((_percent(tumour, classified), "of those classified called a tumour"))
    if summary.screening.point is not None and tally.judged:
        tiles.append((_percent(tally.suspicious, tally.judged), "above the screening threshold"))
    made = "".join(
        f'<div class="tile"><b>{escape(figure)}</b><span>{escape(words)}</span></div>'
        for figure, words in tiles
    )
    return f'<div class="tiles">{made}</div>'


def _sections(summary: Summary) -> Iterator[tuple[str, str]]:
    tally = summary.tally
    outcomes = {
        OUTCOME_NAMES[name]: (tally.outcomes[name], OUTCOME_COLOURS[name]) for name in OUTCOMES
    }
    yield "What became of the slices", one_bar(outcomes, "Decisions")
    if tally.classes:
        yield "What they were called", _classes(tally)
        yield "How sure the model was", _confidences(tally)
    if tally.findings or tally.errors:
        yield "Why a person must look, or nothing was said", _findings(tally)
    if tally.group_outcomes:
        yield "Series and studies", _groups(tally)
    yield "Screening for any tumour", _screening(summary)
    if summary.demographics is not None:
        yield "By sex and age", _demographics(summary.demographics)
    yield "What made these results", _made_by(tally)
    if summary.rows.passed_over:
        yield "Lines passed over", _passed_over(summary)


def _classes(tally: Tally) -> str:
    rows = {
        display_name(label): {name: each.outcomes[name] for name in ("answer", "refer")}
        for label, each in sorted(tally.classes.items())
    }
    cells = [
        [
            display_name(label),
            str(each.confidences.count),
            percent(each.outcomes["refer"] / each.confidences.count) + " %",
            *(f"{each.confidences.quantile(share):.3f}" for share in (0.1, 0.5, 0.9)),
        ]
        for label, each in sorted(tally.classes.items())
    ]
    header = ("class", "slices", "referred", "confidence, p10", "median", "p90")
    return (
        bars(rows, OUTCOME_COLOURS, "Slices by predicted class")
        + paragraph("Green: answered. Yellow: referred to a person.")
        + _shares_table(header, cells)
    )


def _confidences(tally: Tally) -> str:
    drawn = [
        small_histogram(
            each.confidences.coarse(20), display_name(label), COLOURS[index % len(COLOURS)], None
        )
        for index, (label, each) in enumerate(sorted(tally.classes.items()))
    ]
    return f'<div class="small">{"".join(drawn)}</div>' + paragraph(
        "Slices by the probability of the class that they were called; the number is how many."
    )


def _findings(tally: Tally) -> str:
    html = ""
    for title, counts, colour in (
        ("Findings", tally.findings, _FINDING_COLOUR),
        ("Errors, by kind", tally.errors, OUTCOME_COLOURS["failed"]),
    ):
        if counts:
            rows = {_words(name): {"all": count} for name, count in _ordered(counts)}
            html += f"<h3>{title}</h3>" + bars(rows, {"all": colour}, title)
    return html


def _groups(tally: Tally) -> str:
    html = ""
    for level, outcomes in tally.group_outcomes.items():
        rows = {
            display_name(label): {name: each.outcomes[name] for name in ("answer", "refer")}
            for label, each in sorted(tally.groups.get(level, {}).items())
        }
        html += f"<h3>{outcomes.total()} rows of {level}</h3>"
        if rows:
            html += bars(rows, OUTCOME_COLOURS, f"Predicted class by {level}")
    words = ", ".join(name.replace("_", " ") for name in sorted(tally.aggregated))
    return html + paragraph(f"How slices became one result: {printable(words)}.")


def _screening(summary: Summary) -> str:
    screening, tally = summary.screening, summary.tally
    point, scores = screening.point, screening.scores
    if point is None or scores is None:
        return paragraph(f"There is no operating point: {printable(screening.source)}.")
    chosen = (1 - point.specificity.value, point.sensitivity.value)
    drawn = screening_curve(curve(scores), chosen, "Sensitivity over 1 - specificity")
    html = paragraph(
        f"A slice is suspicious from a risk of {point.threshold:.4g} on: the highest threshold "
        f"that finds {100 * point.wanted:g} % of the tumours in the certificate's "
        f"{point.sensitivity.of + point.specificity.of} images ({point.part} part)."
    )
    html += table(("", "held out", "same images"), point_rows(point))
    found = "; ".join(
        f"{display_name(label)} {share.count} of {share.of}"
        for label, share in point.by_class.items()
    )
    html += paragraph(f"Found, on the same images: {found}.")
    html += paragraph(
        "In brackets: exact 95 % intervals. The same images are those that the threshold was "
        "chosen on: optimistic. Held out: each image judged by a threshold that was chosen without "
        "it and its near-duplicates. Other scanners and patients may give other figures."
    )
    if tally.judged:
        share = _percent(tally.suspicious, tally.judged)
        html += paragraph(f"Here: {tally.suspicious} of {tally.judged} slices, {share}.")
    risks = small_histogram(
        tally.risks.coarse(20), "Risk of the slices here", COLOURS[3], point.threshold
    )
    return (
        f'<div class="beside">{drawn}<div>{html}</div></div><div class="small">{risks}</div>'
        + paragraph("Dashed: the threshold.")
    )


def _demographics(tables: DemographicTables) -> str:
    html = ""
    for title, shown in (("By sex", tables.by_sex()), ("By age", tables.by_age())):
        html += f"<h3>{title}</h3>" + _shown(shown)
    text = (
        f"Slices. Where a cell is {HIDDEN}, it is of fewer patients than may be told of, or such a "
        "cell could be computed from it. Answered slices stand under their class."
    )
    if tables.missing:
        text += f" For {tables.missing} slices there is no file where the row says."
    return html + paragraph(text)


def _shown(shown: ShownTable) -> str:
    if shown.withheld:
        return paragraph("Withheld: cells of too few patients could be computed from the rest.")
    header = ["", *(column_name(column) for column in shown.columns), "all"]
    rows = [
        [name, *map(cell_text, cells), cell_text(total)]
        for name, cells, total in zip(shown.rows, shown.cells, shown.totals, strict=True)
    ]
    html = _shares_table(header, rows).replace(f">{HIDDEN}<", f' class="hidden">{HIDDEN}<')
    if shown.joined:
        html += paragraph(f"The others: {', '.join(map(column_name, shown.joined))}.")
    return html


def _made_by(tally: Tally) -> str:
    rows: list[list[Cell]] = [
        [*map(printable, key), count] for key, count in tally.made_by.most_common()
    ]
    words = {"yes": "certified", "no": "not certified", "not told": "not told whether certified"}
    return table(("model", "precision", "runtime", "engine SHA-256", "slices"), rows) + bullets(
        f"{words[key]}: {count} slices" for key, count in tally.certified.items()
    )


def _passed_over(summary: Summary) -> str:
    rows = summary.rows
    return paragraph(f"{rows.passed_over} lines are no rows of results; the first:") + bullets(
        f"line {number}: {reason}" for number, reason in rows.named
    )


def _shares_table(header: tuple[str, ...] | list[str], rows: list[list[str]]) -> str:
    return table(header, rows).replace("<table>", '<table class="shares">', 1)


def _ordered(counts: Counter[str]) -> list[tuple[str, int]]:
    return counts.most_common(30)


def _words(name: str) -> str:
    return printable(name.replace("_", " ").replace("-", " "))


def _percent(count: int, whole: int) -> str:
    return f"{percent(count / whole if whole else None)} %"
