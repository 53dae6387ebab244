"""Counts over rows, in memory that does not grow with them."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from neuroscan_edge.results.summary.rows import Row

BINS = 1000
"""Of the confidence: quantiles are right to a thousandth."""

MOST_DIFFERENT = 200
"""Words told apart; a file of results has a handful, a hostile one could have a million."""

OTHER = "other"
OUTCOMES = ("answer", "refer", "rejected", "failed")
_QUANTILES = (0.1, 0.5, 0.9)

_Key = TypeVar("_Key", bound=Hashable)


@dataclass(slots=True)
class Confidences:
    """How sure the model was: counts by thousandths of the highest probability."""

    bins: list[int] = field(default_factory=lambda: [0] * BINS)

    @property
    def count(self) -> int:
        """Slices."""
        return sum(self.bins)

    def add(self, value: float) -> None:
        """Count a value of 0 to 1."""
        self.bins[min(int(value * BINS), BINS - 1)] += 1

    def coarse(self, bins: int) -> list[int]:
        """Return counts in fewer bins of equal width."""
        step = BINS // bins
        return [sum(self.bins[start : start + step]) for start in range(0, BINS, step)]

    def quantile(self, share: float) -> float:
        """Return the value that `share` of the slices do not exceed, to a thousandth."""
        wanted, seen = share * self.count, 0
        for index, count in enumerate(self.bins):
            if count and seen + count >= wanted:
                return (index + (wanted - seen) / count) / BINS
            seen += count
        return 1.0


@dataclass(slots=True)
class ClassTally:
    """The slices of one predicted class."""

    outcomes: Counter[str] = field(default_factory=Counter)
    confidences: Confidences = field(default_factory=Confidences)


@dataclass(slots=True)
class Tally:
    """Everything counted over rows.

    Parameters
    ----------
    threshold : float or None
        Of the screening operating point.
    engine_sha256 : str or None
        Whose operating point it is; the rows of other engines are not held against it.
    """

    threshold: float | None = None
    engine_sha256: str | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    classes: dict[str, ClassTally] = field(default_factory=dict)
    findings: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    made_by: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    certified: Counter[str] = field(default_factory=Counter)
    groups: dict[str, dict[str, ClassTally]] = field(default_factory=dict)
    group_outcomes: dict[str, Counter[str]] = field(default_factory=dict)
    aggregated: Counter[str] = field(default_factory=Counter)
    risks: Confidences = field(default_factory=Confidences)
    judged: int = 0
    suspicious: int = 0

    @property
    def slices(self) -> int:
        """Rows of slices."""
        return self.outcomes.total()

    def add(self, row: Row) -> None:
        """Count a row."""
        if row.level != "slice":
            self._add_group(row)
            return
        self.outcomes[row.outcome] += 1
        for finding in row.findings:
            self.findings[finding] += 1
        if row.error_kind is not None:
            _count(self.errors, row.error_kind, OTHER)
        _count(self.made_by, row.made_by, (OTHER, OTHER, OTHER, OTHER))
        self.certified[{True: "yes", False: "no", None: "not told"}[row.certified]] += 1
        _classify(self.classes, row)
        if row.risk is not None:
            self.risks.add(row.risk)
            if self.threshold is not None and row.made_by[3] == self.engine_sha256:
                self.judged += 1
                self.suspicious += row.risk >= self.threshold

    def _add_group(self, row: Row) -> None:
        self.group_outcomes.setdefault(row.level, Counter())[row.outcome] += 1
        _classify(self.groups.setdefault(row.level, {}), row)
        if row.aggregated is not None:
            _count(self.aggregated, row.aggregated, OTHER)

    def to_json(self) -> dict[str, Any]:
        """Return the counts ready for JSON."""
        return {
            "slices": self.slices,
            "decisions": _shares(self.outcomes, self.slices),
            "by_class": {label: _class(each) for label, each in sorted(self.classes.items())},
            "findings": _shares(self.findings, self.slices),
            "errors": _shares(self.errors, self.slices),
            "made_by": [
                dict(zip(("model", "precision", "runtime", "engine_sha256"), key, strict=True))
                | {"slices": count}
                for key, count in self.made_by.most_common()
            ],
            "certified": dict(self.certified),
            "groups": {
                level: {
                    "rows": outcomes.total(),
                    "decisions": _shares(outcomes, outcomes.total()),
                    "by_class": {
                        label: _class(each)
                        for label, each in sorted(self.groups.get(level, {}).items())
                    },
                }
                for level, outcomes in self.group_outcomes.items()
            },
            "aggregated": dict(self.aggregated),
        }


def _classify(classes: dict[str, ClassTally], row: Row) -> None:
    if row.prediction is None or row.confidence is None:
        return
    known = row.prediction in classes or len(classes) < MOST_DIFFERENT
    tally = classes.setdefault(row.prediction if known else OTHER, ClassTally())
    tally.outcomes[row.outcome] += 1
    tally.confidences.add(row.confidence)


def _count(counter: Counter[_Key], key: _Key, other: _Key) -> None:
    counter[key if key in counter or len(counter) < MOST_DIFFERENT else other] += 1


def _class(tally: ClassTally) -> dict[str, Any]:
    confidences = tally.confidences
    return {
        "slices": confidences.count,
        "answer": tally.outcomes["answer"],
        "refer": tally.outcomes["refer"],
        "referral_rate": tally.outcomes["refer"] / confidences.count,
        "confidence": {
            **{f"p{100 * share:g}": round(confidences.quantile(share), 4) for share in _QUANTILES},
            "histogram": confidences.coarse(20),
        },
    }


def _shares(counter: Mapping[str, int], whole: int) -> dict[str, dict[str, float]]:
    # Decisions in their order, everything else by how frequent it is.
    if set(counter) <= set(OUTCOMES):
        names = list(OUTCOMES)
    else:
        names = sorted(counter, key=lambda name: (-counter[name], name))
    return {
        name: {"count": counter[name], "share": counter[name] / whole if whole else 0.0}
        for name in names
    }
