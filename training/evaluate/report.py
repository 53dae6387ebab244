"""An evaluation written down: JSON, Markdown, pictures, and a page for the lab.

The page shows images of the data set; it stays in the lab. Everything else holds figures only, but
for the paths of test images that cannot be read, in the JSON.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from neuroscan_edge.model.labels import display_name, printable
from neuroscan_edge.report import html as page
from neuroscan_edge.report.document import (
    Block,
    Picture,
    Section,
    Table,
    html,
    markdown,
    percent,
    points,
    share,
)
from training.evaluate.figures import confusion_figure, recall_figure, reliability_figure
from training.evaluate.run import PARTS, Evaluation, predictions_csv
from training.evaluate.specialist import verdict
from training.report.figures import figure_png
from training.report.folder import make_report_folder, write_report

MAX_THUMBNAILS = 24


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write ``evaluation.json``, ``.md``, ``.html`` and the pictures that they show.

    Raises
    ------
    OutputError
        If one cannot be written; the JSON is written last.
    """
    pictures = _pictures(evaluation.report)
    sections = [*_summary(evaluation.report), *_details(evaluation.report, pictures)]
    files = {
        **{picture.file: picture.png for picture in pictures},
        "evaluation.md": (f"# {_title(evaluation.report)}\n\n" + markdown(sections)).encode(),
        "evaluation.html": _page(evaluation, sections).encode(),
        "evaluation.json": (json.dumps(evaluation.report, indent=2) + "\n").encode(),
    }
    write_report(folder, files)


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write every decision as CSV; its folder is made.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    # A file name need not be text: its bytes go back as they came.
    text = predictions_csv(evaluation).encode("utf-8", "surrogateescape")
    make_report_folder(path.parent)
    write_report(path.parent, {path.name: text})


def summary(report: dict[str, Any]) -> str:
    """Write the figures that matter as Markdown: summary, classes, comparison."""
    return markdown(_summary(report))


def _title(report: dict[str, Any]) -> str:
    return f"Evaluation of {', '.join(report['subjects'])}"


def _parts(report: dict[str, Any]) -> list[str]:
    return [part for part in PARTS if part in report]


def _summary(report: dict[str, Any]) -> list[Section]:
    sections = [_measured(report), _headline(report), _classes(report)]
    if "second_opinion" in report:
        sections.insert(1, Section("Second opinion", (verdict(report),)))
    if len(report["subjects"]) > 1:
        sections += [_compared(report), _best(report)]
    return sections


def _measured(report: dict[str, Any]) -> Section:
    bootstrap = report["bootstrap"]
    rows = []
    for part in _parts(report):
        classes = report[part][report["reference"]]["per_class"]
        images = [figures["images"] for figures in classes.values()]
        groups = list(report["groups"][part].values())
        rows.append((PARTS[part], *map(str, (sum(images), *images))))
        title = f"{PARTS[part]}, near-duplicates as one"
        rows.append((title, *map(str, (sum(groups), *groups))))
    leak_free = report.get("leak_free", {}).get(report["reference"], {"images": 0})["images"]
    lines: list[Block] = [
        f"Leak-free part: {leak_free} images of the published split whose perceptual hash is more "
        f"than {report['duplicate_distance']} of 64 bits from that of every training image.",
        Table(("part", "images", *map(display_name, report["labels"])), tuple(rows)),
        f"In parentheses: {100 * bootstrap['level']:g} % bootstrap percentile intervals over "
        f"{bootstrap['resamples']} resamples (seed {bootstrap['seed']}), images drawn with "
        "replacement within each class, near-duplicates together. They say how the figures would "
        "move with other such images, not with other scanners. Precision, recall and F1 are macro "
        "averages over the classes that occur, the weighted F1 goes by their images. AUROC is one "
        "class against the rest, averaged over the classes for which it exists. ECE is the "
        f"expected calibration error with {report['calibration_bins']} equal-width bins (Guo et "
        "al. 2017); it is biased upwards on few images, its resamples even more. NLL is the mean "
        "negative log-likelihood in nats.",
    ]
    if report["unreadable"]:
        lines.append(f"{report['unreadable']} test images could not be read and were left out.")
    return Section("What was measured", tuple(lines))


