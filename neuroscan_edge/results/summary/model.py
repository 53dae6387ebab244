"""What is summarised, and the figures that come of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import EXIT_INCOMPLETE
from neuroscan_edge.results.summary.counts import Tally
from neuroscan_edge.results.summary.demographics import SMALLEST_CELL, DemographicTables
from neuroscan_edge.results.summary.rows import Rows
from neuroscan_edge.results.summary.screening import Screening
from neuroscan_edge.spec import RESEARCH_USE

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
