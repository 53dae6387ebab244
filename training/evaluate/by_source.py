"""Measure a model part by part: published split, leak-free parts, held-out part, left-out sources.

Figures of a part carry bootstrap intervals that draw whole groups (patients), stratified by class.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.bundle import open_bundle
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.parity.evaluation.bootstrap import (
    Bootstrap,
    percentile_interval,
    resample,
    stratified_draws,
)
from neuroscan_edge.parity.evaluation.duplicates import DEFAULT_DISTANCE, without_duplicates_in
from neuroscan_edge.parity.evaluation.metrics import classification_metrics
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.spec import RESEARCH_USE
from neuroscan_edge.system.files import write_whole
from training.evaluate.subjects import Subject
from training.sources.fingerprints import STRICT_DISTANCE, fingerprints, nearest
from training.sources.groups import HeldOut, Parts, divide
from training.sources.listing import STUDY
from training.sources.pool import LoadedPool

SOURCE_EVALUATION_SCHEMA = 1
_BATCH = 32
_INTERVALS = ("accuracy", "precision", "recall", "f1", "auroc", "expected_calibration_error")

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SourceEvaluationOptions:
    """How to measure by source.

    Parameters
    ----------
    left_out : tuple of str
        Sources that the model was trained without.
    validation_share : float
        As the model's recipe had it.
    start : str
        Where training began, such as ``ImageNet``; it stands beside every figure.
    bootstrap : Bootstrap
        How intervals are made.
    """

    left_out: tuple[str, ...] = ()
    validation_share: float = 0.1
    start: str = "not stated"
    bootstrap: Bootstrap = field(default_factory=lambda: Bootstrap(resamples=1000))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model makes of N slices.

    Parameters
    ----------
    probabilities : (N, C) float32
        Calibrated, where the model has a decision policy.
    answered : (N,) bool or None
        Whether the policy answers instead of referring; None without a policy.
    """

    probabilities: npt.NDArray[np.float32]
    answered: Mask | None


def part_masks(
    loaded: LoadedPool, parts: Parts, *, strict_distance: int = STRICT_DISTANCE
) -> dict[str, Mask]:
    """Select the slices of each part to measure, (N,) bool by the part's name.

    ``published`` is the published test split, ``published_undisputed`` the same without slices
    whose label the original collection contradicts, ``leak_free`` those whose 64-bit hash has no
    near-duplicate in the published training split, ``strict`` those whose 255-bit fingerprint has
    none in anything that was trained or validated on. ``held_out`` is the pooled held-out part,
    ``held_out/SOURCE`` one source of it, ``left_out/SOURCE`` a source that was left out.
    """
    files = loaded.files
    count = len(files)
    testing = np.array([file.split == "testing" for file in files], bool)
    study_training = np.array(
        [file.source == STUDY and file.split == "training" for file in files], bool
    )
    disputed = np.array([file.disputed for file in files], bool)
    sources = np.array([file.source for file in files])
    known = loaded.images.targets >= 0
    masks: dict[str, Mask] = {}
    if testing.any():
        masks["published"] = testing
        masks["published_undisputed"] = testing & ~disputed
        clean = np.zeros(count, bool)
        hashes = loaded.images.hashes
        clean[testing] = without_duplicates_in(
            hashes[testing], hashes[study_training], DEFAULT_DISTANCE
        )
        masks["leak_free"] = clean
        seen = np.concatenate([parts.training, parts.validation])
        resized = loaded.images.resized
        strict = np.zeros(count, bool)
        apart = nearest(list(resized[testing]), fingerprints(list(resized[seen])))
        strict[testing] = apart > strict_distance
        masks["strict"] = strict
    for name, positions in (("held_out", parts.held_out), ("left_out", parts.left_out)):
        chosen = np.zeros(count, bool)
        chosen[positions] = True
        if name == "held_out":
            masks[name] = chosen & known
        for source in np.unique(sources[chosen]):
            masks[f"{name}/{source}"] = chosen & known & (sources == source)
    return {name: mask for name, mask in masks.items() if mask.any()}


def evaluate_sources(
    path: Path,
    subject: Subject,
    loaded: LoadedPool,
    held_out: HeldOut,
    options: SourceEvaluationOptions,
) -> dict[str, Any]:
    """Measure one model on every part; ready for JSON.

    Parameters
    ----------
    path : Path
        Baseline or bundle; a bundle with a decision policy is measured with its referrals.
    subject : Subject
        The same model, opened.
    loaded : LoadedPool
        All sources.
    held_out : HeldOut
        The committed list.
    options : SourceEvaluationOptions
        How to measure.
    """
    parts = divide(
        loaded.files, loaded.groups, held_out, options.left_out, options.validation_share
    )
    masks = part_masks(loaded, parts)
    outside = loaded.images.targets < 0
    wanted = np.logical_or.reduce([*masks.values(), outside])
    answers = _answers(path, subject, loaded, wanted)
    measured = {
        name: _figures(loaded, answers, wanted, mask, subject.labels, options.bootstrap)
        for name, mask in masks.items()
    }
    report: dict[str, Any] = {
        "schema": SOURCE_EVALUATION_SCHEMA,
        "intended_use": RESEARCH_USE,
        "model": subject.name,
        "sha256": subject.sha256,
        "baseline_sha256": subject.baseline_sha256,
        "start": options.start,
        "left_out_sources": list(options.left_out),
        "labels": list(subject.labels),
        "strict_distance": STRICT_DISTANCE,
        "bootstrap": "percentile; stratified by class, groups (patients) drawn together",
        "parts": measured,
    }
    if outside.any():
        report["outside_labels"] = _outside(loaded, answers, wanted, outside)
    return report


