"""An evaluation in pictures: confusion matrices, reliability diagrams, recall by class."""

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuroscan_edge.model.labels import display_name
from neuroscan_edge.report.document import percent
from neuroscan_edge.spec import RESEARCH_USE
from training.evaluate.run import PARTS

# Okabe and Ito's palette: told apart with any colour vision. Its yellow is too pale on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
_GREY = "#6b7480"
_NAME_WIDTH = 34


def confusion_figure(report: dict[str, Any]) -> Figure:
    """Draw each model's confusion matrix on each part: counts, and colour by share of the truth."""
    return _grid(report, _draw_confusion, "Confusion matrices", (5.4, 4.9))


def reliability_figure(report: dict[str, Any]) -> Figure:
    """Draw each model's reliability diagram on each part, with the number of images beneath."""
    figure = _grid(report, _draw_reliability, "Reliability of the confidence", (5.0, 4.7))
    handles, shown = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, shown, loc="outside lower center", ncols=len(shown), frameon=False)
    return figure


def recall_figure(report: dict[str, Any]) -> Figure:
    """Draw recall by class with its interval, the models side by side, a panel for each part."""
    parts = [part for part in PARTS if part in report]
    names = list(report["subjects"])
    labels = report["labels"]
    height = 1.9 + len(labels) * (0.34 + 0.24 * len(names)) + 0.22 * len(names)
    figure = Figure(figsize=(5.6 * len(parts), height), layout="constrained")
    axes = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    # Within 0.35 of the class's line, however many models there are.
    step = min(0.2, 0.7 / len(names))
    offsets = step * (np.arange(len(names)) - (len(names) - 1) / 2)
    for axis, part in zip(axes, parts, strict=True):
        for name, offset, colour in zip(names, offsets, _colours(len(names)), strict=True):
            each = report[part][name]
            for row, label in enumerate(labels):
                value = each["per_class"][label]["recall"]
                if value is None:
                    continue
                low, high = each["intervals"]["per_class"][label]["recall"]
                axis.plot([100 * low, 100 * high], [row + offset] * 2, color=colour, lw=2.2)
                axis.plot(100 * value, row + offset, "o", color=colour, ms=7)
            # An empty line for the legend: the first class may have no images.
            axis.plot([], [], "o-", color=colour, label=name)
        for row, label in enumerate(labels):
            images = next(iter(report[part].values()))["per_class"][label]["images"]
            if not images:
                axis.text(50, row, "no images", color=_GREY, ha="center", va="center")
        total = next(iter(report[part].values()))["images"]
        axis.set(xlim=(-2, 102), xlabel="Recall (%)", title=f"{PARTS[part]}, {total} images")
        axis.set_yticks(range(len(labels)), [display_name(label) for label in labels])
        axis.set_ylim(len(labels) - 0.4, -0.6)
        axis.grid(axis="x", alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    handles, shown = axes[0].get_legend_handles_labels()
    figure.legend(handles, shown, loc="outside lower center", ncols=1 if len(names) > 2 else 2)
    figure.suptitle(
        f"Recall by class with {100 * report['bootstrap']['level']:g} % intervals\n{RESEARCH_USE}",
        fontsize=11,
    )
    return figure


def _colours(count: int) -> list[str]:
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _grid(
    report: dict[str, Any],
    draw: Callable[[Axes, dict[str, Any]], None],
    title: str,
    panel_inches: tuple[float, float],
) -> Figure:
    """Give every model a row and every part a column."""
    parts = [part for part in PARTS if part in report]
    names = list(report["subjects"])
    width, height = panel_inches
    figure = Figure(figsize=(width * len(parts), height * len(names) + 0.5), layout="constrained")
    axes = figure.subplots(len(names), len(parts), squeeze=False)
    for row, name in zip(axes, names, strict=True):
        for axis, part in zip(row, parts, strict=True):
            each = report[part][name]
            shown = textwrap.fill(name, _NAME_WIDTH)
            axis.set_title(f"{shown}\n{PARTS[part]}, {each['images']} images", fontsize=11)
            draw(axis, each)
    figure.suptitle(f"{title}\n{RESEARCH_USE}", fontsize=11)
    return figure


def _draw_confusion(axis: Axes, each: dict[str, Any]) -> None:
    counts = np.array(each["confusion"])
    of_truth = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(of_truth, 1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if not of_truth[row, 0]:
            continue
        axis.text(
            column,
            row,
            f"{count}\n{percent(shares[row, column])} %",
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.55 else "black",
            fontweight="bold" if row == column else "normal",
        )
    for row in np.flatnonzero(of_truth[:, 0] == 0):
        middle = (len(counts) - 1) / 2
        axis.text(middle, row, "no images of this class", ha="center", va="center", color=_GREY)
    names = [display_name(label).replace(" ", "\n") for label in each["per_class"]]
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.set(xlabel="Prediction", ylabel="Truth")
    # White lines between the cells.
    axis.set_xticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axis.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axis.grid(which="minor", color="white", lw=2)
    axis.tick_params(which="both", length=0)
    axis.spines[:].set_visible(False)


def _draw_reliability(axis: Axes, each: dict[str, Any]) -> None:
    key = "expected_calibration_error"
    error = percent(each[key], each["intervals"][key])
    axis.set_title(f"{axis.get_title()}, ECE {error} %", fontsize=11)
    bins = [found for found in each["reliability"] if found["images"]]
    width = 100 * (bins[0]["up_to"] - bins[0]["above"])
    starts = [100 * each["above"] for each in bins]
    confidences = [100 * each["confidence"] for each in bins]
    accuracies = [100 * each["accuracy"] for each in bins]
    style = {"align": "edge", "edgecolor": "white"}
    axis.bar(starts, accuracies, width, color=COLOURS[0], label="accuracy in the bin", **style)
    axis.plot([0, 100], [0, 100], "--", color=_GREY, label="perfect calibration")
    axis.plot(confidences, confidences, "o", color=COLOURS[1], ms=5, label="mean confidence")
    axis.vlines(confidences, accuracies, confidences, color=COLOURS[1], lw=1.5)
    for start, each_bin in zip(starts, bins, strict=True):
        middle = start + width / 2
        axis.text(middle, -4, str(each_bin["images"]), ha="center", va="center", fontsize=7)
    axis.text(1, -4, "images", va="center", fontsize=7, color=_GREY)
    axis.axhline(0, color="black", lw=0.8)
    axis.set(xlim=(0, 100), ylim=(-8, 101), xlabel="Confidence (%)", ylabel="Accuracy (%)")
    axis.spines[["top", "right"]].set_visible(False)
