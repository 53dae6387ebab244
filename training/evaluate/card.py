"""Model cards: what a baseline is, what it was trained on, what it can do and what it cannot.

The form follows Mitchell et al.: Model Cards for Model Reporting, FAT* 2019. Every figure comes
from the baseline's record or from a measured evaluation of these very weights.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from neuroscan_edge.errors import BundleError
from neuroscan_edge.model.baseline import Baseline
from neuroscan_edge.model.bundle import MODEL_CARD, Bundle, write_files
from neuroscan_edge.model.labels import display_name
from neuroscan_edge.report.document import Bullets, Section, Table, markdown, percent, points, share
from neuroscan_edge.spec import RESEARCH_USE
from training.evaluate.report import confusion_table
from training.evaluate.run import PARTS, EvaluationError

NOTABLE_CONFUSION = 0.1
"""Share of a class's images from which one wrong answer is named among the limits."""

FEW_IMAGES = 30
"""Below this many images a class's figures are named as weak."""


def model_card(baseline: Baseline, report: Mapping[str, Any]) -> str:
    """Write the card of a baseline as Markdown.

    Parameters
    ----------
    baseline : Baseline
        From `neuroscan_edge.model.baseline.read_baseline`.
    report : mapping
        From `training.evaluate.run.read_evaluation`; what else was made from this baseline and
        measured with it, such as its INT8 bundle, is shown beside it.

    Raises
    ------
    EvaluationError
        If the evaluation measured other weights.
    """
    name = _subject_of(baseline, report)
    made = [
        other
        for other, about in report["subjects"].items()
        if about["baseline_sha256"] == baseline.sha256 and other != name
    ]
    sections = [
        _use(),
        _model(baseline),
        _training(baseline, report),
        _preprocessing(baseline),
        _figures(report, [name, *made]),
        _classes(report, name),
        *([_agreement(report, name, made)] if made else []),
        Section("Limits", (Bullets(tuple(_limits(baseline, report, name))),)),
        _ethics(),
    ]
    head = f"# Model card: {baseline.name}\n\n{RESEARCH_USE}\n\nSHA-256 of the weights: "
    return f"{head}`{baseline.sha256}`\n\n{markdown(sections)}"


def add_card(bundle: Bundle, baseline: Baseline, card: str) -> Bundle:
    """Put a baseline's card into the bundle that was exported from it.

    Raises
    ------
    BundleError
        If the bundle was exported from another baseline.
    """
    exported = bundle.manifest.get("baseline_sha256")
    if exported != baseline.sha256:
        raise BundleError(
            f"{bundle.folder} was exported from a baseline with SHA-256 {exported}, "
            f"{baseline.path} has {baseline.sha256}; export this baseline again"
        )
    return write_files(bundle.folder, bundle.manifest, {MODEL_CARD: card.encode()})


def _subject_of(baseline: Baseline, report: Mapping[str, Any]) -> str:
    for name, about in report["subjects"].items():
        if about["sha256"] == baseline.sha256:
            return str(name)
    found = ", ".join(f"{name} ({about['sha256']})" for name, about in report["subjects"].items())
    raise EvaluationError(
        f"the evaluation measured {found}; the weights of {baseline.path} have SHA-256 "
        f"{baseline.sha256}: evaluate this baseline with 'python -m training evaluate "
        f"{baseline.path} --output DIR' and give DIR/evaluation.json"
    )


def _use() -> Section:
    return Section(
        "Intended use",
        (
            "Research and engineering: comparing networks, numeric precisions and runtimes. Not "
            "for diagnosis, triage or any decision about a person. It has learned from single "
            "slices of one data set and knows no other finding than its classes: it answers with "
            "one of them whatever it is shown.",
        ),
    )


def _model(baseline: Baseline) -> Section:
    recipe = baseline.recipe
    stages = recipe.get("stages", [])
    blocks: list[Any] = [
        f"Classes: {', '.join(map(display_name, baseline.labels))}.",
        f"Initial weights of the backbone: {_initial(baseline.initial_weights)}.",
        Bullets(
            tuple(
                f"{_words(topic)}: {_settings(settings)}"
                for topic, settings in recipe.items()
                if topic not in ("name", "stages", "preprocessing")
            )
        ),
    ]
    if stages:
        # A stage's own augmentation is too much for a cell.
        keys = tuple(key for key in stages[0] if key != "augmentation")
        rows = (
            (str(index), *(_written(stage.get(key)) for key in keys))
            for index, stage in enumerate(stages, start=1)
        )
        own = (
            f"Stage {index} draws its own augmentation: {_settings(stage['augmentation'])}"
            for index, stage in enumerate(stages, start=1)
            if stage.get("augmentation")
        )
        blocks += ["Stages:", Table(("stage", *map(_words, keys)), tuple(rows)), *own]
    return Section("Architecture and recipe", tuple(blocks))


