"""The figures of a certificate, ready for JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neuroscan_edge.model.judging import Judging
from neuroscan_edge.model.labels import NO_TUMOUR, tumour_probability
from neuroscan_edge.parity.baseline_predictions import FloatRows
from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap, percentile_interval
from neuroscan_edge.parity.evaluation.calibration_error import BINS, reliability_bins
from neuroscan_edge.parity.evaluation.comparison import Measured
from neuroscan_edge.parity.evaluation.operating_point import Scores
from neuroscan_edge.parity.slices import LabelledSlices
from neuroscan_edge.parity.stages import JudgedStage

_WITH_INTERVAL = ("accuracy", "precision", "recall", "f1", "auroc", "expected_calibration_error")


def figures_of(
    baseline: Measured,
    judged: Sequence[JudgedStage],
    slices: LabelledSlices,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Describe the baseline, every stage and what the engine changes.

    Returns
    -------
    dict
        ``baseline`` and ``engine``: metrics with intervals and reliability; ``comparison`` of the
        two; ``criteria`` of the gate; ``stages`` in order; ``changed``, each slice that the engine
        decides otherwise, by the SHA-256 of its file, with both rows of probabilities.
    """
    engine = judged[-1]
    return {
        "criteria": [line.to_json() for line in engine.criteria],
        "comparison": engine.comparison,
        "baseline": _measured(baseline, slices, bootstrap),
        "engine": _measured(engine.measured, slices, bootstrap),
        "changed": _changed(baseline, engine, slices),
        "stages": [_stage(each, slices) for each in judged],
    }


def screening_scores(
    engine: JudgedStage, slices: LabelledSlices, judging: Judging
) -> dict[str, Any] | None:
    """Return the engine's probability of any tumour on each slice, with the slice's class.

    Calibrated, as results are.

    In the order of the files' hashes, which are left out; None where there is nothing to tell.
    """
    if engine.measured is None or NO_TUMOUR not in slices.labels:
        return None
    order = np.argsort(np.array(slices.hashes))
    risks = [
        tumour_probability({NO_TUMOUR: float(str(row[slices.labels.index(NO_TUMOUR)]))})
        for row in judging.calibrated(engine.measured.probabilities[order])
    ]
    return Scores(
        np.array(risks, np.float64),
        slices.targets[order],
        slices.groups[order].astype(np.int64),
        slices.labels,
        slices.part,
    ).to_json()


def measured_figures(
    measured: Measured, slices: LabelledSlices, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Describe one model's figures on the slices, with intervals."""
    level, resampled = bootstrap.level, measured.resampled
    return {
        **measured.metrics,
        "intervals": {
            **{key: percentile_interval(getattr(resampled, key), level) for key in _WITH_INTERVAL},
            "per_class": {
                label: {
                    key: percentile_interval(getattr(resampled, f"class_{key}")[:, index], level)
                    for key in ("recall", "f1", "auroc")
                }
                for index, label in enumerate(slices.labels)
            },
        },
        "calibration_bins": BINS,
        "reliability": reliability_bins(slices.targets, measured.probabilities),
    }


def _measured(
    measured: Measured | None, slices: LabelledSlices, bootstrap: Bootstrap
) -> dict[str, Any] | None:
    return None if measured is None else measured_figures(measured, slices, bootstrap)


def changed_slices(baseline: FloatRows, engine: JudgedStage) -> list[int]:
    """List the slices that engine and baseline, (N, C) float32, decide differently."""
    if engine.measured is None:
        return []
    after = engine.measured.probabilities.argmax(axis=1)
    return [int(index) for index in (baseline.argmax(axis=1) != after).nonzero()[0]]


def _changed(
    baseline: Measured, engine: JudgedStage, slices: LabelledSlices
) -> list[dict[str, Any]]:
    described = []
    for index in changed_slices(baseline.probabilities, engine):
        assert engine.measured is not None
        rows = (baseline.probabilities[index], engine.measured.probabilities[index])
        described.append(
            {
                "image_sha256": slices.files[index].sha256,
                "truth": slices.labels[slices.targets[index]],
                "baseline": _row(rows[0], slices),
                "engine": _row(rows[1], slices),
            }
        )
    return described


def _row(row: Any, slices: LabelledSlices) -> dict[str, float]:
    return {label: float(str(value)) for label, value in zip(slices.labels, row, strict=True)}


def _stage(judged: JudgedStage, slices: LabelledSlices) -> dict[str, Any]:
    stage, comparison = judged.stage, judged.comparison
    described: dict[str, Any] = {
        "name": stage.name,
        "what": stage.what,
        "status": judged.status,
        "sha256": stage.sha256,
        "not_run": stage.not_run,
        "faults": list(stage.faults),
        "changes": [slices.files[index].sha256 for index in judged.changed],
        "seconds": round(stage.seconds, 2),
    }
    if comparison is not None:
        described |= {
            "agreement": comparison["agreement"]["value"],
            "largest_probability_difference": comparison["largest_probability_difference"],
            "criteria": [line.to_json() for line in judged.criteria],
        }
    return described
