"""From a request to a loaded model, and what is said of it."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.classify.pipeline import AUTO_BATCH
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.model.bundle import Bundle, find_bundle, open_bundle
from neuroscan_edge.parity import require_certified, standing
from neuroscan_edge.runtimes import (
    Parallelism,
    Runtime,
    RuntimeOptions,
    choose_runtime,
    open_choice,
    tune,
)
from neuroscan_edge.scans.raster.signature import SUFFIXES as RASTER_SUFFIXES

_ONE_SLICE = RASTER_SUFFIXES - {".tif", ".tiff"}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """What classifies.

    Parameters
    ----------
    bundle : Bundle
        The model.
    runtime : Runtime
        Loaded.
    options : RuntimeOptions
        That it was loaded with.
    certified : bool
        Whether a certificate is of it.
    """

    bundle: Bundle
    runtime: Runtime
    options: RuntimeOptions
    certified: bool


def about_how_many(files: Sequence[Path]) -> int:
    """Return how many slices files hold, of which DICOM and TIFF may hold many: then a batch."""
    if len(files) >= AUTO_BATCH or all(path.suffix.lower() in _ONE_SLICE for path in files):
        return len(files)
    return AUTO_BATCH


@contextlib.contextmanager
def load_model(
    request: ClassifyRequest, slices: int, begun: Parallelism | None = None
) -> Iterator[LoadedModel]:
    """Load what a request asks for and say on standard error what that is.

    Parameters
    ----------
    request : ClassifyRequest
        Model, precision, runtime and what else decides.
    slices : int
        About how many there will be, see `about_how_many`.
    begun : Parallelism, optional
        Threads and streams that the run was begun with, whatever would be found faster now.

    Raises
    ------
    CertificateError
        If a certificate is required and there is none.
    """
    bundle = open_bundle(find_bundle(request.model))
    options = RuntimeOptions(
        request.precision,
        request.threads,
        request.runtime,
        request.engine,
        request.batch_size or None,
        request.preprocess,
        None if request.threads else begun,
        heatmaps=request.heatmaps is not None,
    )
    choice = choose_runtime(bundle, options)
    certified = standing(bundle, choice)
    print(f"{choice}; {certified}", file=sys.stderr)
    if request.require_certificate:
        require_certified(certified)
    if choice.cuda or choice.installed.name.on_gpu:
        print("warming up; the first time on a GPU kernels are compiled", file=sys.stderr)
    batch_size = min(request.batch_size or AUTO_BATCH, slices)
    tuned = tune(bundle, choice, options, batch_size=batch_size, slices=slices)
    with open_choice(bundle, choice, tuned.options) as runtime:
        place = runtime.info.preprocessing
        print(f"preprocessing on {place}", file=sys.stderr)
        yield LoadedModel(bundle, runtime, tuned.options, certified.certified)
        if runtime.info.preprocessing != place:
            print(f"preprocessing was on {runtime.info.preprocessing}", file=sys.stderr)