def _initial(weights: Mapping[str, str]) -> str:
    if weights.get("source") == "none":
        return "random, not pretrained"
    if weights.get("source") == "download":
        return "ImageNet, as Keras downloads them"
    return f"{weights.get('file', 'unknown')} (SHA-256 {weights.get('sha256', 'unknown')})"


def _words(key: str) -> str:
    return key.replace("_", " ")


def _settings(settings: Any) -> str:
    if not isinstance(settings, Mapping):
        return _written(settings)
    return ", ".join(
        f"{_words(key)} {_written(value)}"
        for key, value in settings.items()
        if key != "classes" or value
    )


def _written(value: Any) -> str:
    if value is None:
        return "none"
    if value == []:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _training(baseline: Baseline, report: Mapping[str, Any]) -> Section:
    data = baseline.training_data
    held_out = data["held_out"]
    columns: dict[str, Mapping[str, int]] = {
        "training": {label: count - held_out[label] for label, count in data["counts"].items()},
        "held out for validation": held_out,
    }
    for part, title in PARTS.items():
        if part in report:
            classes = next(iter(report[part].values()))["per_class"]
            columns[f"test: {title.lower()}"] = {
                label: figures["images"] for label, figures in classes.items()
            }
            columns[f"{title.lower()}, near-duplicates as one"] = report["groups"][part]
    rows = [
        (display_name(label), *(str(counts.get(label, 0)) for counts in columns.values()))
        for label in baseline.labels
    ]
    rows.append(("all", *(str(sum(counts.values())) for counts in columns.values())))
    return Section(
        "Data",
        (
            "Fingerprints (SHA-256 over labels and file hashes):",
            Bullets(
                (
                    f"training split: {data['split_fingerprint']}",
                    f"what of it was used: {data['fingerprint']}{_left_out(data)}",
                    f"test split: {report['data']['testing']['fingerprint']}",
                )
            ),
            Table(("images", *columns), tuple(rows)),
            f"Leak audit: the leak-free part is those test images whose 64-bit perceptual hash is "
            f"more than {report['duplicate_distance']} bits from that of every training image. "
            "Figures on the rest reward memory as well as skill.",
        ),
    )


def _left_out(data: Mapping[str, Any]) -> str:
    said = []
    if data["audited"]:
        said.append("without images that an audit found under two labels")
    if data["unreadable"]:
        said.append(f"{data['unreadable']} files unreadable and skipped")
    return f" ({'; '.join(said)})" if said else ""


def _preprocessing(baseline: Baseline) -> Section:
    spec = baseline.preprocessing
    columns, rows = spec.tile_grid
    return Section(
        "Preprocessing",
        (
            f"8-bit grey, resized to {spec.width} x {spec.height} pixels ({spec.interpolation}), "
            f"then CLAHE with clip limit {spec.clip_limit:g} and {columns} x {rows} tiles; scaling "
            f"is part of the network. SHA-256 of the specification: {spec.sha256}.",
        ),
    )


def _figures(report: Mapping[str, Any], names: list[str]) -> Section:
    rows = []
    for name in names:
        for part in _parts(report):
            each = report[part][name]
            within = each["intervals"]
            error = "expected_calibration_error"
            rows.append(
                (
                    name,
                    PARTS[part],
                    str(each["images"]),
                    *(percent(each[k], within[k]) for k in ("accuracy", "precision", "recall")),
                    percent(each["f1"], within["f1"]),
                    share(each["auroc"], within["auroc"]),
                    percent(each[error], within[error]),
                )
            )
    header = (
        *("model", "part", "images", "accuracy %", "precision %", "recall %", "F1 %"),
        *("AUROC", "calibration error %"),
    )
    bootstrap = report["bootstrap"]
    text = (
        f"In parentheses: {100 * bootstrap['level']:g} % bootstrap percentile intervals, "
        f"{bootstrap['resamples']} resamples drawn within each class, near-duplicates together. "
        "Precision, recall, F1 and AUROC are macro averages over the classes for which they exist; "
        f"the expected calibration error has {report['calibration_bins']} equal-width bins."
    )
    return Section("Measured", (Table(header, tuple(rows)), text))


