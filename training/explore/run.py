"""Exploring a data set: its balance and intensities, before and after CLAHE, as pictures."""

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from neuroscan_edge.model.labels import display_name, printable
from neuroscan_edge.parity.evaluation.images import Images, load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.report.html import page, paragraph, picture, table
from neuroscan_edge.scans.dataset import Split, SplitName, load_splits, open_dataset
from neuroscan_edge.spec import Preprocessing
from training.explore.figures import (
    Quantity,
    draw_balance,
    draw_clahe_pairs,
    draw_heatmaps,
    draw_histograms,
    draw_samples,
)
from training.explore.intensities import ClassIntensities, intensities
from training.report.figures import figure_png, with_palette
from training.report.folder import make_report_folder, write_report

SAMPLES = 18
"""Images of a class in its grid."""
CLAHE_PAIRS = 3
"""Images of a class shown before and after CLAHE."""
_DPI = 96
_FILE_PART_BYTES = 160


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the report.

    Parameters
    ----------
    name : str
        File name.
    png : bytes
        Its content.
    caption : str
        What it shows and how to read it.
    """

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was made of a data set.

    Parameters
    ----------
    pictures : int
        Pictures drawn.
    unreadable : int
        Files left out.
    """

    pictures: int
    unreadable: int


@dataclass(frozen=True, slots=True)
class _Part:
    """One split, read and measured."""

    name: SplitName
    labels: tuple[str, ...]
    images: Images
    classes: tuple[ClassIntensities, ...]

    @property
    def heading(self) -> str:
        return f"{self.name.capitalize()} split"


def explore(data: Path, output: Path, seed: int = 0) -> Exploration:
    """Draw a data set; PNG files and, with all of them in it, ``explore.html``.

    Parameters
    ----------
    data : Path
        Data set folder or zip.
    output : Path
        Folder of the report.
    seed : int
        Of the choice of sample images; 0 or more.

    Raises
    ------
    DatasetError
        If the data set is not laid out as needed, or no image of some class can be read.
    OutputError
        If the report cannot be written.
    """
    make_report_folder(output)
    spec = Preprocessing()
    with tempfile.TemporaryDirectory(prefix="neuroscan-") as work:
        root = open_dataset(data, Path(work))
        splits = load_splits(root)
        parts = [_read(name, split, spec) for name, split in splits.items()]
    counts = {name: split.counts for name, split in splits.items()}
    # One colour scale for both splits, so that they can be compared.
    measured = [stage for part in parts for each in part.classes for stage in each.stages.values()]
    peaks: dict[Quantity, float] = {
        "mean": max(float(each.mean.max()) for each in measured),
        "variance": max(float(each.variance.max()) for each in measured),
    }
    sections = [("Class balance", [_balance(counts)])]
    for part in parts:
        sections += [
            (f"{part.heading}: samples", _samples(part, spec, seed)),
            (f"{part.heading}: before and after CLAHE", [_clahe_pairs(part, spec, seed)]),
            (f"{part.heading}: intensities", _intensities(part, spec, peaks)),
        ]
    lost = [
        (printable(each.path.relative_to(root).as_posix()), each.reason)
        for part in parts
        for each in part.images.unreadable
    ]
    files = {each.name: each.png for _, pictures in sections for each in pictures}
    write_report(output, {**files, "explore.html": _page(sections, lost).encode()})
    return Exploration(len(files), len(lost))


def sample_positions(
    targets: npt.NDArray[np.int64], label: int, count: int, seed: int
) -> npt.NDArray[np.intp]:
    """Draw at most `count` positions of a class without repeats, in ascending order.

    The draw of one class does not depend on the others.
    """
    positions = np.flatnonzero(targets == label)
    rng = np.random.default_rng([seed, label])
    return np.sort(rng.choice(positions, min(count, len(positions)), replace=False))


def class_intensities(
    images: Images, labels: Sequence[str], spec: Preprocessing
) -> tuple[ClassIntensities, ...]:
    """Measure each class that has images, before and after CLAHE."""
    preprocessor = CpuPreprocessor(spec)
    measured = []
    for label in np.unique(images.targets):
        before = images.resized[images.targets == label]
        after = np.stack([preprocessor.equalise(pixels) for pixels in before])
        measured.append(ClassIntensities(labels[label], intensities(before), intensities(after)))
    return tuple(measured)


