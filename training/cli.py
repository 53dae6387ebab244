"""The lab's command line; each command parses, calls and prints."""

import os
from pathlib import Path
from typing import Annotated

import typer

from neuroscan_edge.cli.errors import exit_codes
from neuroscan_edge.spec import RESEARCH_USE, Precision
from training.fit.progress import progress

# Before TensorFlow loads: its start-up notices are no news to anybody.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# TensorFlow leaves oneDNN off on processors without AVX-512, where it trains 1.6 times as fast.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

Extra = Annotated[
    Path | None,
    typer.Option(envvar="NEUROSCAN_EXTRA_DATA", help="Folder of further sources, with index.csv."),
]
StudyPatients = Annotated[
    Path | None,
    typer.Option(
        envvar="NEUROSCAN_STUDY_PATIENTS", help="CSV: patient of each image of the data set."
    ),
]
HeldOutList = Annotated[Path, typer.Option(help="List of the images that no network trains on.")]
HELD_OUT = Path("training/held-out.csv")

app = typer.Typer(
    help=f"NeuroScan Edge lab: look at data, train and evaluate Keras baselines. {RESEARCH_USE}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command()
def audit(
    data: Annotated[Path, typer.Argument(help="Data set: class folders or a zip.")],
    output: Annotated[Path, typer.Option(help="Folder of the report.")],
    distance: Annotated[
        int, typer.Option(help="Perceptual-hash bits, of 64, within which images are duplicates.")
    ] = 4,
) -> None:
    """Find unreadable files, duplicates, label conflicts and leaked tests in a data set."""
    with exit_codes():
        from training.audit.page import summarise
        from training.audit.run import audit as run_audit

        found = run_audit(data, output, distance)
        typer.echo("\n".join([*summarise(found), f"{output / 'audit.html'}. {RESEARCH_USE}"]))


@app.command()
def explore(
    data: Annotated[Path, typer.Argument(help="Data set: class folders or a zip.")],
    output: Annotated[Path, typer.Option(help="Folder of the report.")],
    seed: Annotated[int, typer.Option(help="Of the choice of sample images.", min=0)] = 0,
) -> None:
    """Draw a data set: balance, samples, CLAHE, intensity histograms and heatmaps."""
    with exit_codes():
        from training.explore.run import explore as run_explore

        made = run_explore(data, output, seed)
        typer.echo(
            f"{output / 'explore.html'}: {made.pictures} pictures; "
            f"{made.unreadable} files cannot be read. {RESEARCH_USE}"
        )


@app.command()
def rehearse(
    output: Annotated[Path, typer.Option(help="Folder for phantoms and baseline.")],
    seed: Annotated[int, typer.Option(help="Of phantoms and weights.", min=0)] = 0,
) -> None:
    """Draw labelled phantoms and train a small network on them, to try the whole path."""
    with exit_codes():
        from training.rehearsal import RehearsalOptions
        from training.rehearsal import rehearse as run_rehearsal
        from training.report.folder import make_report_folder

        make_report_folder(output)
        baseline = run_rehearsal(output, RehearsalOptions(seed=seed))
        accuracy = baseline.metrics["phantoms"]["accuracy"]
        typer.echo(f"{baseline.path}: {accuracy:.1%} of the test phantoms. {RESEARCH_USE}")


@app.command()
def fit(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set: class folders or a zip.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Run folder; an unfinished run in it is resumed.")
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(help="A weights file, a .keras baseline, 'imagenet' (download) or 'none'."),
    ] = None,
    save_every_s: Annotated[
        float, typer.Option(help="Seconds between saved states: what a kill can cost.")
    ] = 300.0,
    audit: Annotated[
        Path | None,
        typer.Option(help="audit.json of the data; images under two labels are left out."),
    ] = None,
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Train a recipe, or resume it, and write the Keras baseline."""
    with exit_codes(), progress() as show_progress:
        from training.audit.record import read_audit
        from training.fit.model import BackboneWeights
        from training.fit.run import FitOptions
        from training.fit.run import fit as run_fit
        from training.recipe.loading import load_recipe

        loaded = load_recipe(recipe)
        options = FitOptions(
            data=data,
            output=output or Path("training/runs") / loaded.name,
            weights=BackboneWeights.parse(backbone_weights),
            save_every_s=save_every_s,
            audit=read_audit(audit) if audit else None,
            extra=extra,
            study_patients=study_patients,
            held_out=held_out,
        )
        baseline = run_fit(loaded, options, show_progress)
        left_out = baseline.training_data["unreadable"]
        skipped = f", {left_out} unreadable files skipped (metrics.json)" if left_out else ""
        typer.echo(
            f"{baseline.path}: validation accuracy "
            f"{baseline.metrics['validation']['accuracy']:.4f}{skipped}. {RESEARCH_USE}"
        )


@app.command("hold-out")
def hold_out(
    recipe: Annotated[Path, typer.Argument(help="Recipe with a pool of sources.")],
    data: Annotated[Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set of the study.")],
    output: Annotated[Path, typer.Option(help="List to write.")] = Path("training/held-out.csv"),
    extra: Extra = None,
    study_patients: StudyPatients = None,
) -> None:
    """Fix the held-out part of every source; do it once, before the first training run."""
    with exit_codes():
        from neuroscan_edge.errors import UsageError
        from training.recipe.loading import load_recipe
        from training.sources.hold_out import hold_out as run_hold_out

        loaded = load_recipe(recipe)
        if loaded.pool is None:
            raise UsageError(f"{recipe} has no [pool]; give a recipe with several sources")
        counts = run_hold_out(loaded.pool, output, data, extra, study_patients)
        listed = ", ".join(f"{source} {count}" for source, count in counts.items())
        typer.echo(f"{output}: {listed} images held out. {RESEARCH_USE}")


@app.command("cross-validate")
def cross_validate(
    recipe: Annotated[Path, typer.Argument(help="Recipe, a TOML file.")],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set: class folders or a zip.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the runs; finished parts are kept.")
    ] = None,
    backbone_weights: Annotated[
        str | None,
        typer.Option(help="A weights file, a .keras baseline, 'imagenet' (download) or 'none'."),
    ] = None,
    save_every_s: Annotated[
        float, typer.Option(help="Seconds between saved states: what a kill can cost.")
    ] = 300.0,
    audit: Annotated[
        Path | None,
        typer.Option(help="audit.json of the data; images under two labels are left out."),
    ] = None,
    by: Annotated[
        str, typer.Option(help="'fold': parts of one data set; 'source': sources left out.")
    ] = "fold",
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Fit a recipe once for each part of the training split held out, and sum up."""
    with exit_codes(), progress() as show_progress:
        from neuroscan_edge.errors import UsageError
        from training.audit.record import read_audit
        from training.evaluate.by_source import source_table
        from training.evaluate.cross_validation import cross_validate as run_cross_validate
        from training.evaluate.cross_validation import cross_validate_by_source
        from training.fit.model import BackboneWeights
        from training.fit.run import FitOptions
        from training.recipe.loading import load_recipe

        loaded = load_recipe(recipe)
        options = FitOptions(
            data=data,
            output=output or Path("training/runs") / f"{loaded.name}-folds",
            weights=BackboneWeights.parse(backbone_weights),
            save_every_s=save_every_s,
            audit=read_audit(audit) if audit else None,
            extra=extra,
            study_patients=study_patients,
            held_out=held_out,
        )
        if by not in ("fold", "source"):
            raise UsageError(f"--by is {by!r}; give 'fold' or 'source'")
        if by == "source":
            for name, found in cross_validate_by_source(loaded, options, show_progress)[
                "sets"
            ].items():
                typer.echo("\n".join([f"Without {name}:", *source_table(found), ""]))
            typer.echo(RESEARCH_USE)
            return
        summary = run_cross_validate(loaded, options, show_progress)
        mean, deviation = summary["mean"], summary["standard_deviation"]
        for name in mean:
            typer.echo(f"{name}: {mean[name]:.4f} +- {deviation[name]:.4f}")
        typer.echo(f"{len(summary['folds'])} parts, each held out once. {RESEARCH_USE}")


@app.command()
def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(help="Baselines (.keras) or bundles; the first is the reference."),
    ],
    data: Annotated[
        Path,
        typer.Option(envvar="NEUROSCAN_DATA", help="Data set with both splits: a folder or a zip."),
    ],
    precision: Annotated[
        Precision | None, typer.Option(help="Of the bundles; default: the fastest.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for evaluation.json, .md, .html and pictures."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Write every model's decision on every image here, as CSV.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="audit.json of the data, with its list of leak-free tests.")
    ] = None,
) -> None:
    """Measure models on the published test split and on its leak-free part, side by side.

    evaluation.html shows images of the data set: keep it in the lab.
    """
    with exit_codes():
        from training.audit.record import read_audit
        from training.evaluate.report import summary, write_evaluation, write_predictions
        from training.evaluate.run import EvaluationOptions
        from training.evaluate.run import evaluate as run_evaluate
        from training.evaluate.subjects import open_subjects
        from training.report.folder import make_report_folder

        for folder in filter(None, (output, images and images.parent)):
            make_report_folder(folder)
        measuring = EvaluationOptions(audit=read_audit(audit) if audit else None)
        evaluation = run_evaluate(open_subjects(models, precision), data, measuring)
        if output:
            write_evaluation(evaluation, output)
        if images:
            write_predictions(evaluation, images)
        typer.echo(f"{summary(evaluation.report)}\n{RESEARCH_USE}")


