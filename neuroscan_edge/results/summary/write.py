"""Writes a summary as an HTML page and as JSON, each whole or not at all."""

import json
from pathlib import Path

from neuroscan_edge.errors import OutputError
from neuroscan_edge.results.summary.model import Summary, SummaryRequest
from neuroscan_edge.results.summary.page import summary_page
from neuroscan_edge.system.files import write_whole


def write_outputs(summary: Summary, request: SummaryRequest) -> None:
    """Write the page and the figures, each whole or not at all.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    if request.json is not None:
        text = json.dumps(summary.to_json(), indent=1, allow_nan=False) + "\n"
        _write(request.json, text)
    if request.html is not None:
        _write(request.html, summary_page(summary))


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path.resolve(), text.encode("utf-8", "replace"))
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); check disk and permissions"
        ) from error
