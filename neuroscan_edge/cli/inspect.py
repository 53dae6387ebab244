"""``neuroscan-edge inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes


def inspect(
    path: Annotated[Path, typer.Argument(help="Bundle folder, engine folder or ONNX file.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Say what a bundle, an engine or a graph is, what it was made from, and how large."""
    with exit_codes():
        import json

        from neuroscan_edge.runtimes.inspection import as_text, inspect_path

        described = inspect_path(path)
        typer.echo(json.dumps(described, indent=2) if as_json else as_text(described))
