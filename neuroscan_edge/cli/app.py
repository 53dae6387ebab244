"""``neuroscan-edge``: the command line. Heavy imports happen inside the commands."""

from typing import Annotated

import typer

from neuroscan_edge import __version__
from neuroscan_edge.cli.bench import bench
from neuroscan_edge.cli.build_engine import build_engine
from neuroscan_edge.cli.calibrate import calibrate
from neuroscan_edge.cli.classify import classify
from neuroscan_edge.cli.doctor import doctor
from neuroscan_edge.cli.export import export
from neuroscan_edge.cli.inspect import inspect
from neuroscan_edge.cli.parity import parity
from neuroscan_edge.cli.precision import precision
from neuroscan_edge.cli.summarize import summarize
from neuroscan_edge.cli.tune import tune
from neuroscan_edge.spec import RESEARCH_USE

app = typer.Typer(
    name="neuroscan-edge",
    help=f"Classify brain-MRI slices beside the scanner. {RESEARCH_USE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"neuroscan-edge {__version__}. {RESEARCH_USE}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Options that stand before a command."""


app.command()(classify)
app.command()(summarize)
app.command()(export)
app.command()(calibrate)
app.command()(precision)
app.command()(build_engine)
app.command()(parity)
app.command()(tune)
app.command()(inspect)
app.command()(doctor)
app.add_typer(bench, name="bench")
