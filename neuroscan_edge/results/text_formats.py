"""The forms of results that are text: table, CSV, JSON lines."""

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from neuroscan_edge.model.labels import NO_TUMOUR
from neuroscan_edge.results.columns import cells, column_names
from neuroscan_edge.results.record import Record, Result
from neuroscan_edge.spec import RESEARCH_USE

FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".txt": "table",
    ".parquet": "parquet",
}
"""The form that a file's suffix asks for."""

# Where a spreadsheet would begin a cell and read it as a formula: ASCII signs and their full-width
# forms, after white space too. A semicolon or a tab also separates cells in some locales.
_FORMULA = re.compile(r"(^|[;\t\r\n])(?=\s*[=+\-@\uff0b\uff0d\uff1d\uff20])")


@dataclass(frozen=True, slots=True)
class Format:
    """How results become text: an opening, a piece for each row, nothing to close.

    Parameters
    ----------
    opening : str
        Written before the first row.
    row : callable
        The text of one row, its line break included.
    """

    opening: str
    row: Callable[[Record], str]

    def line(self, result: Result) -> str:
        """Return the text of one slice's result."""
        return self.row(result.to_json())


def result_format(name: str, labels: tuple[str, ...]) -> Format:
    """Return the format called ``table``, ``csv`` or ``jsonl`` for a model's classes."""
    if name == "jsonl":
        return Format("", json_line)
    if name == "csv":
        opening = _csv_line(list(column_names(labels)))
        return Format(opening, lambda record: _csv_row(record, labels))
    width = max(len("PREDICTION"), *map(len, labels))
    risk = f"  {'RISK':>6}  " if NO_TUMOUR in labels else "  "
    opening = f"{RESEARCH_USE}\n{'PREDICTION':<{width}}  CONFIDENCE{risk}SCAN\n"
    return Format(opening, lambda record: _table_row(record, width, with_risk=NO_TUMOUR in labels))


def json_line(record: Record) -> str:
    """Return a row as one line of JSON."""
    # ASCII: a file name that is no text survives, and any terminal can show the line.
    return json.dumps(record) + "\n"


def _csv_row(record: Record, labels: tuple[str, ...]) -> str:
    values = cells(record, labels)
    values["quality"] = " ".join(values["quality"])
    values["sequence_evidence"] = "; ".join(values["sequence_evidence"] or ())
    if values["most_suspicious"] is not None:
        values["most_suspicious"] = json.dumps(values["most_suspicious"])
    return _csv_line(list(values.values()))


def _inert(value: Any) -> Any:
    """Put an apostrophe before what a spreadsheet would execute; numbers stay as they are."""
    return _FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _csv_line(values: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([_inert(value) for value in values])
    return buffer.getvalue()


def _table_row(record: Record, width: int, *, with_risk: bool) -> str:
    findings = ", ".join(record["quality"])
    risk = "  {:>6}" if with_risk else "{}"
    if record["probabilities"] is None:
        word = "error" if record["error"] else record["decision"] or "none"
        left = f"{word:<{width}}  {'-':>10}{risk.format('-' if with_risk else '')}"
        reason = record["error"] or findings
        return f"{left}  {_what(record)}{f': {reason}' if reason else ''}\n"
    confidence = f"{max(record['probabilities'].values()):.1%}"
    shown = risk.format(f"{record['risk']:.1%}" if with_risk else "")
    note = f": refer, {findings}" if record["decision"] == "refer" else ""
    return f"{record['prediction']:<{width}}  {confidence:>10}{shown}  {_what(record)}{note}\n"


def _what(record: Record) -> str:
    """Name what a row is of, for a terminal."""
    if record["level"] != "slice":
        uid = record[f"{record['level']}_instance_uid"]
        counts = [
            f"{record[name]} {name}"
            for name in ("answered", "referred", "rejected", "failed")
            if record[name]
        ]
        return f"{record['level']} {uid} ({', '.join(counts)})"
    # A file name may hold control characters; a terminal must not obey them.
    path = "".join(char if char.isprintable() else "?" for char in record["path"])
    return f"{path} frame {record['frame']}" if record["frame"] else path
