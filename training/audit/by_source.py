"""Audit several sources together: shared patients, shared pictures, and what gives a class away."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.parity.evaluation.duplicates import near_pairs
from neuroscan_edge.spec import RESEARCH_USE
from training.recipe.recipe import PoolRecipe
from training.report.folder import make_report_folder, write_report
from training.sources.groups import DUPLICATE_DISTANCE, HeldOut, divide, group_digest
from training.sources.listing import (
    UNKNOWN_SEQUENCE,
    SourceFile,
    count_by,
    one_class_sources,
    patients_in_tests,
)
from training.sources.pool import LoadedPool
from training.sources.sampling import BalancedSampler

SOURCE_AUDIT_SCHEMA = 1
_ATTRIBUTES = ("source", "sequence")
_FEWEST_SOURCES = 2
# Sources that are parts of one collection of images: they count as one.
_COLLECTIONS = {"study": "study and cheng_figshare", "cheng_figshare": "study and cheng_figshare"}


def audit_sources(loaded: LoadedPool, pool: PoolRecipe, held_out: HeldOut) -> dict[str, Any]:
    """Audit the sources of a recipe; ready for JSON, and naming files by their SHA-256 only.

    Parameters
    ----------
    loaded : LoadedPool
        All sources, decoded.
    pool : PoolRecipe
        Weights of the sources.
    held_out : HeldOut
        The committed list.

    Raises
    ------
    DatasetError
        If a group is in two splits.
    """
    files = loaded.files
    parts = divide(files, loaded.groups, held_out, (), pool.validation_share)
    trained = [files[place] for place in parts.training if files[place].label in pool.labels]
    chances = BalancedSampler(trained, pool.weights).probabilities
    equal = np.full(len(trained), 1 / len(trained))
    return {
        "schema": SOURCE_AUDIT_SCHEMA,
        "intended_use": RESEARCH_USE,
        "files": _nested(count_by(files, "source", "label", "sequence")),
        "groups": _groups(files, loaded.groups),
        "parts": {
            name: _nested(count_by([files[place] for place in getattr(parts, name)], "source"))
            for name in ("training", "validation", "held_out")
        },
        "label_given_away": {
            name: {
                "every_file_alike": label_given_away(trained, name, equal),
                "as_drawn": label_given_away(trained, name, chances),
            }
            for name in _ATTRIBUTES
        },
        "cannot_be_balanced": unbalanced(trained),
        "tested_patients_elsewhere": _tested_elsewhere(files),
        "shared_pictures": shared_pictures(files, loaded.images.hashes),
        "disputed_labels": [
            {"sha256": file.sha256, "split": file.split, "label": file.label}
            for file in files
            if file.disputed
        ],
    }


def label_given_away(
    files: Sequence[SourceFile], attribute: str, weights: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Measure how well one attribute of a file predicts its label.

    Parameters
    ----------
    files : sequence of SourceFile
        N files.
    attribute : str
        Name of the attribute, such as ``"source"``.
    weights : (N,) float64
        Chance of each file to be drawn; they sum to 1.

    Returns
    -------
    dict of str to float
        ``accuracy`` of guessing the most frequent label of the attribute's value, ``chance`` that
        of guessing the most frequent label of all, and ``information`` the share of the label's
        entropy that the attribute removes (Theil's uncertainty coefficient, 0 to 1).
    """
    joint: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for file, weight in zip(files, weights, strict=True):
        joint[str(getattr(file, attribute))][file.label] += weight
    labels = sorted({file.label for file in files})
    table = np.array([[joint[value][label] for label in labels] for value in sorted(joint)])
    prior = table.sum(axis=0)
    entropy = _entropy(prior)
    left = sum(row.sum() * _entropy(row / row.sum()) for row in table if row.sum() > 0)
    return {
        "accuracy": float(table.max(axis=1).sum()),
        "chance": float(prior.max()),
        "information": float(1 - left / entropy) if entropy > 0 else 0.0,
    }


