"""The form of an ``evaluation.json``: what the commands that rely on one take for granted.

A report may hold more. Fields are as `training.evaluate.run.evaluate` writes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.report.typed_json import from_json

Interval = tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class _Subject:
    sha256: str
    baseline_sha256: str | None


@dataclass(frozen=True, slots=True)
class _Split:
    fingerprint: str
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Data:
    testing: _Split
    training: _Split


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    level: float
    resamples: int


@dataclass(frozen=True, slots=True)
class _ClassFigures:
    images: int
    precision: float
    recall: float | None
    f1: float | None
    auroc: float | None


@dataclass(frozen=True, slots=True)
class _ClassIntervals:
    recall: Interval
    f1: Interval
    auroc: Interval


@dataclass(frozen=True, slots=True)
class _Intervals:
    accuracy: Interval
    precision: Interval
    recall: Interval
    f1: Interval
    auroc: Interval
    expected_calibration_error: Interval
    per_class: Mapping[str, _ClassIntervals]


@dataclass(frozen=True, slots=True)
class _Bin:
    images: int
    confidence: float | None


@dataclass(frozen=True, slots=True)
class _Figures:
    images: int
    accuracy: float
    precision: float
    recall: float
    f1: float
    auroc: float | None
    expected_calibration_error: float
    per_class: Mapping[str, _ClassFigures]
    confusion: tuple[tuple[int, ...], ...]
    intervals: _Intervals
    reliability: tuple[_Bin, ...]


@dataclass(frozen=True, slots=True)
class _Difference:
    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class _McNemar:
    p_value: float


@dataclass(frozen=True, slots=True)
class _Comparison:
    agreement: float
    accuracy_difference: _Difference
    f1_difference: _Difference
    mcnemar: _McNemar


@dataclass(frozen=True, slots=True)
class _Report:
    reference: str
    subjects: Mapping[str, _Subject]
    labels: tuple[str, ...]
    data: _Data
    duplicate_distance: int
    bootstrap: _Bootstrap
    calibration_bins: int
    groups: Mapping[str, Mapping[str, int]]
    published: Mapping[str, _Figures]
    leak_free: Mapping[str, _Figures] | None


def require_form(document: Mapping[str, Any]) -> None:
    """Check that a report holds every figure of every subject and class.

    Raises
    ------
    ValueError
        If one is missing or of another type; the message says which.
    """
    report = from_json(_Report, {"leak_free": None, **document})
    if report.reference not in report.subjects:
        raise ValueError(f"the reference {report.reference} is none of the subjects")
    parts = {"published": report.published, "leak_free": report.leak_free}
    for part, figures in parts.items():
        if figures is None:
            continue
        _same(part, figures, report.subjects)
        _same(f"groups.{part}", report.groups.get(part, {}), report.labels)
        for name, each in figures.items():
            _require_classes(f"{part}.{name}", each, report.labels)
            if name != report.reference:
                from_json(_Comparison, document[part][name])


def _require_classes(where: str, each: _Figures, labels: tuple[str, ...]) -> None:
    _same(f"{where}.per_class", each.per_class, labels)
    _same(f"{where}.intervals.per_class", each.intervals.per_class, labels)
    if [len(row) for row in each.confusion] != [len(labels)] * len(labels):
        raise ValueError(f"{where}.confusion has not a row and a column for each class")


def _same(
    where: str, found: Mapping[str, Any], wanted: Mapping[str, Any] | tuple[str, ...]
) -> None:
    if set(found) != set(wanted):
        raise ValueError(f"{where} names {sorted(found)}; it must name {sorted(wanted)}")
