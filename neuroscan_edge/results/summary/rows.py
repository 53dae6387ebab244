"""Rows of a results file, whatever its lines hold: what is no row is counted and named by line."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from neuroscan_edge.model.labels import tumour_probability
from neuroscan_edge.results.record import RESULT_SCHEMA
from neuroscan_edge.spec import Decision, Finding

LONGEST_LINE_BYTES = 1 << 20
LINES_NAMED = 20
"""Of the lines that are no rows; the others are counted."""

MOST_CLASSES = 100
ROUNDING = 1e-3
"""How far an engine's probabilities may lie outside 0 to 1."""

_LONGEST_WORD = 200
_ERROR_KIND = re.compile(r"^([a-z][a-z-]{0,39}): ")
_KEYS = ("model", "precision", "runtime", "engine_sha256")
_FINDINGS = frozenset(map(str, Finding))
_DECISIONS = frozenset(map(str, Decision))


@dataclass(frozen=True, slots=True)
class Row:
    """What a summary takes of a row.

    Parameters
    ----------
    level : {"slice", "series", "study"}
        What it is of.
    path : str or None
        The file of a slice.
    outcome : {"answer", "refer", "rejected", "failed"}
        What became of it.
    prediction : str or None
        The class, where it was classified.
    confidence, risk : float or None
        The highest probability, and that of any tumour.
    findings : tuple of str
        Known words.
    error_kind : str or None
        Of what failed.
    made_by : tuple of str
        Model, precision, runtime and the engine's SHA-256.
    certified : bool or None
        As the row says.
    study : str or None
        The study's UID.
    aggregated : str or None
        How the row of a group was made.
    """

    level: str
    path: str | None
    outcome: str
    prediction: str | None
    confidence: float | None
    risk: float | None
    findings: tuple[str, ...]
    error_kind: str | None
    made_by: tuple[str, str, str, str]
    certified: bool | None
    study: str | None
    aggregated: str | None


class Rows:
    """The rows of a JSON lines file; iterate once, then ask what was no row.

    Parameters
    ----------
    file : BinaryIO
        The lines. No more than one is in memory, and no more of it than a megabyte.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.passed_over = 0
        """Lines that are no rows."""
        self.named: list[tuple[int, str]] = []
        """The first of them: number, from 1, and what is wrong."""

    def __iter__(self) -> Iterator[Row]:
        for number, line in _lines(self._file):
            try:
                if line is None:
                    raise ValueError(f"it is longer than {LONGEST_LINE_BYTES} bytes")
                if line.strip():
                    yield _row(_parsed(line))
            except ValueError as error:
                self.passed_over += 1
                if len(self.named) < LINES_NAMED:
                    self.named.append((number, str(error)))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines, None in place of one that is too long."""
    number = 0
    while line := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) <= LONGEST_LINE_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE_BYTES)
        yield number, None


def _parsed(line: bytes) -> Mapping[str, Any]:
    # No message here quotes the line: it could hold anything.
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    return value


def _row(value: Mapping[str, Any]) -> Row:
    schema = value.get("schema", RESULT_SCHEMA)
    if not isinstance(schema, int) or schema > RESULT_SCHEMA:
        raise ValueError(f"its schema is not one up to {RESULT_SCHEMA}; upgrade neuroscan-edge")
    level = value.get("level", "slice")
    if level not in ("slice", "series", "study"):
        raise ValueError("its level is none of slice, series, study")
    probabilities = _probabilities(value.get("probabilities"))
    error, decision = value.get("error"), value.get("decision")
    if error is not None:
        found = _ERROR_KIND.match(error) if isinstance(error, str) else None
        kind = found[1] if found else "other"
        outcome = "failed"
    else:
        kind = None
        outcome = _outcome(decision, probabilities, level)
    made_by = tuple(_word(value.get(key), key, missing="not told") for key in _KEYS)
    certified = value.get("certified")
    path = value.get("path")
    if level == "slice" and not isinstance(path, str):
        raise ValueError("its path is no text")
    classified = probabilities if outcome in ("answer", "refer") else None
    return Row(
        level=level,
        path=path if level == "slice" else None,
        outcome=outcome,
        prediction=_prediction(value.get("prediction"), classified),
        confidence=max(classified.values()) if classified else None,
        risk=tumour_probability(classified) if classified else None,
        findings=_findings(value.get("quality", [])),
        error_kind=kind,
        made_by=(made_by[0], made_by[1], made_by[2], made_by[3]),
        certified=certified if isinstance(certified, bool) else None,
        study=_optional_word(value.get("study_instance_uid"), "study_instance_uid"),
        aggregated=_optional_word(value.get("aggregated"), "aggregated"),
    )


def _outcome(decision: Any, probabilities: Mapping[str, float] | None, level: str) -> str:
    if decision is None and probabilities is None and level != "slice":
        return "failed"
    if decision is None and probabilities is not None:
        # Rows written before there were decisions say nothing of it.
        return str(Decision.ANSWER)
    if not isinstance(decision, str) or decision not in _DECISIONS:
        raise ValueError("its decision is none of answer, refer, rejected")
    if (probabilities is None) != (decision == Decision.REJECTED):
        raise ValueError("its decision and its probabilities do not go together")
    return decision


def _probabilities(value: Any) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not 2 <= len(value) <= MOST_CLASSES:
        raise ValueError("its probabilities are none by class")
    for label, share in value.items():
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not math.isfinite(share) or not -ROUNDING <= share <= 1 + ROUNDING:
            raise ValueError("its probabilities are no numbers from 0 to 1")
        _word(label, "class")
    return {label: min(max(float(share), 0.0), 1.0) for label, share in value.items()}


def _prediction(value: Any, probabilities: Mapping[str, float] | None) -> str | None:
    if probabilities is None:
        return None
    if not isinstance(value, str) or value not in probabilities:
        raise ValueError("its prediction is none of its classes")
    return value


def _findings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("its quality is no list of words")
    return tuple(dict.fromkeys(each if each in _FINDINGS else "other" for each in value))


def _optional_word(value: Any, key: str) -> str | None:
    return None if value is None else _word(value, key)


def _word(value: Any, key: str, missing: str | None = None) -> str:
    if value is None and missing is not None:
        return missing
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_WORD:
        raise ValueError(f"its {key} is no short text")
    return value
