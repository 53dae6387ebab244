"""The columns of results where they are a table: in CSV and Parquet."""

from typing import Any

from neuroscan_edge.results.record import Record

PROBABILITY = "probability_"
"""Prefix of a class's column."""

_BEFORE = ("path", "frame", "prediction")
_AFTER = (
    "decision",
    "quality",
    "outlier_score",
    "model",
    "precision",
    "runtime",
    "engine_sha256",
    "certified",
    "sop_instance_uid",
    "series_instance_uid",
    "study_instance_uid",
    "error",
    "notice",
    "level",
    "risk",
    "schema",
    "heatmap",
    "sequence",
    "sequence_evidence",
    "plane",
    "orientation",
    "contrast_agent",
)
GROUP_KEYS = (
    "aggregated",
    "aggregated_from",
    "slices",
    "answered",
    "referred",
    "rejected",
    "failed",
    "most_suspicious",
)
"""What only rows of series and studies hold; empty in the row of a slice."""


def column_names(labels: tuple[str, ...]) -> tuple[str, ...]:
    """Name the columns for a model's classes; the same whatever the rows are."""
    probabilities = (PROBABILITY + label for label in labels)
    return (*_BEFORE, *probabilities, *_AFTER, *GROUP_KEYS)


def cells(record: Record, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return a row's value for each column, None where it has none."""
    probabilities = record["probabilities"] or {}
    found = {PROBABILITY + label: probabilities.get(label) for label in labels}
    return {name: found.get(name, record.get(name)) for name in column_names(labels)}