def _headline(report: dict[str, Any]) -> Section:
    decisions, probabilities = [], []
    for name in report["subjects"]:
        shown = _marked(report, name)
        for part in _parts(report):
            each = report[part][name]
            within = each["intervals"]
            macro = (percent(each[k], within[k]) for k in ("accuracy", "precision", "recall", "f1"))
            decisions.append((shown, PARTS[part], *macro, percent(each["weighted"]["f1"])))
            error = "expected_calibration_error"
            probabilities.append(
                (
                    shown,
                    PARTS[part],
                    share(each["auroc"], within["auroc"]),
                    percent(each[error], within[error]),
                    share(each["negative_log_likelihood"]),
                )
            )
    first = ("accuracy %", "precision %", "recall %", "F1 %", "weighted F1 %")
    second = ("AUROC", "ECE %", "NLL")
    return Section(
        "Summary",
        (
            Table(("model", "part", *first), tuple(decisions)),
            Table(("model", "part", *second), tuple(probabilities)),
        ),
    )


def _classes(report: dict[str, Any]) -> Section:
    def table(key: str, write: Any) -> Table:
        rows = []
        for name in report["subjects"]:
            for part in _parts(report):
                each = report[part][name]
                within = each["intervals"]["per_class"]
                cells = (
                    write(figures[key], within[label][key])
                    for label, figures in each["per_class"].items()
                )
                rows.append((name, PARTS[part], *cells))
        return Table(("model", "part", *map(display_name, report["labels"])), tuple(rows))

    return Section(
        "By class",
        (
            "Recall in %:",
            table("recall", percent),
            "AUROC against the rest:",
            table("auroc", share),
        ),
    )


def _compared(report: dict[str, Any]) -> Section:
    header = (
        *("model", "part", "agreement %", "accuracy, points", "macro F1, points"),
        *("only it right", "only the reference right", "McNemar p"),
    )
    rows = []
    for name in report["subjects"]:
        for part in _parts(report):
            each = report[part][name]
            if name == report["reference"]:
                continue
            test = each["mcnemar"]
            rows.append(
                (
                    name,
                    PARTS[part],
                    percent(each["agreement"]),
                    points(**each["accuracy_difference"]),
                    points(**each["f1_difference"]),
                    str(test["only_this_right"]),
                    str(test["only_reference_right"]),
                    f"{test['p_value']:.3g}",
                )
            )
    text = (
        f"Differences are the model minus {report['reference']}, with paired bootstrap intervals. "
        "McNemar's test is exact and two-sided; it takes near-duplicates for separate images, so "
        "its p is rather too small."
    )
    return Section(f"Compared with {report['reference']}", (text, Table(header, tuple(rows))))


def _best(report: dict[str, Any]) -> Section:
    header = (
        *("part", "class", "images"),
        *("best recall", "recall %", "lead, points", "best F1", "F1 %", "lead, points"),
    )
    rows = []
    for part, classes in report["best_by_class"].items():
        for label, figures in classes.items():
            images = report[part][report["reference"]]["per_class"][label]["images"]
            cells = []
            for key in ("recall", "f1"):
                best = figures[key]
                tied = best["lead"] == 0
                cells += [
                    "tie" if tied else best["best"],
                    percent(best["value"]),
                    points(best["lead"], best["interval"]),
                ]
            rows.append((PARTS[part], display_name(label), str(images), *cells))
    text = (
        "The lead is over the next best model; an interval that holds 0 is no proof of it. With "
        "many classes some lead is to be expected by chance."
    )
    return Section("Best by class", (text, Table(header, tuple(rows))))


def _pictures(report: dict[str, Any]) -> list[Picture]:
    return [
        Picture(file, caption, figure_png(draw(report)))
        for file, caption, draw in (
            (
                "confusion.png",
                "Confusion matrices: counts, and in % of the images of the true class",
                confusion_figure,
            ),
            (
                "reliability.png",
                "Reliability: accuracy by confidence, with the number of images in each bin",
                reliability_figure,
            ),
            ("recall.png", "Recall by class with its interval", recall_figure),
        )
    ]


