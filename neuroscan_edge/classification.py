"""A whole classification run: find, classify, write, and say how it went."""

import contextlib
import errno
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from neuroscan_edge._files import whole_file
from neuroscan_edge.bundle import find_bundle, open_bundle
from neuroscan_edge.errors import EXIT_INCOMPLETE, OutputError, UsageError
from neuroscan_edge.findings import Decision
from neuroscan_edge.grouping import Groups
from neuroscan_edge.machine import usable_cores
from neuroscan_edge.parity import require_certified, standing
from neuroscan_edge.pipeline import AUTO_BATCH, MOST_WORKERS, PipelineOptions, classify_files
from neuroscan_edge.results import FORMATS, Record
from neuroscan_edge.results.arrangement import Arrangement, arranged
from neuroscan_edge.results.writing import PARQUET, record_writer
from neuroscan_edge.runtimes import RuntimeOptions, choose_runtime, open_choice, tune
from neuroscan_edge.scans import Discovery, find_scans
from neuroscan_edge.spec import RESEARCH_USE, Precision, PreprocessOn, RuntimeName


@dataclass(frozen=True, slots=True)
class ClassifyRequest:
    """What to classify, with what, and where the results go.

    Parameters
    ----------
    inputs : tuple of Path
        Files and folders.
    model : str or None
        Bundle folder or name; None is the default bundle.
    output : Path or None
        Results file; None is standard output.
    output_format : {"table", "csv", "jsonl", "parquet"} or None
        None goes by the output's suffix, and is a table on standard output.
    precision : Precision or None
        None takes the fastest.
    batch_size, workers, threads : int
        0 chooses.
    runtime : RuntimeName or None
        None takes the fastest that runs here.
    engine : Path or None
        Folder of a built engine; None looks in the bundle.
    preprocess : PreprocessOn
        auto takes the GPU with a GPU's engine.
    require_certificate : bool
        Whether to refuse what no certificate in the bundle is of.
    arrangement : Arrangement
        The order of the rows, and those of series and studies.
    """

    inputs: tuple[Path, ...]
    model: str | None = None
    output: Path | None = None
    output_format: str | None = None
    precision: Precision | None = None
    batch_size: int = 0
    workers: int = 0
    threads: int = 0
    runtime: RuntimeName | None = None
    engine: Path | None = None
    preprocess: PreprocessOn = PreprocessOn.AUTO
    require_certificate: bool = False
    arrangement: Arrangement = field(default_factory=Arrangement)


def run(request: ClassifyRequest) -> int:
    """Classify and write; returns the exit code: 0 if every slice was judged, 1 if some failed.

    Raises
    ------
    UsageError
        If there is nothing to classify, or the output cannot be written where it is asked for.
    CertificateError
        If a certificate is required and there is none of what would run.
    OutputError
        If writing fails on the way; no half-written file is left.
    """
    form = _format_name(request)
    workers = request.workers or min(usable_cores(), MOST_WORKERS)
    options = PipelineOptions(request.batch_size, workers)
    found = find_scans(request.inputs)
    if not found.files:
        raise UsageError(_nothing(request.inputs, found))
    if request.output is not None:
        _check_output(request.output, found.files)
    bundle = open_bundle(find_bundle(request.model))
    request.arrangement.check(bundle.labels)
    runtime_options = RuntimeOptions(
        request.precision,
        request.threads,
        request.runtime,
        request.engine,
        request.batch_size or None,
        request.preprocess,
    )
    choice = choose_runtime(bundle, runtime_options)
    certified = standing(bundle, choice)
    print(f"{choice}; {certified}", file=sys.stderr)
    if request.require_certificate:
        require_certified(certified)
    if choice.cuda or choice.installed.name.on_gpu:
        print("warming up; the first time on a GPU kernels are compiled", file=sys.stderr)
    batch_size = min(request.batch_size or AUTO_BATCH, len(found.files))
    tuned = tune(bundle, choice, runtime_options, batch_size=batch_size, slices=len(found.files))
    groups = Groups(request.arrangement.grouping)
    counts: Counter[str] = Counter()
    opened = open_choice(bundle, choice, tuned.options)
    with (
        opened as runtime,
        _sink(request.output) as write,
        record_writer(form, bundle.labels, write) as add,
        _progress(len(found.files), to_terminal=request.output is not None) as advance,
    ):
        place = runtime.info.preprocessing
        print(f"preprocessing on {place}", file=sys.stderr)

        def records() -> Iterator[Record]:
            path = None
            for result in classify_files(found.files, bundle, runtime, options):
                counts[str(result.decision or "failed")] += 1
                advance(result.provenance.path != path)
                path = result.provenance.path
                yield replace(result, certified=certified.certified).to_json()

        for record in arranged(records(), request.arrangement, groups):
            add(record)
        if runtime.info.preprocessing != place:
            print(f"preprocessing was on {runtime.info.preprocessing}", file=sys.stderr)
    _summarise(counts, found, request.output)
    if groups.ungrouped:
        print(_ungrouped(groups), file=sys.stderr)
    return EXIT_INCOMPLETE if counts["failed"] else 0


