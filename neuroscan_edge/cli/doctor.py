"""``neuroscan-edge doctor``."""

from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.errors import EXIT_INCOMPLETE


def doctor(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle folder, or the name of a shipped bundle.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """Say what this machine has and what would run on it. Exit code 1: nothing."""
    with exit_codes():
        import json

        from neuroscan_edge.model.bundle import find_bundle, open_bundle
        from neuroscan_edge.runtimes.doctor import diagnose
        from neuroscan_edge.runtimes.inspection import as_text

        found = diagnose(open_bundle(find_bundle(bundle)))
        typer.echo(json.dumps(found, indent=2) if as_json else as_text(found))
        if found["can_run"] is None:
            raise typer.Exit(EXIT_INCOMPLETE)
