"""A whole classification run: find, classify, write, and say how it went."""

import contextlib
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from neuroscan_edge.classify.decoders import (
    DecoderOptions,
    Decoders,
    ready_decoders,
    start_decoders,
)
from neuroscan_edge.classify.heatmaps import check_heatmap_folder, heatmap_folder
from neuroscan_edge.classify.loaded_model import about_how_many, load_model
from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.classify.output.resumable import UnfinishedOutput
from neuroscan_edge.classify.output.standard import StandardOutput
from neuroscan_edge.classify.pipeline import MOST_WORKERS, PipelineOptions, classify_batches
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.classify.run_identity import parallelism_of, run_identity
from neuroscan_edge.errors import EXIT_INCOMPLETE, EXIT_USAGE, UsageError
from neuroscan_edge.results import FORMATS, Record
from neuroscan_edge.results.grouping import Groups
from neuroscan_edge.results.ordering import arranged
from neuroscan_edge.results.writer import PARQUET, record_writer, require_form
from neuroscan_edge.scans import Discovery, find_scans
from neuroscan_edge.scans.dicom.signature import SUFFIXES as DICOM_SUFFIXES
from neuroscan_edge.spec import RESEARCH_USE, Decision
from neuroscan_edge.system.machine import usable_cores

_OTHERWISE_COMPARED = frozenset(
    {
        "inputs",
        "model",
        "output",
        "output_format",
        "precision",
        "batch_size",
        "threads",
        "runtime",
        "engine",
        "preprocess",
        "arrangement",
        "series",
        "heatmaps",
    }
)
_WITHOUT_EFFECT = frozenset(
    {
        "workers",
        "require_certificate",
        "file_timeout_s",
        "isolate",
        "resume",
        "restart",
        "watch",
        "settle_s",
        "poll",
    }
)
"""Parts of a request that a run may be continued without, or with others: no result differs."""

UNWANTED = "not selected: "
"""Before the kind of a series in the counts of slices that fit no rule."""


def run(request: ClassifyRequest) -> int:
    """Classify and write; returns the exit code: 0 if every slice was judged, 1 if some failed.

    Raises
    ------
    UsageError
        If there is nothing to classify, or the output cannot be written where it is asked for.
    CertificateError
        If a certificate is required and there is none of what would run.
    OutputError
        If writing fails on the way; what is done is kept in a journal beside the output.
    JournalError
        If another run writes there, or a run to be continued was another.
    StalledError
        If the files' disk or network does not answer.
    """
    form = _format_name(request)
    require_form(form)
    if request.output is None and (request.resume or request.restart):
        raise UsageError("only results in a file can be continued; give --output")
    if request.resume and request.restart:
        raise UsageError("--resume keeps what a run has done, --restart drops it; give one of them")
    if request.heatmaps is not None:
        check_heatmap_folder(request.heatmaps, again=request.resume or request.restart)
    workers = request.workers or min(usable_cores(), MOST_WORKERS)
    options = PipelineOptions(
        request.batch_size,
        workers,
        heatmaps=request.heatmaps is not None,
        series=request.series,
    )
    with contextlib.ExitStack() as stack:
        # Their imports go on while the model is loaded.
        decoders = None
        if request.isolate:
            decoders = start_decoders(DecoderOptions(request.file_timeout_s), stack)
        found = find_scans(request.inputs)
        if not found.files:
            raise UsageError(_nothing(request.inputs, found))
        if decoders and any(path.suffix.lower() in DICOM_SUFFIXES for path in found.files):
            decoders.expect_dicom()
        output: UnfinishedOutput | StandardOutput = StandardOutput()
        if request.output is not None:
            _check_output(request.output, found.files)
            unfinished = UnfinishedOutput(
                request.output, resume=request.resume, restart=request.restart
            )
            output = stack.enter_context(unfinished)
        return _classify(request, found, form, options, decoders, output)