def _format_name(request: ClassifyRequest) -> str:
    if request.output is None:
        form = request.output_format or "table"
        if form == PARQUET:
            raise UsageError(
                "Parquet is no text for standard output; give --output results.parquet"
            )
        return form
    if request.output_format:
        return request.output_format
    suffix = request.output.suffix.lower()
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
    return f"there are no scans in {where}{skipped}; give DICOM, PNG, JPEG, TIFF, BMP or WebP"


@contextlib.contextmanager
def _sink(output: Path | None) -> Iterator[Callable[[bytes], None]]:
    """Open the results' destination; a file appears only if the block succeeds."""
    if output is None:
        yield _write_to_stdout
        _write_to_stdout(b"", flush=True)
        return
    # A link stays a link: what it names is replaced.
    target = output.resolve()
    try:
        with whole_file(target) as file:

            def write(data: bytes) -> None:
                with _write_errors(output):
                    file.write(data)

            yield write
            write(b"")
    except OSError as error:
        raise _unwritable(output, error) from error


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
def _write_errors(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unwritable(output, error) from error


def _unwritable(output: Path, error: OSError) -> OutputError:
    hint = "free some space" if error.errno == errno.ENOSPC else "check disk and permissions"
    return OutputError(
        f"{output} cannot be written ({error.strerror}); {hint} and run again. "
        "No partial file was left"
    )


def _write_to_stdout(data: bytes, *, flush: bool = False) -> None:
    try:
        if hasattr(sys.stdout, "buffer"):
            # Bytes: file names need not be text, nor the terminal's encoding UTF-8.
            sys.stdout.buffer.write(data)
        else:
            # A notebook's standard output takes text alone.
            sys.stdout.write(data.decode("utf-8", "replace"))
        if flush or sys.stdout.isatty():
            sys.stdout.flush()
    except BrokenPipeError as error:
        _silence_stdout()
        raise OutputError("the reader of the results closed the pipe before the end") from error
    except OSError as error:
        _silence_stdout()
        raise OutputError(f"results cannot be written: {error.strerror}") from error


def _silence_stdout() -> None:
    # What is still buffered would fail again when the interpreter flushes it at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _progress(total: int, *, to_terminal: bool) -> Iterator[Callable[[bool], None]]:
    console = Console(stderr=True)
    # A bar between the rows of a table would tear both.
    shown = console.is_terminal and (to_terminal or not sys.stdout.isatty())
    columns = (
        TextColumn("classifying"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not shown, transient=True) as progress:
        task = progress.add_task("", total=total, rate="")

        def advance(new_file: bool) -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:.0f} files/s" if speed else ""
            progress.update(task, advance=int(new_file), rate=rate)

        yield advance


def _summarise(counts: Counter[str], found: Discovery, output: Path | None) -> None:
    referred = counts[Decision.REFER]
    classified = counts[Decision.ANSWER] + referred
    parts = [f"{classified} {'slice' if classified == 1 else 'slices'} classified"]
    if referred:
        parts.append(f"{referred} of them referred to a person")
    if counts[Decision.REJECTED]:
        parts.append(f"{counts[Decision.REJECTED]} rejected")
    if counts["failed"]:
        parts.append(f"{counts['failed']} failed")
    if found.skipped:
        parts.append(f"{found.skipped} other files passed over")
    where = f" -> {output}" if output else ""
    print(f"{', '.join(parts)}{where}. {RESEARCH_USE}", file=sys.stderr)
