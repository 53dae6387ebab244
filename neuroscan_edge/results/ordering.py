"""The order in which results are delivered, and the rows of groups after those of slices.

A pure function of the sequence of rows: over rows as they come, or over the finished rows that a
journal holds, it gives the same.
"""

import contextlib
import json
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from neuroscan_edge.errors import OutputError, UsageError
from neuroscan_edge.model.labels import NO_TUMOUR
from neuroscan_edge.results.grouping import Grouping, Groups
from neuroscan_edge.results.record import Record
from neuroscan_edge.spec import Aggregate, GroupBy, SortBy

_NO_RISK = -1.0


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How to deliver rows.

    Parameters
    ----------
    sort : SortBy
        ``risk`` puts the slices most likely to show a tumour first; what was not classified comes
        last, and equals stay in the order of input.
    grouping : Grouping
        The rows of series and studies to add.
    """

    sort: SortBy = SortBy.INPUT
    grouping: Grouping = field(default_factory=Grouping)

    def check(self, labels: tuple[str, ...]) -> None:
        """Refuse what a model's classes cannot give.

        Raises
        ------
        UsageError
            If the probability of any tumour is needed and there is no class for its absence.
        """
        if NO_TUMOUR in labels:
            return
        asked = "--sort risk" if self.sort is SortBy.RISK else None
        if self.grouping.by is not GroupBy.NONE and self.grouping.aggregate is Aggregate.MAX_TUMOUR:
            asked = "--aggregate max-tumour"
        if asked:
            raise UsageError(
                f"{asked} needs the probability of any tumour, and the model has no class "
                f"{NO_TUMOUR}, only {', '.join(labels)}; leave the option out"
            )


def arranged(
    records: Iterable[Record], arrangement: Arrangement, groups: Groups | None = None
) -> Iterator[Record]:
    """Yield rows in the order asked for, those of series and then of studies after the slices'.

    Parameters
    ----------
    records : iterable of Record
        The rows of slices, in the order of input.
    arrangement : Arrangement
        How to deliver them.
    groups : Groups, optional
        Collects what the rows of groups are made of; give one to ask it afterwards.

    Raises
    ------
    OutputError
        If rows to be sorted cannot be put aside on disk.
    """
    groups = groups or Groups(arrangement.grouping)
    watched = groups.watch(records)
    if arrangement.sort is SortBy.INPUT:
        yield from watched
        yield from groups.rows()
        return
    yield from by_risk(watched)
    rows = list(groups.rows())
    for level in arrangement.grouping.by.levels:
        yield from sorted((row for row in rows if row["level"] == level), key=_least_first)


def by_risk(records: Iterable[Record]) -> Iterator[Record]:
    """Yield rows by falling probability of any tumour; 16 bytes of memory a row.

    The rows wait in a temporary file without a name, which is gone when the process is.

    Raises
    ------
    OutputError
        If they cannot be put aside.
    """
    risks, places = array("d"), array("q")
    with _temporary_file() as waiting:
        place = 0
        for record in records:
            risks.append(_NO_RISK if record["risk"] is None else record["risk"])
            places.append(place)
            with _disk():
                place += waiting.write((json.dumps(record) + "\n").encode())
        for index in np.argsort(-np.asarray(risks), kind="stable"):
            with _disk():
                waiting.seek(places[int(index)])
                line = waiting.readline()
            yield json.loads(line)


def _temporary_file() -> BinaryIO:
    with _disk():
        return tempfile.TemporaryFile(prefix="neuroscan-")


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"rows cannot be put aside to be sorted ({error.strerror}); free some space in "
            f"{tempfile.gettempdir()}, or name another folder in TMPDIR, and run again"
        ) from error


def _least_first(record: Record) -> float:
    return -(_NO_RISK if record["risk"] is None else record["risk"])
