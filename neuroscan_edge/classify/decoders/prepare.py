"""What is done with one file before the model: decoded, preprocessed, or told as an error."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import RejectedScanError, ScanError
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.preprocess.packing import check_slice
from neuroscan_edge.scans import Limits, Provenance, Scan, ScanFault
from neuroscan_edge.scans.quality import QualityThresholds, examine
from neuroscan_edge.scans.scan import SeriesFacts
from neuroscan_edge.scans.series_rule import SeriesRule
from neuroscan_edge.spec import Finding, Preprocessing

RAW_PIXELS = 1 << 22
"""Pixels of one file that wait for the GPU as they are; what exceeds them is resized before."""

QUICK_S = 0.02
"""A file that takes longer neither waits for others nor keeps them waiting: to ask for it and to
answer costs little beside that."""

_UInt8 = npt.NDArray[np.uint8]

Decode = Callable[[Path, Limits], Iterator[Scan | ScanFault]]
"""A file's scans, and the frames among them that are damaged."""

Preprocess = Callable[[_UInt8, int], _UInt8]
"""A slice, (H, W) uint8, and how many pixels of its file wait, to what the runtime takes."""


@dataclass(frozen=True, slots=True)
class Preparation:
    """How files are prepared.

    Parameters
    ----------
    preprocessing : Preprocessing
        Of the model.
    raw : bool
        Whether the runtime preprocesses on its device: then slices go there as decoded.
    limits : Limits
        Inputs to refuse.
    keep_original : bool
        Whether a slice's decoded pixels stay with it, for what is drawn over them later.
    quality : QualityThresholds
        From where on pixels are found fault with.
    series : tuple of SeriesRule
        Slices that fit none of them are not prepared; empty takes all.
    """

    preprocessing: Preprocessing
    raw: bool = False
    limits: Limits = Limits()
    keep_original: bool = False
    quality: QualityThresholds = QualityThresholds()
    series: tuple[SeriesRule, ...] = ()

    def wants(self, scan: Scan) -> bool:
        """Whether a slice fits a rule, or there is none."""
        facts = scan.facts.series or SeriesFacts()
        return not self.series or any(rule.fits(facts) for rule in self.series)

    def preprocessor(self) -> Preprocess:
        """Return what makes slices ready for the runtime, callable from any thread."""
        cpu = CpuPreprocessor(self.preprocessing)
        return _raw(cpu) if self.raw else lambda pixels, waiting: cpu(pixels)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A slice ready for the runtime, or the reason why it is not.

    Parameters
    ----------
    provenance : Provenance
        Which slice.
    pixels : (H, W) uint8, or None
        What the runtime takes; None if the slice is not classified.
    error : str or None
        ``<kind>: <what was found and what to do>``.
    findings : tuple of Finding
        Of the input.
    original : (H, W) uint8, or None
        The slice as decoded, if that was to be kept.
    stalled : bool
        Whether the file gave no data in time, as on a folder whose network is away.
    series : SeriesFacts or None
        What the file says of the slice's series; None if nothing.
    unwanted : bool
        Whether the slice fits none of the rules: it gets no row, and is counted.
    """

    provenance: Provenance
    pixels: _UInt8 | None
    error: str | None = None
    findings: tuple[Finding, ...] = ()
    original: _UInt8 | None = None
    stalled: bool = False
    series: SeriesFacts | None = None
    unwanted: bool = False


def prepare_file(
    path: Path, preparation: Preparation, decode: Decode, preprocess: Preprocess
) -> Iterator[Prepared]:
    """Yield a file's slices as they are ready; what is wrong with it comes last, as an error.

    Parameters
    ----------
    path : Path
        The file.
    preparation : Preparation
        How.
    decode, preprocess : callable
        The two steps, the second as `Preparation.preprocessor` makes it.
    """
    done = 0
    waiting = 0
    try:
        for scan in decode(path, preparation.limits):
            if isinstance(scan, ScanFault):
                yield _refused(scan.provenance, scan.error)
            else:
                item = _judged(scan, preparation, preprocess, waiting)
                waiting += 0 if item.pixels is None else item.pixels.size
                yield item
            done += 1
    except ScanError as error:
        yield _refused(Provenance(str(path), done), error)
    except MemoryError:
        reason = "memory: there is too little memory to decode this file; use fewer --workers"
        yield failure(path, done, reason)
    except Exception:
        # A defect of a decoder, or of ours: one file must not end a run of thousands. The message
        # may quote the file, and a header names a patient: nothing of it is passed on.
        reason = "crashed: the decoder failed on this file, a defect of it; export the image again"
        yield failure(path, done, reason)


def _judged(scan: Scan, preparation: Preparation, preprocess: Preprocess, waiting: int) -> Prepared:
    series = scan.facts.series
    if not preparation.wants(scan):
        return Prepared(scan.provenance, None, series=series, unwanted=True)
    findings = examine(scan, preparation.quality)
    if any(finding.rejects for finding in findings):
        return Prepared(scan.provenance, None, findings=findings, series=series)
    ready = preprocess(scan.pixels, waiting)
    original = scan.pixels if preparation.keep_original else None
    return Prepared(scan.provenance, ready, findings=findings, original=original, series=series)


def _refused(provenance: Provenance, error: ScanError) -> Prepared:
    if isinstance(error, RejectedScanError):
        return Prepared(provenance, None, findings=(Finding(error.finding),))
    return Prepared(provenance, None, f"{error.kind}: {error}")


def failure(path: Path, frame: int, error: str, *, stalled: bool = False) -> Prepared:
    """Return the row of a file that ends in an error before this frame."""
    return Prepared(Provenance(str(path), frame), None, error, stalled=stalled)


def _raw(cpu: CpuPreprocessor) -> Preprocess:
    """Prepare slices for a runtime that preprocesses.

    As they are, but in the model's size where they are many or large: resizing that again changes
    nothing, so that the result is the same.
    """

    def prepare(pixels: _UInt8, waiting: int) -> _UInt8:
        check_slice(pixels)
        if waiting + pixels.size > RAW_PIXELS:
            return cpu.resize(pixels)
        # A view would keep the whole of what it was cut from.
        return pixels if pixels.base is None else pixels.copy()

    return prepare