def _classify(
    request: ClassifyRequest,
    found: Discovery,
    form: str,
    options: PipelineOptions,
    decoders: Decoders | None,
    output: UnfinishedOutput | StandardOutput,
) -> int:
    begun = None if output.request is None else parallelism_of(output.request)
    with load_model(request, about_how_many(found.files), begun) as model:
        bundle, runtime = model.bundle, model.runtime
        request.arrangement.check(bundle.labels)
        decoders = ready_decoders(decoders)
        others = _others(request) | {"the format": form, "certified": model.certified}
        identity = run_identity(found.files, bundle, runtime, model.options, options, others)
        kept = output.begin(identity)
        counts = Counter(kept.counts)
        start = kept.position
        if start != Position():
            print(f"continuing after {start.files} of {len(found.files)} files", file=sys.stderr)
        batches = classify_batches(
            found.files, bundle, runtime, options, decoders=decoders, start=start
        )
        groups = Groups(request.arrangement.grouping)

        def write_all(rows: Iterator[Record], write: Callable[[bytes], object]) -> None:
            with record_writer(form, bundle.labels, write) as add:
                for row in arranged(rows, request.arrangement, groups):
                    add(row)

        with (
            contextlib.closing(batches),
            _progress(len(found.files), start.files, request.output is not None) as advance,
            heatmap_folder(request.heatmaps, rows_in(counts)) as draw,
        ):

            def rows() -> Iterator[Record]:
                for batch in batches:
                    done = []
                    for result in draw(batch):
                        counts[str(result.decision or "failed")] += 1
                        done.append(replace(result, certified=model.certified).to_json())
                    counts.update(UNWANTED + kind for kind in batch.unwanted)
                    output.commit(done, batch.after, counts)
                    advance(batch.after.files)
                    yield from done

            if isinstance(output, StandardOutput):
                write_all(rows(), output.write)
            else:
                for _ in rows():
                    pass
        if isinstance(output, StandardOutput):
            output.finish()
        else:
            output.finish(write_all)
    _summarise(counts, found, request.output)
    if groups.ungrouped:
        print(_ungrouped(groups), file=sys.stderr)
    if not rows_in(counts):
        rules = "; ".join(map(str, request.series))
        print(
            f"no slice fits --series {rules}; the counts above list the sequences and planes found",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return EXIT_INCOMPLETE if counts["failed"] else 0


def _others(request: ClassifyRequest) -> dict[str, str]:
    """Return the parts of a request that results depend on by themselves."""
    names = {each.name for each in fields(request)} - _OTHERWISE_COMPARED - _WITHOUT_EFFECT
    arrangement, heatmaps = request.arrangement, request.heatmaps
    return {
        **{name.replace("_", " "): str(getattr(request, name)) for name in sorted(names)},
        "the order": str(arrangement.sort),
        "the groups": str(arrangement.grouping.by),
        "the aggregate": str(arrangement.grouping.aggregate),
        "the slices named": str(arrangement.grouping.most_suspicious),
        "the folder of heatmaps": "none" if heatmaps is None else str(heatmaps.resolve()),
        # Left out where there is none: runs that an earlier version began know of no rules.
        **({"the series": "; ".join(map(str, request.series))} if request.series else {}),
    }


def _format_name(request: ClassifyRequest) -> str:
    if request.output is None:
        form = request.output_format or "table"
        if form == PARQUET:
            raise UsageError(
                "Parquet is no text for standard output; give --output results.parquet"
            )
        return form
    suffix = request.output.suffix.lower()
    if request.output_format:
        if FORMATS.get(suffix, request.output_format) != request.output_format:
            raise UsageError(
                f"{request.output} is named as {FORMATS[suffix]}, --format asks for "
                f"{request.output_format}; leave --format out, or name the file otherwise"
            )
        return request.output_format
    if suffix not in FORMATS:
        raise UsageError(
            f"{request.output} ends in {suffix or 'nothing'}; use one of {', '.join(FORMATS)}, "
            "or give --format"
        )
    return FORMATS[suffix]


def _ungrouped(groups: Groups) -> str:
    noun = "row is" if groups.ungrouped == 1 else "rows are"
    return f"{groups.ungrouped} {noun} of no {groups.by}: nothing in the file says which"


def _nothing(inputs: tuple[Path, ...], found: Discovery) -> str:
    where = ", ".join(map(str, inputs))
    skipped = f" ({found.skipped} other files were passed over)" if found.skipped else ""
    return (
        f"there are no scans in {where}{skipped}; give DICOM, NIfTI, PNG, JPEG, TIFF, BMP or WebP"
    )


def _check_output(output: Path, inputs: Sequence[Path]) -> None:
    if not os.path.isdir(output.parent):
        raise UsageError(f"{output.parent} is not a folder; make it or write elsewhere")
    try:
        there = output.stat()
    except OSError:
        return
    if not stat.S_ISREG(there.st_mode):
        raise UsageError(f"{output} is not a regular file; name a file, or pipe the output")
    for path in inputs:
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), there):
                raise UsageError(f"{output} is one of the scans; write elsewhere")


@contextlib.contextmanager
def _progress(total: int, done: int, to_file: bool) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    # A bar between the rows of a table would tear both.
    shown = console.is_terminal and (to_file or not sys.stdout.isatty())
    columns = (
        TextColumn("classifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("", total=total, completed=done, rate="")

        def advance(files: int) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:.0f} files/s" if speed else ""
            progress.update(task, completed=files, rate=rate)

        yield advance


def counted(counts: Counter[str]) -> str:
    """Say how many slices were classified, referred, rejected and failed, by their decisions."""
    referred = counts[Decision.REFER]
    classified = counts[Decision.ANSWER] + referred
    parts = [f"{classified} {'slice' if classified == 1 else 'slices'} classified"]
    if referred:
        parts.append(f"{referred} of them referred to a person")
    if counts[Decision.REJECTED]:
        parts.append(f"{counts[Decision.REJECTED]} rejected")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    unwanted = counts.total() - rows_in(counts)
    if unwanted:
        parts.append(f"{unwanted} not selected by --series")
    return ", ".join(parts)


def rows_in(counts: Counter[str]) -> int:
    """Return how many rows were counted: slices that fit no rule have none."""
    return sum(count for name, count in counts.items() if not name.startswith(UNWANTED))


def unwanted_kinds(counts: Counter[str]) -> str:
    """Say of which series the slices are that fit no rule, the most frequent first."""
    kinds = Counter(
        {name[len(UNWANTED) :]: n for name, n in counts.items() if name.startswith(UNWANTED)}
    )
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"not selected by --series: {listed}"


def _summarise(counts: Counter[str], found: Discovery, output: Path | None) -> None:
    skipped = f", {found.skipped} other files passed over" if found.skipped else ""
    where = f" -> {output}" if output else ""
    if counts.total() > rows_in(counts):
        print(unwanted_kinds(counts), file=sys.stderr)
    print(f"{counted(counts)}{skipped}{where}. {RESEARCH_USE}", file=sys.stderr)