@app.command("audit-sources")
def audit_sources(
    recipe: Annotated[Path, typer.Argument(help="Recipe with a pool of sources.")],
    data: Annotated[Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set of the study.")],
    output: Annotated[Path, typer.Option(help="Folder of the report.")],
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Find what gives a class away, and patients and pictures that sources share."""
    with exit_codes():
        from neuroscan_edge.errors import UsageError
        from training.audit.by_source import audit_lines, write_source_audit
        from training.audit.by_source import audit_sources as run_audit_sources
        from training.recipe.loading import load_recipe
        from training.sources.groups import read_held_out
        from training.sources.listing import list_sources
        from training.sources.pool import load_pool

        loaded_recipe = load_recipe(recipe)
        if loaded_recipe.pool is None:
            raise UsageError(f"{recipe} has no [pool]; give a recipe with several sources")
        listed = list_sources(data, extra, study_patients)
        loaded = load_pool(listed, loaded_recipe.pool, loaded_recipe.preprocessing)
        report = run_audit_sources(loaded, loaded_recipe.pool, read_held_out(held_out))
        write_source_audit(report, output)
        typer.echo("\n".join([*audit_lines(report), "", f"{output}. {RESEARCH_USE}"]))


@app.command("evaluate-sources")
def evaluate_sources(
    model: Annotated[Path, typer.Argument(help="Baseline (.keras) or bundle.")],
    recipe: Annotated[Path, typer.Argument(help="Recipe that the model was trained by.")],
    data: Annotated[Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set of the study.")],
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    start: Annotated[str, typer.Option(help="Where training began, such as 'ImageNet'.")],
    precision: Annotated[
        Precision | None, typer.Option(help="Precision of a bundle; default: the fastest.")
    ] = None,
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Measure a model on the published split, its leak-free parts, and source by source."""
    with exit_codes():
        from neuroscan_edge.errors import UsageError
        from training.evaluate.by_source import (
            SourceEvaluationOptions,
            evaluate_sources,
            source_table,
            write_source_evaluation,
        )
        from training.evaluate.subjects import open_subject
        from training.recipe.loading import load_recipe
        from training.sources.groups import read_held_out
        from training.sources.listing import list_sources
        from training.sources.pool import load_pool

        pool = load_recipe(recipe).pool
        if pool is None:
            raise UsageError(f"{recipe} has no [pool]; give a recipe with several sources")
        subject = open_subject(model, precision)
        listed = list_sources(data, extra, study_patients)
        loaded = load_pool(listed, pool, subject.preprocessing)
        options = SourceEvaluationOptions(pool.left_out, pool.validation_share, start)
        report = evaluate_sources(model, subject, loaded, read_held_out(held_out), options)
        write_source_evaluation(report, output)
        typer.echo("\n".join([*source_table(report), f"{output}. {RESEARCH_USE}"]))


@app.command()
def specialist(
    first: Annotated[Path, typer.Argument(help="Baseline (.keras) of all classes.")],
    second: Annotated[Path, typer.Argument(help="Baseline (.keras) of two of them.")],
    data: Annotated[
        Path,
        typer.Option(envvar="NEUROSCAN_DATA", help="Data set with both splits: a folder or a zip."),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Folder for evaluation.json, .md, .html and pictures.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="audit.json that both baselines were fitted with.")
    ] = None,
) -> None:
    """Measure a baseline with and without a second opinion where it is torn between two classes."""
    with exit_codes():
        from training.audit.record import read_audit
        from training.evaluate.report import summary, write_evaluation
        from training.evaluate.specialist import evaluate_second_opinion
        from training.report.folder import make_report_folder

        if output:
            make_report_folder(output)
        read = read_audit(audit) if audit else None
        _, evaluation = evaluate_second_opinion(first, second, data, read)
        if output:
            write_evaluation(evaluation, output)
        typer.echo(f"{summary(evaluation.report)}\n{RESEARCH_USE}")


@app.command()
def judge(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder with its FP32 graph.")],
    recipe: Annotated[Path, typer.Argument(help="Recipe that its baseline was trained by.")],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set that it was trained on.")
    ],
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Tensor judged beside the penultimate features; repeatable."),
    ] = None,
    directions: Annotated[int, typer.Option(help="Directions kept of each layer.")] = 192,
    outlier_coverage: Annotated[
        float, typer.Option(help="Share of held-out slices that are not out of distribution.")
    ] = 0.95,
    class_coverage: Annotated[
        float, typer.Option(help="Share of held-out slices whose class is among the plausible.")
    ] = 0.98,
    confidence_coverage: Annotated[
        float, typer.Option(help="Share of held-out slices whose confidence is not low.")
    ] = 0.98,
    sharpen: Annotated[
        bool, typer.Option("--sharpen", help="Apply a temperature below 1 too.")
    ] = False,
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Fit temperature, thresholds and outlier scores, and put them into a bundle's graphs."""
    with exit_codes():
        from neuroscan_edge.model.bundle import open_bundle
        from training.judge.run import FurtherSources, JudgingOptions, judge_bundle
        from training.recipe.loading import load_recipe

        options = JudgingOptions(
            layers=tuple(layer or ()),
            directions=directions,
            outlier_coverage=outlier_coverage,
            class_coverage=class_coverage,
            confidence_coverage=confidence_coverage,
            sharpen=sharpen,
        )
        further = FurtherSources(extra, study_patients, held_out)
        judged = judge_bundle(open_bundle(bundle), data, load_recipe(recipe), options, further)
        rules = judged.judging
        typer.echo(
            f"{judged.folder}: temperature {rules.temperature:.3f}, low confidence below "
            f"{rules.least_confidence:.3f}, plausible from {rules.plausible:.3f}. {RESEARCH_USE}"
        )


