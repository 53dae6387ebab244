"""Learning curves as a picture."""

import csv
import io
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neuroscan_edge.system.files import write_whole


def draw_curves(history: Path, output: Path, title: str) -> None:
    """Draw loss and accuracy over epochs from ``history.csv`` to a PNG."""
    with history.open(newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    stages = [row["stage"] for row in rows]
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots(1, 2)
    panels = (("loss", "Cross-entropy", 1.0), ("accuracy", "Accuracy (%)", 100.0))
    for axis, (name, unit, factor) in zip(axes, panels, strict=True):
        for key, shown in ((name, "training (augmented)"), (f"validation_{name}", "validation")):
            values = [float(row[key]) * factor for row in rows]
            axis.plot(epochs, values, marker="o", label=shown)
        for index in range(1, len(rows)):
            if stages[index] != stages[index - 1]:
                # A label that begins with an underscore stays out of the legend.
                label = "_again" if "next stage" in axis.get_legend_handles_labels()[1] else None
                axis.axvline(
                    epochs[index] - 0.5, color="grey", linestyle=":", label=label or "next stage"
                )
        axis.set(xlabel="Epoch", ylabel=unit)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(f"{title}: learning curves (research use only, not for diagnosis)")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_whole(output, buffer.getvalue())
