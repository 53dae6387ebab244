"""Cross-validation: a recipe judged on every part of the training split in turn.

Near-duplicates stay in one part, and the test split is never looked at: this is what recipes are
chosen by.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from neuroscan_edge.scans.dataset import open_dataset
from neuroscan_edge.system.files import write_whole
from training.callbacks import Report
from training.fit import FitOptions, fit
from training.recipe import Recipe
from training.reports import make_report_folder

_FIGURES = ("accuracy", "precision", "recall", "f1")


def cross_validate(
    recipe: Recipe, options: FitOptions, report: Report = lambda progress: None
) -> dict[str, Any]:
    """Fit a recipe once for each part held out; finished parts are not fitted again.

    `options.output` receives a folder ``fold-K`` for each part and ``cross-validation.json``.

    Returns
    -------
    dict
        ``folds``: the validation figures of each; ``mean`` and ``standard_deviation`` (of the
        sample) of accuracy and macro precision, recall and F1.
    """
    make_report_folder(options.output)
    # Once, not once a part.
    options = replace(options, data=open_dataset(options.data, options.output / "data"))
    folds = []
    for fold in range(recipe.data.folds):
        part = replace(recipe, data=replace(recipe.data, fold=fold))
        held_out = replace(options, output=options.output / f"fold-{fold}")
        folds.append(fit(part, held_out, report).metrics["validation"])
    figures = np.array([[each[name] for name in _FIGURES] for each in folds])
    summary = {
        "recipe": recipe.to_json(),
        "mean": dict(zip(_FIGURES, figures.mean(axis=0).tolist(), strict=True)),
        "standard_deviation": dict(
            zip(_FIGURES, figures.std(axis=0, ddof=1).tolist(), strict=True)
        ),
        "folds": folds,
    }
    text = json.dumps(summary, indent=2) + "\n"
    write_whole(options.output / "cross-validation.json", text.encode())
    return summary