def _details(report: dict[str, Any], pictures: list[Picture]) -> list[Section]:
    sections = [Section("Pictures", tuple(pictures))]
    for name, about in report["subjects"].items():
        blocks: list[Block] = [f"SHA-256 of the model file: {about['sha256']}"]
        for part in _parts(report):
            each = report[part][name]
            blocks += [
                f"{PARTS[part]}: scikit-learn's classification report, in %",
                _report_table(each["classification_report"]),
                f"{PARTS[part]}: confusion matrix (rows: truth, columns: prediction)",
                confusion_table(each),
            ]
        sections.append(Section(_marked(report, name), tuple(blocks)))
    return sections


def _marked(report: dict[str, Any], name: str) -> str:
    # Its figures are no measure of the recipe, which begins with pretrained weights.
    initial = report["subjects"][name]["initial_weights"] or {}
    return f"{name} (trained from random weights)" if initial.get("source") == "none" else name


def _report_table(figures: dict[str, Any]) -> Table:
    rows = []
    for name, each in figures.items():
        if isinstance(each, float):
            # scikit-learn states the accuracy alone where every class occurs.
            rows.append((name, "", "", percent(each), ""))
            continue
        shares = (percent(each[key]) for key in ("precision", "recall", "f1-score"))
        rows.append((display_name(name), *shares, f"{each['support']:.0f}"))
    return Table(("", "precision", "recall", "F1", "images"), tuple(rows))


def confusion_table(each: dict[str, Any]) -> Table:
    """Write one subject's confusion matrix: counts, and % of the true class's images."""
    labels = list(each["per_class"])
    rows = []
    for label, counts in zip(labels, each["confusion"], strict=True):
        images = sum(counts)
        cells = (f"{count} ({percent(count / images)} %)" if images else "–" for count in counts)
        rows.append((display_name(label), *cells))
    return Table(("", *map(display_name, labels)), tuple(rows))


def _page(evaluation: Evaluation, sections: list[Section]) -> str:
    wrong = confidently_wrong(evaluation)
    shown = [html(section) for section in sections]
    unreadable = evaluation.report["unreadable_files"]
    if unreadable:
        rows = [(each["path"], each["reason"]) for each in unreadable]
        shown.append(("Test images left out", page.table(("file", "reason"), rows)))
    if wrong:
        # After the pictures, before the tables of each model.
        place = 1 + next(i for i, (heading, _) in enumerate(shown) if heading == "Pictures")
        thumbnails = page.thumbnails(_thumbnail(evaluation, index) for index in wrong)
        text = page.paragraph(
            f"The {len(wrong)} leak-free images on which a model was most confidently wrong. They "
            "are images of the data set: keep this page in the lab."
        )
        shown.insert(place, ("Confidently wrong", text + thumbnails))
    return page.page(_title(evaluation.report), shown)


def confidently_wrong(evaluation: Evaluation, limit: int = MAX_THUMBNAILS) -> list[int]:
    """Return positions of leak-free images that some model gets wrong, most confident first.

    Of near-duplicates only the worst is named.
    """
    worst = np.zeros(len(evaluation.targets))
    for outputs in evaluation.probabilities.values():
        wrong = (outputs.argmax(axis=1) != evaluation.targets) & evaluation.leak_free
        worst = np.maximum(worst, np.where(wrong, outputs.max(axis=1), 0))
    order = [int(index) for index in np.argsort(-worst, kind="stable") if worst[index] > 0]
    first_of_group = {evaluation.groups[index]: index for index in reversed(order)}
    return [index for index in order if first_of_group[evaluation.groups[index]] == index][:limit]


def _thumbnail(evaluation: Evaluation, index: int) -> tuple[bytes, str]:
    lines = [f"Truth: {display_name(evaluation.labels[evaluation.targets[index]])}"]
    for name, outputs in evaluation.probabilities.items():
        decision = outputs[index].argmax()
        found = f"{display_name(evaluation.labels[decision])} {percent(outputs[index, decision])}%"
        lines.append(f"{name}: {found}")
    caption = "\n".join([*lines, printable(evaluation.paths[index])])
    return page.grey_png(evaluation.slices[index]), caption
