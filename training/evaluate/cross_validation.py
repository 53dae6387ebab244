"""Cross-validation: a recipe judged on every part of the training split in turn.

Near-duplicates stay in one part, and the test split is never looked at: this is what recipes are
chosen by. A recipe with several sources is judged on sources that it was trained without.
"""

import json
from dataclasses import replace
from typing import Any

import numpy as np

from neuroscan_edge.errors import UsageError
from neuroscan_edge.scans.dataset import open_dataset
from neuroscan_edge.system.files import write_whole
from training.evaluate.by_source import SourceEvaluationOptions, evaluate_sources
from training.evaluate.subjects import open_subject
from training.fit.callbacks import Report
from training.fit.run import FitOptions, fit
from training.recipe.recipe import Recipe
from training.report.folder import make_report_folder
from training.sources.groups import read_held_out
from training.sources.listing import list_sources
from training.sources.pool import load_pool

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


def cross_validate_by_source(
    recipe: Recipe, options: FitOptions, report: Report = lambda progress: None
) -> dict[str, Any]:
    """Fit a recipe without each set of sources in turn, and measure it on that set.

    Finished runs are not fitted again. `options.output` receives a folder ``without-NAMES`` for
    each set and ``cross-validation-by-source.json``.

    Returns
    -------
    dict
        ``sets``: by the names of the sources left out, the evaluation by source of that network,
        whose part ``left_out/SOURCE`` is what recipes are compared by.

    Raises
    ------
    UsageError
        If the recipe has no pool, or the pool names no sets to leave out.
    """
    pool = recipe.pool
    if pool is None or not pool.leave_out:
        raise UsageError(
            f"the recipe {recipe.name} names no sources to leave out; add pool.leave_out, such as "
            '[["study"], ["kaggle44c"]]'
        )
    if options.held_out is None:
        raise UsageError("cross-validation by source needs the list of held-out images")
    make_report_folder(options.output)
    options = replace(options, data=open_dataset(options.data, options.output / "data"))
    listed = list_sources(options.data, options.extra, options.study_patients)
    loaded = load_pool(listed, pool, recipe.preprocessing)
    sets: dict[str, Any] = {}
    for sources in pool.leave_out:
        name = "-".join(sources)
        part = replace(recipe, pool=replace(pool, left_out=sources))
        run = replace(options, output=options.output / f"without-{name}")
        baseline = fit(part, run, report)
        measuring = SourceEvaluationOptions(
            left_out=sources,
            validation_share=pool.validation_share,
            start=str(baseline.initial_weights.get("source", "not stated")),
        )
        sets[name] = evaluate_sources(
            baseline.path,
            open_subject(baseline.path),
            loaded,
            read_held_out(options.held_out),
            measuring,
        )
    summary = {"recipe": recipe.to_json(), "sets": sets}
    text = json.dumps(summary, indent=1) + "\n"
    write_whole(options.output / "cross-validation-by-source.json", text.encode())
    return summary