def _read(name: SplitName, split: Split, spec: Preprocessing) -> _Part:
    images = load_images(split, spec)
    classes = class_intensities(images, split.labels, spec)
    return _Part(name, split.labels, images, classes)


def _picture(name: str, figure: Figure, caption: str) -> Picture:
    return Picture(name, figure_png(figure, _DPI), caption)


def _picture_of_slices(name: str, figure: Figure, caption: str) -> Picture:
    # Grey slices lose nothing by a palette; a heatmap would show bands.
    return Picture(name, with_palette(figure_png(figure, _DPI)), caption)


def _balance(counts: Mapping[SplitName, Mapping[str, int]]) -> Picture:
    caption = "Share of each class in its split, and its number of files, unreadable ones included."
    return _picture("class-balance.png", draw_balance(counts), caption)


def _samples(part: _Part, spec: Preprocessing, seed: int) -> list[Picture]:
    pictures = []
    for label, folder in enumerate(part.labels):
        chosen = sample_positions(part.images.targets, label, SAMPLES, seed)
        if len(chosen):
            title = f"{display_name(folder)}: {len(chosen)} random images of the {part.name} split"
            names = [printable(part.images.files[position].path.name) for position in chosen]
            figure = draw_samples(part.images.resized[chosen], names, title)
            caption = f"{title}, resized to {_size(spec)}, before CLAHE. Seed {seed}."
            pictures.append(
                _picture_of_slices(f"samples-{part.name}-{_file_part(folder)}.png", figure, caption)
            )
    return pictures


def _file_part(folder: str) -> str:
    # A folder's name may fill all the bytes that a file's name can have.
    if len(os.fsencode(folder)) <= _FILE_PART_BYTES:
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()
    return f"{folder[: _FILE_PART_BYTES // 4]}-{digest[:12]}"


def _clahe_pairs(part: _Part, spec: Preprocessing, seed: int) -> Picture:
    equalise = CpuPreprocessor(spec).equalise
    pairs = {}
    for label, folder in enumerate(part.labels):
        chosen = sample_positions(part.images.targets, label, CLAHE_PAIRS, seed)
        slices = part.images.resized[chosen]
        if len(slices):
            pairs[folder] = [(pixels, equalise(pixels)) for pixels in slices]
    figure = draw_clahe_pairs(pairs, f"{part.heading}: before and after CLAHE")
    caption = (
        f"Slices at {_size(spec)} before and after {_clahe(spec)}. A network is given the latter."
    )
    return _picture_of_slices(f"clahe-{part.name}.png", figure, caption)


def _intensities(
    part: _Part, spec: Preprocessing, peaks: Mapping[Quantity, float]
) -> list[Picture]:
    pictures = [
        _picture(
            f"histograms-{part.name}.png",
            draw_histograms(part.classes, f"{part.heading}: grey levels by class"),
            f"Share of all pixels of a class at each grey level, before and after {_clahe(spec)}. "
            "The scale is logarithmic, for most pixels are dark background.",
        )
    ]
    words = {"mean": "mean grey level", "variance": "variance of the grey level"}
    for quantity, peak in peaks.items():
        title = f"{part.heading}: {words[quantity]}, by class"
        pictures.append(
            _picture(
                f"{quantity}-{part.name}.png",
                draw_heatmaps(part.classes, quantity, peak, title),
                f"For each of {_size(spec)} the {words[quantity]} over the images of a class. "
                "One colour scale for all classes and splits.",
            )
        )
    return pictures


def _size(spec: Preprocessing) -> str:
    return f"{spec.width} x {spec.height} pixels"


def _clahe(spec: Preprocessing) -> str:
    columns, rows = spec.tile_grid
    return f"CLAHE (clip limit {spec.clip_limit:g}, {columns} x {rows} tiles)"


def _page(sections: Sequence[tuple[str, list[Picture]]], lost: Sequence[tuple[str, str]]) -> str:
    made = [
        (heading, "".join(picture(each.png, each.caption) for each in pictures))
        for heading, pictures in sections
    ]
    if lost:
        note = "They cannot be read, and are in no picture but that of the class balance."
        listed = paragraph(note) + table(("file", "reason"), lost)
        made.append((f"Files left out: {len(lost)}", listed))
    return page("Exploring a data set", made)
