"""``neuroscan-edge build-engine``."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName


def build_engine(
    bundle: Annotated[
        str | None, typer.Argument(help="Bundle folder, or the name of a shipped bundle.")
    ] = None,
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="Default: the fastest that is installed.")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Default: fp16 for a GPU, int8 for a CPU.")
    ] = None,
    min_batch: Annotated[int, typer.Option(help="Fewest slices a batch.")] = 1,
    opt_batch: Annotated[
        int | None, typer.Option(help="Slices a batch to tune for; default: 8, within the limits.")
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Most slices a batch.")] = 32,
    target: Annotated[
        list[str] | None,
        typer.Option(help="Compute capability, such as 8.6; tensorrt-rtx only, repeatable."),
    ] = None,
    optimization_level: Annotated[
        int | None, typer.Option(help="0 to 5: how long the builder searches.")
    ] = None,
    workspace_mib: Annotated[int | None, typer.Option(help="Most scratch memory.")] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(help="File of earlier builds' timings; tensorrt only.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for the engine; default: in the bundle.")
    ] = None,
) -> None:
    """Compile a bundle's graph into an engine for one runtime and GPU, with its manifest."""
    with exit_codes():
        from neuroscan_edge.build import BuildOptions
        from neuroscan_edge.build import build_engine as build
        from neuroscan_edge.bundle import find_bundle, open_bundle
        from neuroscan_edge.engine.manifest import BatchProfile
        from neuroscan_edge.inspection import engine_summary

        options = BuildOptions(
            runtime=runtime,
            precision=precision,
            batch=BatchProfile.tuned(min_batch, opt_batch, max_batch),
            targets=tuple(target or ()),
            optimization_level=optimization_level,
            workspace_mib=workspace_mib,
            timing_cache=timing_cache,
            output=output,
        )
        with _progress() as report:
            engine = build(open_bundle(find_bundle(bundle)), options, report)
        typer.echo(engine_summary(engine))
        typer.echo(RESEARCH_USE, err=True)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("building"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    shown = console.is_terminal
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("", total=1.0)

        def report(fraction: float, phase: str) -> None:
            progress.update(task, completed=fraction, description=phase)

        yield report