def _classes(report: Mapping[str, Any], name: str) -> Section:
    blocks: list[Any] = []
    for part in _parts(report):
        each = report[part][name]
        rows = []
        for label, figures in each["per_class"].items():
            within = each["intervals"]["per_class"][label]
            rows.append(
                (
                    display_name(label),
                    str(figures["images"]),
                    percent(figures["precision"]),
                    percent(figures["recall"], within["recall"]),
                    percent(figures["f1"], within["f1"]),
                    share(figures["auroc"], within["auroc"]),
                )
            )
        header = ("class", "images", "precision %", "recall %", "F1 %", "AUROC")
        blocks += [
            f"{PARTS[part]}:",
            Table(header, tuple(rows)),
            "Confusions (rows: truth, columns: prediction):",
            confusion_table(each),
        ]
    return Section("By class", tuple(blocks))


def _agreement(report: Mapping[str, Any], name: str, made: list[str]) -> Section:
    if report["reference"] != name:
        return Section(
            "Made from this baseline",
            (
                f"{', '.join(made)}: compared with {report['reference']} in this evaluation, not "
                "with the baseline; evaluate with the baseline first to see how they agree.",
            ),
        )
    rows = []
    for other in made:
        for part in _parts(report):
            each = report[part][other]
            rows.append(
                (
                    other,
                    PARTS[part],
                    percent(each["agreement"]),
                    points(**each["accuracy_difference"]),
                    points(**each["f1_difference"]),
                    f"{each['mcnemar']['p_value']:.3g}",
                )
            )
    header = ("model", "part", "same decision %", "accuracy, points", "F1, points", "McNemar p")
    return Section(
        "Made from this baseline",
        ("Differences are to the baseline, on the same images.", Table(header, tuple(rows))),
    )


def _limits(baseline: Baseline, report: Mapping[str, Any], name: str) -> Iterator[str]:
    data = baseline.training_data
    if report["data"]["training"]["fingerprint"] != data["split_fingerprint"]:
        yield (
            "The leak-free part was found against another training split than this baseline was "
            "trained on; its figures may still hold leaks."
        )
    published, leak_free = report["published"][name], report.get("leak_free", {}).get(name)
    if leak_free is None:
        yield "Every test image has a near-duplicate in training: nothing says how it generalises."
    else:
        yield (
            f"Accuracy is {percent(published['accuracy'])} % on the published split and "
            f"{percent(leak_free['accuracy'])} % on its leak-free part, which is the better guess "
            "for images from elsewhere, and still of the same data set."
        )
    for part in _parts(report):
        each = report[part][name]
        for label, figures in each["per_class"].items():
            if not figures["images"]:
                yield (
                    f"{PARTS[part]}: no image of “{display_name(label)}”, so nothing is known of "
                    "how it is recognised there."
                )
            elif figures["images"] < FEW_IMAGES:
                yield (
                    f"{PARTS[part]}: only {figures['images']} images of “{display_name(label)}”; "
                    "its figures say little."
                )
    for part in _parts(report):
        yield from _confusions(report[part][name], PARTS[part])
    for part in _parts(report):
        each = report[part][name]
        confidence = sum(
            found["images"] * found["confidence"]
            for found in each["reliability"]
            if found["images"]
        )
        yield (
            f"{PARTS[part]}: the mean confidence is {percent(confidence / each['images'])} % where "
            f"{percent(each['accuracy'])} % of the decisions are right; the expected calibration "
            f"error is {percent(each['expected_calibration_error'])} %."
        )


def _confusions(each: Mapping[str, Any], title: str) -> Iterator[str]:
    labels = list(each["per_class"])
    for truth, counts in zip(labels, each["confusion"], strict=True):
        images = sum(counts)
        for called, count in zip(labels, counts, strict=True):
            if called != truth and count > NOTABLE_CONFUSION * images:
                yield (
                    f"{title}: {percent(count / images)} % of {display_name(truth)} ({count} of "
                    f"{images}) is called {display_name(called)}."
                )


def _ethics() -> Section:
    return Section(
        "Ethical considerations",
        (
            "Neither this card nor the weights' record holds an image, an identifier or any other "
            "data of a patient. Age, sex and origin of the people in the data set are not recorded "
            "here, nor are scanners and sequences, so fairness between groups was not measured. A "
            "missed finding and a false alarm cost a person differently; no figure here weighs "
            "them.",
        ),
    )


def _parts(report: Mapping[str, Any]) -> list[str]:
    return [part for part in PARTS if part in report]
