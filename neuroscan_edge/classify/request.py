"""What a classification run is asked for: inputs, model, output and options."""

from dataclasses import dataclass, field
from pathlib import Path

from neuroscan_edge.classify.arrivals import SETTLE_S
from neuroscan_edge.classify.decoders.pool import DEFAULT_TIMEOUT_S
from neuroscan_edge.errors import SpecError
from neuroscan_edge.results.ordering import Arrangement
from neuroscan_edge.scans.series_rule import SeriesRule
from neuroscan_edge.spec import Precision, PreprocessOn, RuntimeName


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
    series : tuple of SeriesRule
        Only slices that fit one of them are classified; empty takes all.
    heatmaps : Path or None
        Folder for a picture of each classified slice; made if it is not there.
    file_timeout_s : float
        Seconds to decode one file; 0 waits for ever.
    isolate : bool
        Whether files are decoded in processes of their own.
    resume, restart : bool
        Whether to continue the run that left a journal beside the output, or to drop it.
    watch : Path or None
        A folder whose files are classified as they arrive, in place of `inputs`; see
        `neuroscan_edge.classify.watch.watch`.
    settle_s : float
        Seconds in which a file there must not change before it is read.
    poll : bool
        Whether to look there again and again, as network folders need, rather than be told.
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
    series: tuple[SeriesRule, ...] = ()
    heatmaps: Path | None = None
    file_timeout_s: float = DEFAULT_TIMEOUT_S
    isolate: bool = True
    resume: bool = False
    restart: bool = False
    watch: Path | None = None
    settle_s: float = SETTLE_S
    poll: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.settle_s < 1e6:
            raise SpecError(f"the settling time is {self.settle_s:g} s; give 0 or more")
