"""The pictures of `training.explore.run`: measured values in, Matplotlib figures out."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from neuroscan_edge.model.labels import display_name
from neuroscan_edge.spec import RESEARCH_USE
from training.explore.intensities import GREY_LEVELS, ClassIntensities

# Okabe and Ito's palette: told apart by colour-blind readers. Line styles help in print.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_STYLES = ("-", "--", "-.", ":")
_COLUMNS = 6
_HEATMAP_COLUMNS = 4
_MARGIN_IN = 0.1
_NAME_LENGTH = 24
_LEAST_SHARE = 1e-6
"""Of the pixels of a class: where the histogram's axis begins."""

_SCALES = {
    "mean": ("viridis", "Mean grey level (0 black, 255 white)"),
    "variance": ("magma", "Variance (grey levels squared)"),
}

Quantity = Literal["mean", "variance"]
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def draw_balance(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw the share of each class in its split, from files by split and class name."""
    classes = list(next(iter(counts.values())))
    figure = _figure("Class balance", 12, 1.6 + 0.75 * len(classes))
    axis = figure.subplots()
    height = 0.8 / len(counts)
    rows = np.arange(len(classes))
    for index, (split, by_class) in enumerate(counts.items()):
        files = np.array([by_class[name] for name in classes])
        shares = files / files.sum()
        bars = axis.barh(
            rows + (index - (len(counts) - 1) / 2) * height,
            shares,
            height * 0.92,
            color=_COLOURS[index],
            label=f"{split} ({files.sum()} files)",
        )
        axis.bar_label(bars, [f"{count} files" for count in files], padding=4, fontsize=10)
    axis.axvline(1 / len(classes), color="#555555", linestyle=":", label="equal shares")
    axis.set_yticks(rows, map(display_name, classes))
    axis.invert_yaxis()
    axis.set_xlabel("Share of the split")
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.margins(x=0.12)
    axis.spines[["top", "right"]].set_visible(False)
    _legend_above(axis, len(counts) + 1)
    return figure


def draw_samples(
    slices: Sequence[npt.NDArray[np.uint8]], names: Sequence[str], title: str
) -> Figure:
    """Draw slices in a grid, each under its file's name."""
    rows = -(-len(slices) // _COLUMNS)
    figure = _figure(title, 12, 0.9 + 2.2 * rows)
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axis, pixels, name in zip(axes, slices, names, strict=False):
        _show_slice(axis, pixels)
        axis.set_title(_shortened(name), fontsize=9)
    for axis in axes[len(slices) :]:
        axis.remove()
    return figure


def draw_clahe_pairs(pairs: Mapping[str, Sequence[Pair]], title: str) -> Figure:
    """Draw slices before and after CLAHE, a row for each class name."""
    columns = max(map(len, pairs.values()))
    figure = _figure(title, 12, 0.9 + 2.1 * len(pairs))
    axes = figure.subplots(len(pairs), 2 * columns, squeeze=False)
    for row, (label, shown) in zip(axes, pairs.items(), strict=True):
        for index, pair in enumerate(shown):
            stages = ("Before CLAHE", "After CLAHE")
            for axis, pixels, stage in zip(row[2 * index :], pair, stages, strict=False):
                _show_slice(axis, pixels)
                axis.set_title(stage, fontsize=10)
        row[0].set_ylabel(display_name(label), fontsize=12)
        for axis in row[2 * len(shown) :]:
            axis.remove()
    return figure


def draw_histograms(classes: Sequence[ClassIntensities], title: str) -> Figure:
    """Draw each class's grey levels before and after CLAHE, as shares of its pixels."""
    figure = _figure(title, 12, 5.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, stage in zip(axes, classes[0].stages, strict=True):
        for index, each in enumerate(classes):
            histogram = each.stages[stage].histogram
            axis.plot(
                np.arange(GREY_LEVELS),
                histogram / histogram.sum(),
                color=_COLOURS[index % len(_COLOURS)],
                linestyle=_STYLES[index % len(_STYLES)],
                linewidth=1.8,
                label=f"{display_name(each.label)} ({each.before.images} images)",
            )
        axis.set_title(stage[0].upper() + stage[1:])
        axis.set_xlabel("Grey level (0 black, 255 white)")
        axis.set(yscale="log", xlim=(0, GREY_LEVELS - 1), xticks=[0, 64, 128, 192, 255])
        axis.set_ylim(_LEAST_SHARE, 1)
        axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("Share of the class's pixels (log scale)")
    axes[1].legend(loc="upper right")
    return figure


def draw_heatmaps(
    classes: Sequence[ClassIntensities], quantity: Quantity, peak: float, title: str
) -> Figure:
    """Draw where each class is bright, or varies, before and after CLAHE.

    Parameters
    ----------
    classes : sequence of ClassIntensities
        A column each.
    quantity : {"mean", "variance"}
        What to draw.
    peak : float
        Upper end of the one colour scale; the lower is 0.
    title : str
        Above all.
    """
    blocks = [
        (classes[start : start + _HEATMAP_COLUMNS], stage)
        for start in range(0, len(classes), _HEATMAP_COLUMNS)
        for stage in classes[0].stages
    ]
    columns = min(len(classes), _HEATMAP_COLUMNS)
    figure = _figure(title, 2.6 + 2.6 * columns, 0.9 + 3.1 * len(blocks), row_gap=0.06)
    axes = figure.subplots(len(blocks), columns, squeeze=False)
    colours, unit = _SCALES[quantity]
    for row, (shown, stage) in zip(axes, blocks, strict=True):
        for axis, each in zip(row, shown, strict=False):
            values = getattr(each.stages[stage], quantity)
            image = axis.imshow(values, colours, interpolation="nearest", vmin=0, vmax=peak or 1)
            axis.set_title(f"{display_name(each.label)}\n{stage}", fontsize=11)
            height, width = values.shape
            axis.set(xticks=[0, width // 2, width - 1], yticks=[0, height // 2, height - 1])
            axis.set_xlabel("Column (pixels)")
        for axis in row[len(shown) :]:
            axis.remove()
        row[0].set_ylabel("Row (pixels)")
    figure.colorbar(image, ax=figure.axes, label=unit, shrink=0.8, aspect=30)
    return figure


def _figure(title: str, width: float, height: float, row_gap: float = 0.02) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN_IN, h_pad=_MARGIN_IN, hspace=row_gap)
    figure = Figure(figsize=(width, height), layout=layout)
    figure.suptitle(title, fontsize=15)
    figure.supxlabel(RESEARCH_USE, fontsize=10, color="#8a2f1d")
    return figure


def _legend_above(axis: Axes, columns: int) -> None:
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=columns, frameon=False)


def _show_slice(axis: Axes, pixels: npt.NDArray[np.uint8]) -> None:
    # A fixed scale: the same grey is the same level in every slice.
    axis.imshow(pixels, cmap="gray", vmin=0, vmax=GREY_LEVELS - 1, interpolation="antialiased")
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else "…" + name[1 - _NAME_LENGTH :]
