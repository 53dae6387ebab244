"""Rows to bytes, in the form asked for."""

import contextlib
from collections.abc import Callable, Iterator

from neuroscan_edge.results.record import Record
from neuroscan_edge.results.text_formats import result_format
from neuroscan_edge.system.optional import require

PARQUET = "parquet"


def require_form(form: str) -> None:
    """Refuse a form whose package is not installed, before there is anything to write.

    Raises
    ------
    MissingDependencyError
        If it needs a package that is not installed.
    """
    if form == PARQUET:
        require("pyarrow", extra="parquet", why="to write Parquet")


@contextlib.contextmanager
def record_writer(
    form: str, labels: tuple[str, ...], write: Callable[[bytes], object]
) -> Iterator[Callable[[Record], None]]:
    """Open a form for writing: what the block is given takes rows.

    Parameters
    ----------
    form : {"table", "csv", "jsonl", "parquet"}
        Of the results.
    labels : tuple of str
        The model's classes.
    write : callable
        Takes the bytes, in order.

    Raises
    ------
    MissingDependencyError
        If the form needs a package that is not installed.
    """
    if form == PARQUET:
        # Imported only when needed: pyarrow is large.
        from neuroscan_edge.results.parquet import ParquetRows

        rows = ParquetRows(write, labels)
        try:
            yield rows.add
            rows.close()
        except BaseException:
            rows.abandon()
            raise
        return
    text = result_format(form, labels)

    def add(record: Record) -> None:
        write(text.row(record).encode("utf-8", "surrogateescape"))

    write(text.opening.encode())
    yield add
