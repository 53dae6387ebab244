"""Outcomes by sex and by age decade, counted from the headers of the files that rows name."""

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import SpecError
from neuroscan_edge.results.summary.cell_suppression import Hidden, hide
from neuroscan_edge.results.summary.counts import MOST_DIFFERENT, OTHER
from neuroscan_edge.results.summary.rows import Row
from neuroscan_edge.scans.dicom.patient import (
    DECADES,
    NOT_TOLD,
    SEXES,
    Demographics,
    keyed,
    read_demographics,
)

SMALLEST_CELL = 10
JOINED = "the others"
"""Names a row or column of several that could not be told apart."""

_OUTCOMES = ("refer", "rejected", "failed")
_Names = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as it may be shown; None stands for what is hidden.

    Parameters
    ----------
    rows, columns : tuple of str
        Names.
    joined : tuple of str
        Rows and columns told together as "the others": apart they could not be shown.
    cells : tuple of tuple of (int or None)
        Slices.
    totals : tuple of (int or None)
        Of the rows.
    withheld : bool
        Whether nothing of it can be shown.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    joined: tuple[str, ...]
    cells: tuple[tuple[int | None, ...], ...]
    totals: tuple[int | None, ...]
    withheld: bool

    def to_json(self) -> dict[str, Any]:
        """Return the table ready for JSON, hidden cells as null."""
        if self.withheld:
            return {"withheld": True}
        return {
            "withheld": False,
            "columns": [*self.columns, "all"],
            "joined": list(self.joined),
            "rows": {
                name: [*cells, total]
                for name, cells, total in zip(self.rows, self.cells, self.totals, strict=True)
            },
        }


@dataclass(slots=True)
class _Table:
    """Slices and people by row and outcome."""

    smallest: int
    slices: Counter[tuple[str, str]] = field(default_factory=Counter)
    people: dict[tuple[str, str], set[bytes]] = field(default_factory=dict)

    def add(self, name: str, outcome: str, person: bytes) -> None:
        self.slices[name, outcome] += 1
        for key in ((name, outcome), (name, "")):
            known = self.people.setdefault(key, set())
            # Enough is enough: that many are no small cell.
            if len(known) < self.smallest:
                known.add(person)

    def counts(self, rows: Sequence[_Names], columns: Sequence[_Names]) -> npt.NDArray[np.int64]:
        """Slices of joined rows and columns, (R, C)."""
        made = [
            [sum(self.slices[key] for key in itertools.product(row, column)) for column in columns]
            for row in rows
        ]
        return np.array(made, np.int64).reshape(len(rows), len(columns))

    def few(self, rows: Sequence[_Names], columns: Sequence[_Names]) -> npt.NDArray[np.bool_]:
        """Which joined cells are of too few people, though not empty, (R, C)."""
        made = [[self._few(row, column) for column in columns] for row in rows]
        return np.array(made, bool).reshape(len(rows), len(columns))

    def _few(self, row: _Names, column: _Names) -> bool:
        sets = (self.people.get(key, set()) for key in itertools.product(row, column))
        return 0 < len(set().union(*sets)) < self.smallest


class DemographicTables:
    """Counts slices by sex and age decade as rows go by.

    Parameters
    ----------
    smallest : int
        Cells of fewer patients are hidden; at least 2.

    Raises
    ------
    SpecError
        If `smallest` is less.
    """

    def __init__(self, smallest: int = SMALLEST_CELL) -> None:
        if not 2 <= smallest <= 10_000:
            raise SpecError(f"smallest cell is {smallest}; give 2 to 10000 patients")
        self._smallest = smallest
        self._sex, self._age = _Table(smallest), _Table(smallest)
        self._classes: dict[str, None] = {}
        self._key = os.urandom(32)
        self._last: tuple[str, Demographics | None] | None = None
        self.missing = 0
        """Slices whose file is not where its row says."""

    def add(self, row: Row) -> None:
        """Count a slice by what its file says of the patient."""
        if row.path is None:
            return
        if self._last is None or self._last[0] != row.path:
            self._last = (row.path, read_demographics(Path(row.path), self._key))
        found = self._last[1]
        if found is None:
            self.missing += 1
            return
        outcome = row.outcome
        if outcome == "answer" and row.prediction is not None:
            known = row.prediction in self._classes or len(self._classes) < MOST_DIFFERENT
            outcome = row.prediction if known else OTHER
            self._classes[outcome] = None
        # Who is not told apart counts as one: that hides more, never less.
        person = found.person or (keyed(row.study, self._key) if row.study else b"")
        self._sex.add(found.sex, outcome, person)
        self._age.add(found.decade, outcome, person)

    def by_sex(self) -> ShownTable:
        """Return outcomes by sex."""
        return self._shown(self._sex, (*SEXES.values(), NOT_TOLD))

    def by_age(self) -> ShownTable:
        """Return outcomes by age decade."""
        return self._shown(self._age, (*DECADES, NOT_TOLD))

    def to_json(self) -> dict[str, Any]:
        """Return both tables ready for JSON."""
        return {
            "smallest_cell": self._smallest,
            "missing_files": self.missing,
            "by_sex": self.by_sex().to_json(),
            "by_age": self.by_age().to_json(),
        }

    def _shown(self, table: _Table, order: Sequence[str]) -> ShownTable:
        rows: list[_Names] = [(name,) for name in order if (name, "") in table.people]
        columns: list[_Names] = [(name,) for name in (*sorted(self._classes), *_OUTCOMES)]
        columns = [each for each in columns if table.counts(rows, [each]).any()]
        while len(columns) > 1:
            counts = table.counts(rows, columns)
            few_in_row = table.few(rows, [("",)])[:, 0]
            found = hide(counts, table.few(rows, columns), few_in_row, self._smallest)
            if isinstance(found, Hidden):
                return _shown(rows, columns, counts, found)
            row, column = found
            # What no other cell can hide is told together with what holds least beside it.
            if column >= 0 or len(rows) == 1:
                _join(columns, max(column, 0), counts.sum(axis=0))
            else:
                _join(rows, row, counts.sum(axis=1))
        return ShownTable((), (), (), (), (), withheld=True)


def _shown(
    rows: Sequence[_Names],
    columns: Sequence[_Names],
    counts: npt.NDArray[np.int64],
    hidden: Hidden,
) -> ShownTable:
    return ShownTable(
        tuple(map(_name, rows)),
        tuple(map(_name, columns)),
        (*_joined(rows), *_joined(columns)),
        tuple(
            tuple(None if gone else int(count) for count, gone in zip(*pair, strict=True))
            for pair in zip(counts, hidden.cells, strict=True)
        ),
        tuple(
            None if gone else int(line.sum())
            for line, gone in zip(counts, hidden.totals, strict=True)
        ),
        withheld=False,
    )


def _join(parts: list[_Names], index: int, sizes: npt.NDArray[np.int64]) -> None:
    """Join a part with those joined before, else with the smallest; what is joined comes last."""
    others = [each for each in range(len(parts)) if each != index]
    other = min(others, key=lambda each: (len(parts[each]) == 1, sizes[each]))
    joined = parts[index] + parts[other]
    parts[:] = [each for place, each in enumerate(parts) if place not in (index, other)] + [joined]


def _name(names: _Names) -> str:
    return names[0] if len(names) == 1 else JOINED


def _joined(parts: Sequence[_Names]) -> tuple[str, ...]:
    return next((names for names in parts if len(names) > 1), ())