def write_source_evaluation(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(report, indent=1) + "\n").encode())


def source_table(report: dict[str, Any]) -> list[str]:
    """Return a report as the lines of a Markdown table, one row a part."""
    lines = [
        "| part | slices | accuracy | macro recall | "
        + " | ".join(f"{label} recall" for label in report["labels"])
        + " | answered | right of those |",
        "|" + "---|" * (6 + len(report["labels"])),
    ]
    for name, figures in report["parts"].items():
        low, high = figures["intervals"]["accuracy"] or (None, None)
        interval = "" if low is None else f" ({100 * low:.1f} to {100 * high:.1f})"
        recalls = [figures["per_class"][label]["recall"] for label in report["labels"]]
        decisions = figures.get("decisions")
        right = decisions and decisions["accuracy_of_answers"]
        cells = [
            name,
            str(figures["images"]),
            f"{100 * figures['accuracy']:.1f}{interval}",
            f"{100 * figures['recall']:.1f}",
            *("-" if each is None else f"{100 * each:.1f}" for each in recalls),
            "-" if decisions is None else f"{100 * decisions['answered']:.1f}",
            "-" if right is None else f"{100 * right:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _answers(path: Path, subject: Subject, loaded: LoadedPool, wanted: Mask) -> Answers:
    prepare = CpuPreprocessor(subject.preprocessing)
    slices = np.stack([prepare.equalise(each) for each in loaded.images.resized[wanted]])[..., None]
    if path.is_dir():
        bundle = open_bundle(path)
        if bundle.judging.outliers:
            with open_runtime(bundle, RuntimeOptions()) as runtime:
                found = [
                    runtime.outputs(slices[start : start + _BATCH])  # type: ignore[attr-defined]
                    for start in range(0, len(slices), _BATCH)
                ]
            scores = np.concatenate([each.outlier_scores for each in found])
            raw = np.concatenate([each.probabilities for each in found])
            return decide_all(bundle.judging, raw, scores)
    return Answers(np.asarray(subject.predict(slices), np.float32), None)


def decide_all(
    rules: Judging, probabilities: npt.NDArray[np.float32], scores: npt.NDArray[np.floating]
) -> Answers:
    """Apply a decision policy to (N, C) probabilities and (N,) outlier scores."""
    calibrated = rules.calibrated(probabilities)
    answered = [
        not rules.findings(row, float(score)) for row, score in zip(calibrated, scores, strict=True)
    ]
    return Answers(calibrated, np.array(answered, bool))


def _figures(
    loaded: LoadedPool,
    answers: Answers,
    wanted: Mask,
    mask: Mask,
    labels: Sequence[str],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    inside = mask[wanted]
    probabilities = answers.probabilities[inside]
    targets = loaded.images.targets[mask]
    files = [file for file, chosen in zip(loaded.files, mask, strict=True) if chosen]
    names = [name for name, chosen in zip(loaded.groups, mask, strict=True) if chosen]
    _, groups = np.unique(names, return_inverse=True)
    draws = stratified_draws(targets, groups.astype(np.int32), bootstrap)
    resampled = resample(draws, targets, probabilities)
    right = probabilities.argmax(axis=1) == targets
    figures: dict[str, Any] = {
        **classification_metrics(targets, probabilities, labels),
        "groups": int(groups.max()) + 1,
        "intervals": {
            key: percentile_interval(getattr(resampled, key), bootstrap.level) for key in _INTERVALS
        },
        "by_sequence": _by_sequence([file.sequence for file in files], targets, right, labels),
    }
    negative = labels.index("no_tumor") if "no_tumor" in labels else None
    if negative is not None:
        missed = probabilities.argmax(axis=1) == negative
        figures["called_no_tumor"] = {
            label: float(missed[targets == index].mean())
            for index, label in enumerate(labels)
            if index != negative and (targets == index).any()
        }
    if answers.answered is not None:
        figures["decisions"] = _decisions(answers.answered[inside], right, targets, labels)
    return figures


def _by_sequence(
    sequences: Sequence[str], targets: npt.NDArray[np.int64], right: Mask, labels: Sequence[str]
) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = {}
    of = np.array(sequences)
    for sequence in sorted(set(sequences)):
        for index, label in enumerate(labels):
            chosen = (of == sequence) & (targets == index)
            if chosen.any():
                figures = {"images": int(chosen.sum()), "recall": float(right[chosen].mean())}
                found.setdefault(sequence, {})[label] = figures
    return found


def _decisions(
    answered: Mask, right: Mask, targets: npt.NDArray[np.int64], labels: Sequence[str]
) -> dict[str, Any]:
    def share(chosen: Mask) -> float | None:
        return float(right[chosen].mean()) if chosen.any() else None

    return {
        "answered": float(answered.mean()),
        "accuracy_of_answers": share(answered),
        "by_class": {
            label: {
                "answered": float(answered[targets == index].mean()),
                "accuracy_of_answers": share(answered & (targets == index)),
            }
            for index, label in enumerate(labels)
            if (targets == index).any()
        },
    }


def _outside(loaded: LoadedPool, answers: Answers, wanted: Mask, outside: Mask) -> dict[str, Any]:
    inside = outside[wanted]
    found: dict[str, Any] = {
        "images": int(inside.sum()),
        "median_confidence": float(np.median(answers.probabilities[inside].max(axis=1))),
    }
    if answers.answered is not None:
        found["answered"] = float(answers.answered[inside].mean())
    return found
