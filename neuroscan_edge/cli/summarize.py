"""``neuroscan-edge summarize``."""

from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes


def summarize(
    results: Annotated[Path, typer.Argument(help="JSON lines that classify wrote.")],
    demographics: Annotated[
        bool, typer.Option("--demographics", help="By sex and age, from the scans' headers.")
    ] = False,
    smallest_cell: Annotated[
        int, typer.Option(help="Hide demographic cells of fewer patients.")
    ] = 10,
    certificate: Annotated[
        Path | None,
        typer.Option(help="To choose the operating point on; default: look in the bundle."),
    ] = None,
    sensitivity: Annotated[
        float, typer.Option(help="For any tumour, that the operating point keeps.")
    ] = 0.95,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots here.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Say what results hold as a whole: counts, referral rates, confidence, screening.

    Exit code 1: some lines are no rows; they are named and passed over.
    """
    with exit_codes():
        from neuroscan_edge.results.summary.model import SummaryRequest
        from neuroscan_edge.results.summary.summarize import summarise
        from neuroscan_edge.results.summary.text import summary_text
        from neuroscan_edge.results.summary.write import write_outputs

        request = SummaryRequest(
            results=results,
            demographics=demographics,
            smallest_cell=smallest_cell,
            certificate=certificate,
            sensitivity=sensitivity,
            html=html,
            json=as_json,
        )
        summary = summarise(request)
        write_outputs(summary, request)
        typer.echo(summary_text(summary), nl=False)
        raise typer.Exit(summary.exit_code)