@app.command()
def calibrate(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder with its FP32 graph.")],
    recipe: Annotated[Path, typer.Argument(help="Recipe with a pool of sources.")],
    data: Annotated[
        Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set that it was trained on.")
    ],
    images: Annotated[
        int, typer.Option(help="Sample size, stratified by class and source.", min=1)
    ] = 128,
    percentile: Annotated[float, typer.Option(help="Share of values in a range, percent.")] = 99.99,
    seed: Annotated[int, typer.Option(help="Seed of the sample.", min=0)] = 0,
    extra: Extra = None,
    study_patients: StudyPatients = None,
    held_out: HeldOutList = HELD_OUT,
) -> None:
    """Calibrate a bundle on training images of all its sources."""
    with exit_codes():
        from neuroscan_edge.errors import UsageError
        from neuroscan_edge.model.bundle import open_bundle
        from neuroscan_edge.model.calibration import CalibrationOptions
        from training.recipe.loading import load_recipe
        from training.sources.calibration import calibrate_on_sources
        from training.sources.groups import divide, read_held_out
        from training.sources.listing import list_sources
        from training.sources.pool import load_pool

        opened = open_bundle(bundle)
        pool = load_recipe(recipe).pool
        if pool is None:
            raise UsageError(f'{recipe} has no [pool]; use "neuroscan-edge calibrate"')
        listed = list_sources(data, extra, study_patients)
        loaded = load_pool(listed, pool, opened.preprocessing)
        held = read_held_out(held_out)
        parts = divide(loaded.files, loaded.groups, held, pool.left_out, pool.validation_share)
        trained = [loaded.files[place] for place in parts.training]
        known = [file for file in trained if file.label in opened.labels]
        options = CalibrationOptions(percentile=percentile, images=images, seed=seed)
        calibrated = calibrate_on_sources(opened, known, options)
        typer.echo(f"{calibrated.folder}: INT8 graph written. {RESEARCH_USE}")


