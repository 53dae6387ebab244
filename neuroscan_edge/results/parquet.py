"""Results as Parquet: rows are gathered to groups of bounded size, so that memory stays flat."""

import io
from collections.abc import Callable
from typing import Any

from neuroscan_edge.results.columns import PROBABILITY, cells, column_names
from neuroscan_edge.results.record import RESULT_SCHEMA, Record
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.optional import require

ROWS_A_GROUP = 4096
"""Rows held in memory, some 10 MB, before they are written."""

_BOOLEANS = frozenset({"certified", "contrast_agent"})
_INTEGERS = frozenset({"frame", "schema", "slices", "answered", "referred", "rejected", "failed"})
_FLOATS = frozenset({"outlier_score", "risk"})


class ParquetRows:
    """Writes rows as Parquet.

    Parameters
    ----------
    write : callable
        Takes the file's bytes, in order.
    labels : tuple of str
        The model's classes: a column of probabilities each.

    Raises
    ------
    MissingDependencyError
        If pyarrow is not installed.
    """

    def __init__(self, write: Callable[[bytes], object], labels: tuple[str, ...]) -> None:
        self._arrow = require("pyarrow", extra="parquet", why="to write Parquet")
        parquet = require("pyarrow.parquet", extra="parquet", why="to write Parquet")
        self._labels = labels
        self._schema = _schema(self._arrow, labels)
        self._waiting: list[dict[str, Any]] = []
        self._sink = _Sink(write)
        file = self._arrow.PythonFile(self._sink, mode="w")
        self._writer = parquet.ParquetWriter(file, self._schema)

    def add(self, record: Record) -> None:
        """Take a row."""
        self._waiting.append({key: _as_text(value) for key, value in self._cells(record)})
        if len(self._waiting) == ROWS_A_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the file's end; without it there is no file."""
        if self._waiting:
            self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Write nothing more."""
        # The writer ends its file when it is collected, which is then closed.
        self._sink.abandoned = True
        self._writer.close()

    def _cells(self, record: Record) -> Any:
        return cells(record, self._labels).items()

    def _flush(self) -> None:
        table = self._arrow.Table.from_pylist(self._waiting, schema=self._schema)
        self._writer.write_table(table)
        self._waiting = []


class _Sink(io.RawIOBase):
    """A file that hands on its bytes."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if not self.abandoned:
            self._write(bytes(data))
        return len(data)


def _schema(arrow: Any, labels: tuple[str, ...]) -> Any:
    suspicious = arrow.struct(
        [
            ("path", arrow.string()),
            ("frame", arrow.int32()),
            ("sop_instance_uid", arrow.string()),
            ("decision", arrow.string()),
            ("risk", arrow.float64()),
        ]
    )
    nested = {
        "quality": arrow.list_(arrow.string()),
        "sequence_evidence": arrow.list_(arrow.string()),
        "most_suspicious": arrow.list_(suspicious),
    }

    def kind(name: str) -> Any:
        if name in nested:
            return nested[name]
        if name in _BOOLEANS:
            return arrow.bool_()
        if name in _INTEGERS:
            return arrow.int32()
        if name in _FLOATS or name.startswith(PROBABILITY):
            return arrow.float64()
        return arrow.string()

    metadata = {"notice": RESEARCH_USE, "neuroscan_edge.schema": str(RESULT_SCHEMA)}
    return arrow.schema([(name, kind(name)) for name in column_names(labels)], metadata=metadata)


def _as_text(value: Any) -> Any:
    """Make text of file names that are none: Parquet holds UTF-8 alone."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_as_text(each) for each in value]
    if isinstance(value, dict):
        return {key: _as_text(each) for key, each in value.items()}
    return value
