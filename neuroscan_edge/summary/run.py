"""A whole summary: read the rows once, count, and write what was asked for."""

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from neuroscan_edge._files import write_whole
from neuroscan_edge.errors import EXIT_INCOMPLETE, OutputError, UsageError
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.summary.demographics import SMALLEST_CELL, DemographicTables
from neuroscan_edge.summary.rows import Row, Rows
from neuroscan_edge.summary.screening import Screening, screen
from neuroscan_edge.summary.tally import Tally

SUMMARY_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class SummaryRequest:
    """What to summarise, and how.

    Parameters
    ----------
    results : Path
        JSON lines that `classify` wrote.
    demographics : bool
        Whether to read sex and age from the headers of the files that the rows name.
    smallest_cell : int
        Demographic cells of fewer patients are hidden.
    certificate : Path or None
        To choose the operating point on; None looks in the bundle that made the rows.
    sensitivity : float
        For any tumour, that the operating point keeps.
    html, json : Path or None
        Where to write the page and the figures.
    """

    results: Path
    demographics: bool = False
    smallest_cell: int = SMALLEST_CELL
    certificate: Path | None = None
    sensitivity: float = 0.95
    html: Path | None = None
    json: Path | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What the rows say as a whole.

    Parameters
    ----------
    tally : Tally
        Counts.
    rows : Rows
        What was no row.
    demographics : DemographicTables or None
        By sex and age, if asked for.
    screening : Screening
        The operating point, or why there is none.
    """

    tally: Tally
    rows: Rows
    demographics: DemographicTables | None
    screening: Screening

    @property
    def exit_code(self) -> int:
        """0, or 1 if lines were passed over."""
        return EXIT_INCOMPLETE if self.rows.passed_over else 0

    def to_json(self) -> dict[str, Any]:
        """Return the figures ready for JSON."""
        return {
            "schema": SUMMARY_SCHEMA,
            "notice": RESEARCH_USE,
            **self.tally.to_json(),
            "passed_over": {
                "lines": self.rows.passed_over,
                "named": [{"line": line, "reason": reason} for line, reason in self.rows.named],
            },
            "screening": self.screening.to_json(self.tally),
            "demographics": None if self.demographics is None else self.demographics.to_json(),
        }


def summarise(request: SummaryRequest) -> Summary:
    """Read the results once and count.

    Raises
    ------
    UsageError
        If the results cannot be read or hold no row, or an output stands in their place.
    CertificateError
        If the certificate given cannot be used.
    """
    for output in (request.html, request.json):
        if output is not None:
            _check_output(output, request.results)
    tables = DemographicTables(request.smallest_cell) if request.demographics else None
    with _opened(request.results) as file:
        rows = Rows(file)
        source = iter(rows)
        opening = list(_until_classified(source))
        if not opening:
            raise UsageError(_no_rows(request.results, rows))
        screening = screen(opening[-1].made_by, request.certificate, request.sensitivity)
        tally = Tally(
            None if screening.point is None else screening.point.threshold, screening.engine_sha256
        )
        for row in itertools.chain(opening, source):
            tally.add(row)
            if tables is not None and row.level == "slice":
                tables.add(row)
    return Summary(tally, rows, tables, screening)


def write_outputs(summary: Summary, request: SummaryRequest) -> None:
    """Write the page and the figures, each whole or not at all.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    if request.json is not None:
        text = json.dumps(summary.to_json(), indent=1, allow_nan=False) + "\n"
        _write(request.json, text)
    if request.html is not None:
        from neuroscan_edge.summary.summary_page import summary_page

        _write(request.html, summary_page(summary))


def _until_classified(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield rows up to the first that says which engine decides; at most a few thousand."""
    for row in itertools.islice(rows, 4096):
        yield row
        if row.confidence is not None:
            return


def _opened(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            raise UsageError(f"{path} is no file; give the JSON lines that classify wrote")
        return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); check the name") from error


def _no_rows(path: Path, rows: Rows) -> str:
    first = f"; line {rows.named[0][0]}: {rows.named[0][1]}" if rows.named else ""
    return (
        f"{path} holds no row of results in {rows.passed_over} lines{first}; give the JSON lines "
        'that "neuroscan-edge classify --output results.jsonl" writes'
    )


def _check_output(output: Path, results: Path) -> None:
    if not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; make it or write elsewhere")
    if output.exists():
        if not output.is_file():
            raise UsageError(f"{output} is not a regular file; name a file")
        if results.exists() and os.path.samefile(output, results):
            raise UsageError(f"{output} is the file of results; write elsewhere")


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path.resolve(), text.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); check disk and permissions"
        ) from error