@app.command("judging-report")
def judging_report(
    bundle: Annotated[Path, typer.Argument(help="Bundle with judging.")],
    recipe: Annotated[Path, typer.Argument(help="Recipe that its baseline was trained by.")],
    data: Annotated[Path, typer.Option(envvar="NEUROSCAN_DATA", help="Data set with both splits.")],
    output: Annotated[Path, typer.Option(help="Folder for judging.json and pictures.")],
    precision: Annotated[
        Precision | None, typer.Option(help="Default: the fastest the bundle holds.")
    ] = None,
    phantoms: Annotated[
        Path | None, typer.Option(help="Folder of drawn scans, judged as one more set.")
    ] = None,
) -> None:
    """Measure what judging catches, and what it costs in slices that are referred."""
    with exit_codes():
        from neuroscan_edge.model.bundle import open_bundle
        from neuroscan_edge.runtimes import RuntimeOptions
        from training.judge.report import judging_report as measure
        from training.judge.report import report_files, summary
        from training.recipe.loading import load_recipe
        from training.report.folder import make_report_folder, write_report

        make_report_folder(output)
        report = measure(
            open_bundle(bundle), data, load_recipe(recipe), RuntimeOptions(precision), phantoms
        )
        write_report(output, report_files(report))
        typer.echo(f"{summary(report)}\n{RESEARCH_USE}")


