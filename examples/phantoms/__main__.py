"""Draws all examples: ``python -m examples.phantoms [--output DIR]``."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from examples.phantoms.catalogue import EXAMPLES
from examples.phantoms.files import write
from examples.phantoms.slices import render

EXAMPLES_FOLDER = Path(__file__).parents[1]
COLUMNS = ("path", "label", "expected", "sequence", "view", "format")


def write_labels(path: Path) -> None:
    """Write what each example shows, and which decision suits it, as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in EXAMPLES:
            view = each.plane.view.name.lower()
            rows.writerow(
                (
                    each.path,
                    each.label,
                    each.expected,
                    each.sequence.value,
                    view,
                    each.encoding.value,
                )
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all examples, and list them."""
    parser = argparse.ArgumentParser(description="Draw the synthetic example scans.")
    parser.add_argument(
        "--output",
        type=Path,
        default=EXAMPLES_FOLDER,
        metavar="DIR",
        help="folder that gets scans/ and labels.csv (default: examples)",
    )
    output: Path = parser.parse_args(arguments).output
    for example in EXAMPLES:
        path = write(output / "scans", example, render(example))
        print(f"{path}: {path.stat().st_size} bytes")
    write_labels(output / "labels.csv")


if __name__ == "__main__":
    main()
