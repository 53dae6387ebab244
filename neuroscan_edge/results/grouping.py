"""One row for each series and study, from the rows of their slices.

Rows go through one at a time, and a group keeps sums alone, so that memory grows with the number of
series and not with that of slices.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from neuroscan_edge.errors import SpecError
from neuroscan_edge.model.labels import tumour_probability
from neuroscan_edge.results.record import RESULT_SCHEMA, SERIES_KEYS, Record
from neuroscan_edge.spec import RESEARCH_USE, Aggregate, Decision, GroupBy

SMALLEST_PROBABILITY = 1e-7
"""Stands for anything smaller under a logarithm: one slice alone must not rule a class out."""

_MOST_NAMED = 100
_OF_A_RUN = ("model", "precision", "runtime", "engine_sha256", "certified")


@dataclass(frozen=True, slots=True)
class Grouping:
    """How slices become rows of series and studies.

    Parameters
    ----------
    by : GroupBy
        Which rows to add.
    aggregate : Aggregate
        ``mean-log`` is the normalised geometric mean of the slices' probabilities, ``mean`` their
        arithmetic mean, ``max-tumour`` takes those of the slice most likely to show a tumour.
    most_suspicious : int
        How many slices a row names, 0 to 100.
    """

    by: GroupBy = GroupBy.NONE
    aggregate: Aggregate = Aggregate.MEAN_LOG
    most_suspicious: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.most_suspicious <= _MOST_NAMED:
            raise SpecError(
                f"most suspicious slices to name is {self.most_suspicious}; give 0 to {_MOST_NAMED}"
            )


class Groups:
    """Collects the rows of slices and makes those of their groups."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._groups: dict[str, dict[str, _Group]] = {level: {} for level in grouping.by.levels}
        self.ungrouped = 0
        """Rows of slices that belong to no group: their file states no UID."""

    @property
    def by(self) -> GroupBy:
        """Which groups are made."""
        return self._grouping.by

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Pass rows on and add each to its groups."""
        for record in records:
            self.add(record)
            yield record

    def add(self, record: Record) -> None:
        """Add the row of one slice to its groups."""
        for level, groups in self._groups.items():
            uid = record[f"{level}_instance_uid"]
            if uid is None:
                self.ungrouped += level == self._grouping.by
                continue
            if uid not in groups:
                groups[uid] = _Group(level, self._grouping)
            groups[uid].add(record)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Make the rows of the groups: series first, then studies, each as they first came."""
        for groups in self._groups.values():
            for group in groups.values():
                yield group.row()


@dataclass(slots=True)
class _Pool:
    """Sums over the slices of one decision."""

    grouping: Grouping
    slices: int = 0
    labels: tuple[str, ...] = ()
    sums: list[float] = field(default_factory=list)
    highest: float = -1.0

    def add(self, record: Record) -> None:
        probabilities = record["probabilities"]
        if not self.slices:
            self.labels = tuple(probabilities)
            self.sums = [0.0] * len(self.labels)
        self.slices += 1
        values = [float(probabilities[label]) for label in self.labels]
        if self.grouping.aggregate is Aggregate.MAX_TUMOUR:
            risk = record["risk"]
            if risk is not None and risk > self.highest:
                self.highest, self.sums = risk, values
            return
        if self.grouping.aggregate is Aggregate.MEAN_LOG:
            values = [math.log(max(value, SMALLEST_PROBABILITY)) for value in values]
        self.sums = [total + value for total, value in zip(self.sums, values, strict=True)]

    def probabilities(self) -> dict[str, float] | None:
        """Return the group's probabilities, or None where there is no slice to take them from."""
        if not self.slices:
            return None
        values = self.sums
        if self.grouping.aggregate is Aggregate.MEAN_LOG:
            means = [value / self.slices for value in values]
            values = [math.exp(mean - max(means)) for mean in means]
        if self.grouping.aggregate is not Aggregate.MAX_TUMOUR:
            total = math.fsum(values)
            values = [value / total for value in values]
        return dict(zip(self.labels, values, strict=True))


class _Group:
    def __init__(self, level: str, grouping: Grouping) -> None:
        self._level, self._grouping = level, grouping
        self._pools = {
            str(Decision.ANSWER): _Pool(grouping),
            str(Decision.REFER): _Pool(grouping),
        }
        self._rejected = self._failed = self._added = 0
        self._first: dict[str, Any] = {}
        self._findings: dict[str, None] = {}
        # A heap whose first is the least suspicious of those kept; of two alike the later is less.
        self._suspicious: list[tuple[float, int, dict[str, Any]]] = []

    def add(self, record: Record) -> None:
        self._remember(record)
        self._added += 1
        self._findings.update(dict.fromkeys(record["quality"]))
        if record["error"] is not None:
            self._failed += 1
        elif record["probabilities"] is None:
            self._rejected += 1
        else:
            self._pools[record["decision"]].add(record)
            self._suspect(record)

    def _remember(self, record: Record) -> None:
        for key in (*_OF_A_RUN, *SERIES_KEYS, "series_instance_uid", "study_instance_uid"):
            value = record.get(key)
            # What the slices do not agree on is not stated of the group.
            if self._first.setdefault(key, value) != value:
                self._first[key] = None

    def _suspect(self, record: Record) -> None:
        if record["risk"] is None or not self._grouping.most_suspicious:
            return
        named = {
            "path": record["path"],
            "frame": record["frame"],
            "sop_instance_uid": record["sop_instance_uid"],
            "decision": record["decision"],
            "risk": record["risk"],
        }
        entry = (record["risk"], -self._added, named)
        if len(self._suspicious) < self._grouping.most_suspicious:
            heapq.heappush(self._suspicious, entry)
        else:
            heapq.heappushpop(self._suspicious, entry)

    def row(self) -> dict[str, Any]:
        answered, referred = self._pools.values()
        taken = "answered" if answered.slices else "referred" if referred.slices else None
        pool = answered if answered.slices else referred
        probabilities = pool.probabilities()
        whole = self._first
        of_series = self._level == "series"
        return {
            "path": None,
            "frame": None,
            "prediction": _most_probable(probabilities),
            "probabilities": probabilities,
            "decision": self._decision(taken),
            "quality": list(self._findings),
            "outlier_score": None,
            **{key: whole[key] for key in _OF_A_RUN},
            "sop_instance_uid": None,
            "series_instance_uid": whole["series_instance_uid"] if of_series else None,
            "study_instance_uid": whole["study_instance_uid"],
            "error": None,
            "notice": RESEARCH_USE,
            "level": self._level,
            "risk": None if probabilities is None else tumour_probability(probabilities),
            "schema": RESULT_SCHEMA,
            "heatmap": None,
            **{key: whole[key] for key in SERIES_KEYS},
            "aggregated": self._grouping.aggregate.stated,
            "aggregated_from": taken,
            "slices": self._added,
            "answered": answered.slices,
            "referred": referred.slices,
            "rejected": self._rejected,
            "failed": self._failed,
            "most_suspicious": [each for _, _, each in sorted(self._suspicious, reverse=True)],
        }

    def _decision(self, taken: str | None) -> str | None:
        answered, referred = self._pools.values()
        if taken is not None:
            # What most slices could not be answered on is no answer for all of them.
            most_answered = answered.slices > referred.slices
            return str(Decision.ANSWER if most_answered else Decision.REFER)
        return str(Decision.REJECTED) if self._rejected else None


def _most_probable(probabilities: dict[str, float] | None) -> str | None:
    if probabilities is None:
        return None
    return max(probabilities, key=lambda label: probabilities[label])
