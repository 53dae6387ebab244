"""Result rows: what they hold, their schema, their forms, their order."""

from neuroscan_edge.results.record import RESULT_SCHEMA, Record, Result
from neuroscan_edge.results.text_formats import FORMATS, Format, result_format

__all__ = ["FORMATS", "RESULT_SCHEMA", "Format", "Record", "Result", "result_format"]
