"""A whole summary: read the rows once and count."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from neuroscan_edge.errors import UsageError
from neuroscan_edge.results.summary.counts import Tally
from neuroscan_edge.results.summary.demographics import DemographicTables
from neuroscan_edge.results.summary.model import Summary, SummaryRequest
from neuroscan_edge.results.summary.rows import Row, Rows
from neuroscan_edge.results.summary.screening import screen


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
