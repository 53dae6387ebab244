"""``neuroscan-edge classify``."""

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.cli.options import (
    EngineOption,
    ModelOption,
    PrecisionOption,
    RuntimeChoice,
    RuntimeChoiceOption,
)
from neuroscan_edge.errors import UsageError
from neuroscan_edge.spec import Aggregate, GroupBy, PreprocessOn, SortBy


class OutputFormat(str, Enum):
    """Forms of the results."""

    TABLE = "table"
    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"


def classify(
    scans: Annotated[
        list[Path] | None, typer.Argument(help="Scans, or folders of them.", show_default=False)
    ] = None,
    model: ModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write results here when complete: .jsonl, .csv, .txt or .parquet."),
    ] = None,
    output_format: Annotated[
        OutputFormat | None, typer.Option("--format", help="Default: by the output's suffix.")
    ] = None,
    precision: PrecisionOption = None,
    runtime: RuntimeChoiceOption = RuntimeChoice.AUTO,
    engine: EngineOption = None,
    preprocess: Annotated[
        PreprocessOn, typer.Option(help="auto takes the GPU with a GPU's engine; same results.")
    ] = PreprocessOn.AUTO,
    require_certificate: Annotated[
        bool, typer.Option("--require-certificate", help="Refuse what parity has not certified.")
    ] = False,
    heatmaps: Annotated[
        Path | None,
        typer.Option(help="Folder for a picture of each slice: where it was looked at."),
    ] = None,
    series: Annotated[
        list[str] | None,
        typer.Option(
            help='Only slices that fit this rule, or another: "sequence=T1C,plane=axial".',
            show_default=False,
        ),
    ] = None,
    sort: Annotated[
        SortBy, typer.Option(help="risk puts the slices most likely to show a tumour first.")
    ] = SortBy.INPUT,
    group: Annotated[
        GroupBy, typer.Option(help="Add a row for each series, or for each series and study.")
    ] = GroupBy.NONE,
    aggregate: Annotated[
        Aggregate, typer.Option(help="How the slices' probabilities become the group's.")
    ] = Aggregate.MEAN_LOG,
    most_suspicious: Annotated[
        int, typer.Option(help="Slices that the row of a series or study names.")
    ] = 3,
    batch_size: Annotated[int, typer.Option(help="Slices a batch; 0 chooses.")] = 0,
    workers: Annotated[int, typer.Option(help="Files decoded at once; 0 chooses.")] = 0,
    threads: Annotated[
        int, typer.Option(help="Threads of the model; 0: as measured, else every core.")
    ] = 0,
    file_timeout: Annotated[
        float, typer.Option(help="Seconds to decode one file; 0 waits for ever.")
    ] = 60.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a run that did not end, if there is one.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Drop what a run that did not end has done.")
    ] = False,
    watch: Annotated[
        Path | None, typer.Option(help="Classify what arrives in this folder, until interrupted.")
    ] = None,
    settle: Annotated[
        float, typer.Option(help="Seconds in which a file there must not change.")
    ] = 2.0,
    poll: Annotated[
        bool, typer.Option("--poll", help="Look there again and again: for network folders.")
    ] = False,
) -> None:
    """Classify brain-MRI slices: glioma, meningioma, pituitary tumour or no tumour.

    Exit code 0: every slice classified, or rejected as none that can be. 1: some could not be
    read, or the run failed. 2: bad usage, or nothing to classify. 130: interrupted, which is how
    --watch ends.
    """
    with exit_codes():
        if not scans and watch is None:
            raise UsageError("Missing argument: give scans, folders of them, or --watch FOLDER")
        # NumPy would start threads that nothing here uses, and a process with threads cannot be
        # forked for its decoders: see neuroscan_edge.classify.decoders.launch.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from neuroscan_edge.classify.request import ClassifyRequest
        from neuroscan_edge.classify.run import run
        from neuroscan_edge.results.grouping import Grouping
        from neuroscan_edge.results.ordering import Arrangement
        from neuroscan_edge.scans.series_rule import SeriesRule

        request = ClassifyRequest(
            inputs=tuple(scans or ()),
            model=model,
            output=output,
            output_format=output_format.value if output_format else None,
            precision=precision,
            batch_size=batch_size,
            workers=workers,
            threads=threads,
            runtime=runtime.runtime,
            engine=engine,
            preprocess=preprocess,
            require_certificate=require_certificate,
            series=tuple(SeriesRule.parse(rule) for rule in series or ()),
            heatmaps=heatmaps,
            arrangement=Arrangement(sort, Grouping(group, aggregate, most_suspicious)),
            file_timeout_s=file_timeout,
            resume=resume,
            restart=restart,
            watch=watch,
            settle_s=settle,
            poll=poll,
        )
        if watch is not None:
            from neuroscan_edge.classify.watch import watch as run_watch

            raise typer.Exit(run_watch(request))
        raise typer.Exit(run(request))
