"""A certificate as Markdown for a CI run's page, and in a few lines for a terminal."""

from collections.abc import Mapping
from typing import Any

from neuroscan_edge.model.labels import display_name
from neuroscan_edge.parity.certificate import Certificate, Verdict
from neuroscan_edge.report.document import (
    Block,
    Bullets,
    Section,
    Table,
    markdown,
    percent,
    points,
    share,
)
from neuroscan_edge.spec import RESEARCH_USE

_HEADLINES = {
    Verdict.PASSED: "PASSED: decides like its Keras baseline",
    Verdict.FAILED: "FAILED: does not decide like its Keras baseline",
    Verdict.CANNOT_CERTIFY: "CANNOT CERTIFY: these images do not suffice for the claim",
}
LINES = {
    "accuracy_ratio": "Accuracy, as a share of the baseline's",
    "f1_ratio": "Macro F1, as a share of the baseline's",
    "agreement": "Images on which both decide alike",
    "recall_drop": "Largest fall of a class's recall",
    "missed_tumours": "Tumour slices newly called no tumour",
}
"""What each line of the gate says to a reader."""


def headline(certificate: Certificate) -> str:
    """Say the verdict in one line."""
    return _HEADLINES[certificate.verdict]


def engine_name(certificate: Certificate) -> str:
    """Name what was certified."""
    subject = certificate.subject
    return (
        f"{subject.model}, {str(subject.precision).upper()}, {subject.runtime} "
        f"{subject.runtime_version} on the {subject.device.upper()}"
    )


def gate_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """List the gate: what, measured, allowed, kept or not."""
    rows = []
    for line in document["criteria"]:
        measured = "not defined" if line["value"] is None else f"{100 * line['value']:.2f} %"
        allowed = f"{line['is']} {100 * line['limit']:g} %"
        rows.append((LINES[line["name"]], measured, allowed, "yes" if line["passed"] else "NO"))
    return rows


def delta_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """List figures of baseline and engine and their difference with its paired interval."""
    baseline, engine, comparison = (document[k] for k in ("baseline", "engine", "comparison"))
    if engine is None or comparison is None:
        return []
    rows = []
    for key, name in (
        ("accuracy", "Accuracy, %"),
        ("precision", "Macro precision, %"),
        ("recall", "Macro recall, %"),
        ("f1", "Macro F1, %"),
        ("auroc", "Macro AUROC, %"),
        ("expected_calibration_error", "Expected calibration error, %"),
    ):
        difference = comparison[f"{key}_difference"]
        rows.append(
            (
                name,
                percent(baseline[key], baseline["intervals"][key]),
                percent(engine[key], engine["intervals"][key]),
                points(**difference) if difference else "–",
            )
        )
    for label, difference in comparison["recall_differences"].items():
        within = (each["intervals"]["per_class"][label]["recall"] for each in (baseline, engine))
        values = (each["per_class"][label]["recall"] for each in (baseline, engine))
        before, after = (percent(v, w) for v, w in zip(values, within, strict=True))
        rows.append((f"Recall of {display_name(label)}, %", before, after, points(**difference)))
    return rows


def stage_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """List the stages: name, what it is, its status, its agreement, images that it changes."""
    rows = []
    for stage in document["stages"]:
        agreement = stage.get("agreement")
        rows.append(
            (
                stage["name"],
                stage["what"],
                stage["status"],
                "–" if agreement is None else f"{100 * agreement:.2f} %",
                "–" if stage["not_run"] else str(len(stage["changes"])),
            )
        )
    return rows


def counts_text(document: Mapping[str, Any]) -> str:
    """Say which images a certificate speaks of."""
    data = document["data"]
    classes = ", ".join(f"{count} {display_name(name)}" for name, count in data["counts"].items())
    text = f"{data['images']} images ({classes})"
    if data["part"] == "leak-free":
        text += (
            f", without {data['left_out_as_leaked']} that have a near-duplicate among the training "
            "images"
        )
    if data["unreadable"]:
        text += f"; {len(data['unreadable'])} files could not be read"
    return text


def markdown_summary(certificate: Certificate) -> str:
    """Write a certificate's verdict, gate, deltas and stages as Markdown."""
    document = certificate.document
    opening: list[Block] = [
        f"{engine_name(certificate)}. On {counts_text(document)}. {RESEARCH_USE}"
    ]
    for name in ("reasons", "notes"):
        if document[name]:
            opening.append(Bullets(tuple(document[name])))
    sections = [Section(f"Parity {headline(certificate)}", tuple(opening))]
    if document["criteria"]:
        table = Table(("gate", "measured", "allowed", "kept"), tuple(gate_rows(document)))
        sections.append(Section("Gate", (table,)))
    deltas = delta_rows(document)
    if deltas:
        header = ("figure", "baseline", "engine", "difference, points")
        comparison = document["comparison"]
        kinds = [f"{each['from']} to {each['to']}: {each['count']}" for each in comparison["flips"]]
        flipped = f"Decisions that differ: {comparison['changed']}"
        flipped += f" ({'; '.join(kinds)}). " if kinds else ". "
        test = comparison["mcnemar"]
        flipped += (
            f"Only the engine right: {test['only_this_right']}, only the baseline right: "
            f"{test['only_reference_right']}, exact McNemar p {test['p_value']:.3g}. Probabilities "
            f"differ by {share(comparison['largest_probability_difference'])} at most, "
            f"{comparison['mean_probability_difference']:.2g} in the mean."
        )
        sections.append(Section("Differences", (Table(header, tuple(deltas)), flipped)))
    header5 = ("stage", "what", "status", "agreement", "images changed")
    sections.append(Section("Stages", (Table(header5, tuple(stage_rows(document))),)))
    return markdown(sections)


def terminal_summary(certificate: Certificate) -> str:
    """Say in a few lines what a person at a terminal needs."""
    document = certificate.document
    lines = [headline(certificate), engine_name(certificate), f"on {counts_text(document)}"]
    lines += [f"  {reason}" for reason in document["reasons"]]
    for what, measured, allowed, kept in gate_rows(document):
        lines.append(f"  {what:<42} {measured:>9}  {allowed:<16} {'ok' if kept == 'yes' else kept}")
    for stage in document["stages"]:
        if stage["status"] == "failed":
            changed = f", changes {len(stage['changes'])} images" if stage["changes"] else ""
            lines.append(f"  stage {stage['name']} failed{changed}")
        elif stage["not_run"]:
            lines.append(f"  stage {stage['name']} not run: {stage['not_run']}")
    lines += [f"  note: {note}" for note in document["notes"]]
    lines.append(RESEARCH_USE)
    return "\n".join(lines)
