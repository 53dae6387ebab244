"""What tests of fitting share."""

import csv
import sys
from pathlib import Path


def fit_command(recipe: Path, data: Path, output: Path) -> list[str]:
    arguments = ["fit", recipe, "--data", data, "--output", output, "--backbone-weights", "none"]
    return [sys.executable, "-m", "training", *map(str, arguments)]


def history(output: Path) -> list[dict[str, float]]:
    with (output / "history.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