def unbalanced(files: Sequence[SourceFile]) -> list[str]:
    """Say what sampling cannot balance: a class, or a class in a sequence, of one collection."""
    found = [
        f"{source} holds {label} only: there, the source predicts the label"
        for source, label in sorted(one_class_sources(files).items())
    ]
    of_class: defaultdict[str, set[str]] = defaultdict(set)
    of_cell: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for file in files:
        collection = _COLLECTIONS.get(file.source, file.source)
        of_class[file.label].add(collection)
        of_cell[file.sequence, file.label].add(collection)
    for label, collections in sorted(of_class.items()):
        if len(collections) < _FEWEST_SOURCES:
            found.append(f"{label} comes from one collection: {min(collections)}")
    sequences = sorted({sequence for sequence, _ in of_cell} - {UNKNOWN_SEQUENCE})
    for sequence in sequences:
        for label in sorted(of_class):
            collections = of_cell.get((sequence, label), set())
            if not collections:
                found.append(f"no {sequence} slice of {label}")
            elif len(collections) < _FEWEST_SOURCES <= len(of_class[label]):
                found.append(f"{sequence} slices of {label} come from {min(collections)} only")
    return found


def shared_pictures(
    files: Sequence[SourceFile], hashes: npt.NDArray[np.uint64], distance: int = DUPLICATE_DISTANCE
) -> list[dict[str, Any]]:
    """List near-duplicates of two sources; ``conflicting`` where their labels differ."""
    found = []
    for one, other, bits in zip(*near_pairs(hashes, distance), strict=True):
        first, second = files[int(one)], files[int(other)]
        if first.source != second.source:
            found.append(
                {
                    "sha256": [first.sha256, second.sha256],
                    "sources": [first.source, second.source],
                    "labels": [first.label, second.label],
                    "distance": int(bits),
                    "conflicting": first.label != second.label,
                }
            )
    return found


def write_source_audit(report: dict[str, Any], folder: Path) -> None:
    """Write ``audit-sources.json`` and ``audit-sources.md``.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    make_report_folder(folder)
    write_report(
        folder,
        {
            "audit-sources.md": ("\n".join(audit_lines(report)) + "\n").encode(),
            "audit-sources.json": (json.dumps(report, indent=1) + "\n").encode(),
        },
    )


def audit_lines(report: dict[str, Any]) -> list[str]:
    """Return an audit as Markdown lines."""
    lines = ["# Audit of several sources", "", RESEARCH_USE, ""]
    lines += ["| source | label | slices | of sequences |", "|---|---|---|---|"]
    for source, labels in report["files"].items():
        for label, sequences in labels.items():
            listed = ", ".join(f"{name} {count}" for name, count in sequences.items())
            lines.append(f"| {source} | {label} | {sum(sequences.values())} | {listed} |")
    lines += ["", "## What gives a class away", ""]
    for name, measured in report["label_given_away"].items():
        plain, drawn = measured["every_file_alike"], measured["as_drawn"]
        lines.append(
            f"- The {name} alone predicts the label of {100 * plain['accuracy']:.0f} % of the "
            f"training slices (chance {100 * plain['chance']:.0f} %), and of "
            f"{100 * drawn['accuracy']:.0f} % of the slices as they are drawn (chance "
            f"{100 * drawn['chance']:.0f} %)."
        )
    lines += ["", "## What cannot be balanced", ""]
    lines += [f"- {each}" for each in report["cannot_be_balanced"]]
    conflicting = sum(pair["conflicting"] for pair in report["shared_pictures"])
    lines += [
        "",
        "## Overlaps",
        "",
        f"- {len(report['shared_pictures'])} pairs of near-duplicates of two sources, "
        f"{conflicting} of them under different labels.",
        f"- {report['tested_patients_elsewhere']['files']} slices of further sources show "
        f"{report['tested_patients_elsewhere']['patients']} patients of the published test split; "
        "they are not trained on.",
        f"- {len(report['disputed_labels'])} slices of the study have another label in the "
        "collection that they were taken from; they are not trained on.",
    ]
    return lines


def _groups(files: Sequence[SourceFile], names: Sequence[str]) -> dict[str, int]:
    of: defaultdict[str, set[str]] = defaultdict(set)
    for file, name in zip(files, names, strict=True):
        of[file.source].add(group_digest(name))
    return {source: len(each) for source, each in sorted(of.items())}


def _tested_elsewhere(files: Sequence[SourceFile]) -> dict[str, int]:
    tested = patients_in_tests(files)
    study = {file.source for file in files if file.split == "testing"}
    found = [file for file in files if file.source not in study and file.patient in tested]
    return {"files": len(found), "patients": len({file.patient for file in found})}


def _nested(counts: Counter[tuple[str, ...]]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, count in sorted(counts.items()):
        place = nested
        for part in key[:-1]:
            place = place.setdefault(part, {})
        place[key[-1]] = count
    return nested


def _entropy(chances: npt.NDArray[np.float64]) -> float:
    positive = chances[chances > 0]
    return float(-(positive * np.log2(positive)).sum())
