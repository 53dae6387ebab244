"""Calibrate a bundle on training images of several sources, stratified by class and source."""

from collections.abc import Sequence
from dataclasses import replace

from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.calibration import (
    CalibrationOptions,
    calibrate,
    quantize_bundle,
    stratified_sample,
)
from neuroscan_edge.scans.dataset import LabelledFile, Split
from training.sources.listing import SourceFile


def calibrate_on_sources(
    bundle: Bundle, trained: Sequence[SourceFile], options: CalibrationOptions
) -> Bundle:
    """Calibrate on a sample of training files and add the table and the INT8 graph to a bundle.

    Parameters
    ----------
    bundle : Bundle
        Bundle with its FP32 graph.
    trained : sequence of SourceFile
        Files that the network was trained on, each with one of the bundle's labels.
    options : CalibrationOptions
        How to calibrate; at least one image of each class and source is taken.
    """
    table = calibrate(bundle, sample_of_sources(bundle.labels, trained, options), options)
    return quantize_bundle(bundle, table)


def sample_of_sources(
    labels: Sequence[str], trained: Sequence[SourceFile], options: CalibrationOptions
) -> Split:
    """Draw files with each pair of class and source in its share, at least one of each pair."""
    cells = sorted({(file.label, file.source) for file in trained})
    files = tuple(
        LabelledFile(file.path, cells.index((file.label, file.source)), file.sha256)
        for file in trained
    )
    names = tuple(f"{label} of {source}" for label, source in cells)
    chosen = stratified_sample(Split(names, files), options.images, options.seed)
    own = {cell: labels.index(cell[0]) for cell in cells}
    return Split(
        tuple(labels), tuple(replace(file, label=own[cells[file.label]]) for file in chosen)
    )