@app.command()
def card(
    baseline: Annotated[Path, typer.Argument(help="Baseline (.keras) with its card beside it.")],
    evaluation: Annotated[
        Path, typer.Option(help="evaluation.json of this very baseline, from evaluate --output.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="Write the Markdown here; default: print it.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Put it into this bundle, exported from the baseline.")
    ] = None,
) -> None:
    """Write a baseline's model card from its own record and a measured evaluation."""
    with exit_codes():
        from neuroscan_edge.model.baseline import read_baseline
        from neuroscan_edge.model.bundle import open_bundle
        from training.evaluate.card import add_card, model_card
        from training.evaluate.run import read_evaluation
        from training.report.folder import write_report

        described = read_baseline(baseline)
        text = model_card(described, read_evaluation(evaluation))
        if bundle:
            add_card(open_bundle(bundle), described, text)
        if output:
            write_report(output.parent, {output.name: text.encode()})
        places = " and ".join(str(place) for place in (output, bundle) if place)
        typer.echo(f"{places}: model card written. {RESEARCH_USE}" if places else text)


@app.command("choose-quality")
def choose_quality(
    data: Annotated[Path, typer.Argument(help="Data set: its folder.")],
    coverage: Annotated[
        float, typer.Option(help="Share of the training slices that each measure passes.")
    ] = 0.999,
    margin: Annotated[
        float, typer.Option(help="How many times worse than training what is rejected must be.")
    ] = 2.0,
) -> None:
    """Choose from where on pixels are found fault with, and print it as JSON for a bundle."""
    with exit_codes():
        import json

        from training.judge.quality import QualityOptions
        from training.judge.quality import choose_quality as choose

        chosen = choose(data, QualityOptions(coverage, margin))
        typer.echo(json.dumps(chosen.to_json(), indent=2))
