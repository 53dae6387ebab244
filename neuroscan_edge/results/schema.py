"""The published JSON schema of result rows."""

import json
from importlib import resources
from typing import Any

from neuroscan_edge.results.record import RESULT_SCHEMA


def result_schema(number: int = RESULT_SCHEMA) -> dict[str, Any]:
    """Return the schema that every row keeps (JSON Schema, draft 2020-12).

    Parameters
    ----------
    number : int
        Of the rows; those of an earlier version have an earlier one.
    """
    name = "result.schema.json" if number == RESULT_SCHEMA else f"result.schema.{number}.json"
    text = resources.files("neuroscan_edge.results").joinpath(name).read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema
