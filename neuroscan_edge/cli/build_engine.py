"""``neuroscan-edge build-engine``."""

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.cli.options import BundleArgument
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName

if TYPE_CHECKING:
    from neuroscan_edge.runtimes.build import BuildOptions


class PrecisionChoice(str, Enum):
    """Precisions, and the choice among them by parity."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


def build_engine(
    bundle: BundleArgument = None,
    runtime: Annotated[
        RuntimeName | None, typer.Option(help="Default: the fastest that is installed.")
    ] = None,
    precision: Annotated[
        PrecisionChoice | None,
        typer.Option(
            help="Default: fp16 for a GPU, int8 for a CPU. auto: the fastest that passes parity."
        ),
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
    data: Annotated[
        Path | None, typer.Option(envvar="NEUROSCAN_DATA", help="Data set, for --precision auto.")
    ] = None,
    gate: Annotated[
        Path | None, typer.Option(help="TOML with other limits, for --precision auto.")
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option("--allow-overlap", help="As in parity, for --precision auto."),
    ] = False,
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps", help="An engine that also draws; classify --heatmaps.")
    ] = False,
) -> None:
    """Compile a bundle's graph into an engine for one runtime and GPU, with its manifest.

    With --precision auto, precision and INT8 layers are those that are fastest and pass parity,
    the engine is certified, and the exit code is parity's.
    """
    with exit_codes():
        from neuroscan_edge.model.bundle import find_bundle, open_bundle
        from neuroscan_edge.model.engine.manifest import BatchProfile
        from neuroscan_edge.runtimes.build import BuildOptions
        from neuroscan_edge.runtimes.build import build_engine as build
        from neuroscan_edge.runtimes.inspection import engine_summary

        options = BuildOptions(
            runtime=runtime,
            precision=None if precision in {None, PrecisionChoice.AUTO} else Precision(precision),
            batch=BatchProfile.tuned(min_batch, opt_batch, max_batch),
            targets=tuple(target or ()),
            optimization_level=optimization_level,
            workspace_mib=workspace_mib,
            timing_cache=timing_cache,
            output=output,
            heatmaps=heatmaps,
        )
        if precision is PrecisionChoice.AUTO:
            raise typer.Exit(
                _build_fastest(find_bundle(bundle), options, data, gate, allow_overlap)
            )
        with _progress() as report:
            engine = build(open_bundle(find_bundle(bundle)), options, report)
        typer.echo(engine_summary(engine))
        typer.echo(RESEARCH_USE, err=True)


def _build_fastest(
    folder: Path, options: "BuildOptions", data: Path | None, gate: Path | None, allow_overlap: bool
) -> int:
    from neuroscan_edge.errors import UsageError
    from neuroscan_edge.parity.auto_engine import build_fastest
    from neuroscan_edge.parity.gate import read_gate
    from neuroscan_edge.parity.outputs import Outputs, write_outputs
    from neuroscan_edge.parity.run import ParityRequest
    from neuroscan_edge.parity.summary import terminal_summary
    from neuroscan_edge.runtimes.inspection import engine_summary

    if data is None:
        raise UsageError("--precision auto holds engines against labelled images; give --data")
    request = ParityRequest(folder, data, gate=read_gate(gate), allow_overlap=allow_overlap)
    found = build_fastest(request, options, report=lambda line: typer.echo(line, err=True))
    write_outputs(found.parity, folder, Outputs())
    typer.echo(engine_summary(found.engine))
    typer.echo(found.tuned.reason)
    typer.echo(terminal_summary(found.parity.certificate))
    return found.parity.certificate.verdict.exit_code


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
