"""Result rows: what they hold, their schema, their forms, their order."""

from neuroscan_edge.results.formats import FORMATS, Format, result_format
from neuroscan_edge.results.record import RESULT_SCHEMA, Record, Result

__all__ = ["FORMATS", "RESULT_SCHEMA", "Format", "Record", "Result", "result_format"]
