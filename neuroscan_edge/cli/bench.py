"""``neuroscan-edge bench``."""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.cli.options import (
    EngineOption,
    ModelOption,
    PrecisionOption,
    RuntimeChoice,
    RuntimeChoiceOption,
)
from neuroscan_edge.spec import RESEARCH_USE


class ScenarioChoice(str, Enum):
    """MLPerf's scenarios."""

    SINGLE_STREAM = "SingleStream"
    MULTI_STREAM = "MultiStream"
    OFFLINE = "Offline"


class ScopeChoice(str, Enum):
    """What is timed."""

    PIPELINE = "pipeline"
    RUNTIME = "runtime"
    BOTH = "both"


class Harness(str, Enum):
    """Who issues the queries."""

    OWN = "own"
    LOADGEN = "loadgen"


class RunByDefault(TyperGroup):
    """``bench SCANS`` is ``bench run SCANS``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command in where none is named."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["run", *args]
        return list(super().parse_args(ctx, args))


bench = typer.Typer(
    cls=RunByDefault,
    no_args_is_help=True,
    help=(
        "Measure latency and throughput, and where the time goes: "
        f"bench SCANS [OPTIONS]; see bench run --help. {RESEARCH_USE}"
    ),
)


@bench.command()
def run(
    scans: Annotated[
        list[Path] | None, typer.Argument(help="Scans of one slice each, or folders of them.")
    ] = None,
    scenario: Annotated[
        list[ScenarioChoice] | None, typer.Option(help="Default: all three; repeatable.")
    ] = None,
    scope: Annotated[
        ScopeChoice, typer.Option(help="From file to result, the bare runtime, or both.")
    ] = ScopeChoice.PIPELINE,
    harness: Annotated[
        Harness, typer.Option(help="loadgen also runs MLPerf's own over the same system.")
    ] = Harness.OWN,
    output: Annotated[Path | None, typer.Option(help="Write the record here, as JSON.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write an HTML page here.")] = None,
    model: ModelOption = None,
    precision: PrecisionOption = None,
    runtime: RuntimeChoiceOption = RuntimeChoice.AUTO,
    engine: EngineOption = None,
    batch_size: Annotated[int, typer.Option(help="Slices a batch, Offline; 0 chooses.")] = 0,
    workers: Annotated[int, typer.Option(help="Decoding threads; 0 chooses.")] = 0,
    threads: Annotated[
        int, typer.Option(help="Threads of the model; 0 takes what was measured, or measures now.")
    ] = 0,
    retune: Annotated[
        bool, typer.Option("--retune", help="Measure threads and streams again.")
    ] = False,
    samples: Annotated[int, typer.Option(help="Different scans at most.")] = 256,
    noise: Annotated[bool, typer.Option("--noise", help="Random noise in place of scans.")] = False,
    warm_up: Annotated[float, typer.Option(help="Seconds before anything counts.")] = 5.0,
    min_duration: Annotated[float, typer.Option(help="Least seconds a scenario.")] = 20.0,
    max_duration: Annotated[
        float, typer.Option(help="Most seconds a scenario; not steady by then is unstable.")
    ] = 300.0,
    spread: Annotated[
        float, typer.Option(help="Largest spread of the last windows that counts as steady.")
    ] = 0.05,
    pin: Annotated[str, typer.Option(help="Cores to stay on, such as 0,1.")] = "",
    stage_slices: Annotated[int, typer.Option(help="Slices timed by stage; 0: none.")] = 64,
    layer_runs: Annotated[int, typer.Option(help="Batches timed by layer; 0: none.")] = 20,
    cold_starts: Annotated[int, typer.Option(help="Processes timed; 0: none.")] = 5,
    sweep: Annotated[
        str, typer.Option(help="Batch sizes of the throughput curve; empty: none.")
    ] = "1,2,4,8,16,32",
) -> None:
    """Measure. Exit code 0: valid; 1: unstable; 130: interrupted, the record says so."""
    with exit_codes():
        from neuroscan_edge import bench as library
        from neuroscan_edge.bench.system import Scope

        scopes = tuple(Scope) if scope is ScopeChoice.BOTH else (Scope(scope.value),)
        chosen = [library.ScenarioName(each.value) for each in scenario or ScenarioChoice]
        request = library.BenchRequest(
            inputs=tuple(scans or ()),
            scenarios=tuple(chosen),
            scopes=scopes,
            pace=library.Pace(warm_up, min_duration, max_duration, spread=spread),
            loadgen=harness is Harness.LOADGEN,
            model=model,
            precision=precision,
            runtime=runtime.runtime,
            engine=engine,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
            samples=samples,
            noise=noise,
            pin=_numbers(pin, "--pin"),
            stage_slices=stage_slices,
            layer_runs=layer_runs,
            cold_starts=cold_starts,
            sweep=_numbers(sweep, "--sweep"),
            retune=retune,
        )
        _check_places(output, page)
        record = library.run_bench(request)
        _write(record, output, page)
        for line in library.summary_lines(record):
            typer.echo(line)
        typer.echo(RESEARCH_USE, err=True)
        if record.verdict is library.Verdict.PARTIAL:
            raise KeyboardInterrupt
        if record.verdict is not library.Verdict.VALID:
            raise typer.Exit(1)


@bench.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Record to compare with.")],
    second: Annotated[Path, typer.Argument(help="Record that is compared.")],
) -> None:
    """Print what the second record is of the first, as ratios with intervals."""
    with exit_codes():
        from neuroscan_edge import bench as library

        typer.echo(library.compare(library.read_record(first), library.read_record(second)))
        typer.echo(RESEARCH_USE, err=True)


@bench.command("page")
def make_page(
    record: Annotated[Path, typer.Argument(help="Record.")],
    output: Annotated[Path, typer.Option(help="HTML page to write.")],
) -> None:
    """Draw a record as a self-contained HTML page."""
    with exit_codes():
        from neuroscan_edge import bench as library

        _check_places(None, output)
        _write(library.read_record(record), None, output)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    from neuroscan_edge.errors import UsageError

    try:
        return tuple(int(each) for each in text.split(",") if each.strip())
    except ValueError as error:
        raise UsageError(f"{option} is {text!r}; give whole numbers, such as 0,1") from error


def _check_places(*places: Path | None) -> None:
    from neuroscan_edge.system.files import check_place

    for place in places:
        if place is not None:
            check_place(place)


def _write(record: Any, output: Path | None, page: Path | None) -> None:
    from neuroscan_edge.bench import render_page
    from neuroscan_edge.errors import OutputError
    from neuroscan_edge.system.files import write_whole

    try:
        if output is not None:
            record.write(output)
        if page is not None:
            write_whole(page, render_page(record).encode())
    except OSError as error:
        raise OutputError(
            f"{output or page} cannot be written ({error.strerror}); check disk and permissions"
        ) from error
