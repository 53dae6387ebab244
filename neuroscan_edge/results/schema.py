"""The published JSON schema of result rows."""

import json
from importlib import resources
from typing import Any


def result_schema() -> dict[str, Any]:
    """Return the schema that every row keeps (JSON Schema, draft 2020-12)."""
    text = resources.files("neuroscan_edge.results").joinpath("result.schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    return schema
