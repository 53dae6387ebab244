"""A whole parity run: load, run the stages, judge, certify."""

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from neuroscan_edge import __version__
from neuroscan_edge.errors import ParityError
from neuroscan_edge.model.bundle import Bundle, open_bundle
from neuroscan_edge.parity.baseline_predictions import (
    PREDICTIONS,
    BaselinePredictions,
    FloatRows,
    read_predictions,
)
from neuroscan_edge.parity.certificate import Certificate, seal
from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap
from neuroscan_edge.parity.figures import figures_of, screening_scores
from neuroscan_edge.parity.gate import Gate
from neuroscan_edge.parity.keras_baseline import answer_with_keras
from neuroscan_edge.parity.ladder import Ladder, run_stages
from neuroscan_edge.parity.slices import LabelledSlices, Part, load_slices
from neuroscan_edge.parity.stages import Judge, JudgedStage
from neuroscan_edge.parity.standing import subject_of
from neuroscan_edge.parity.verdict import decide
from neuroscan_edge.runtimes import Choice, RuntimeOptions, choose_runtime
from neuroscan_edge.system.machine import Machine, this_machine
from neuroscan_edge.system.optional import installed_versions

_PACKAGES = ("numpy", "opencv-python-headless", "onnx", "onnxruntime", "openvino", "scikit-learn")


@dataclass(frozen=True, slots=True)
class ParityRequest:
    """What to certify, on what.

    Parameters
    ----------
    bundle : Path
        Its folder.
    data : Path
        A data set with a test split, or a folder of class folders.
    runtime : RuntimeOptions
        Precision, runtime, engine, threads; what is left open is chosen as `classify` does.
    baseline : Path or None
        The ``.keras`` baseline; None takes the answers that the bundle carries.
    gate : Gate
        What to hold it to.
    part : {"whole", "leak-free"}
        Leave out images with a near-duplicate in the training split.
    allow_overlap : bool
        Whether images of the calibration sample may be among them.
    every_stage : bool
        Whether the stages before the engine run although the engine passes.
    bootstrap : Bootstrap
        How intervals are made.
    """

    bundle: Path
    data: Path
    runtime: RuntimeOptions = RuntimeOptions()
    baseline: Path | None = None
    gate: Gate = Gate()
    part: Part = "whole"
    allow_overlap: bool = False
    every_stage: bool = False
    bootstrap: Bootstrap = field(default_factory=Bootstrap)


@dataclass(frozen=True, slots=True)
class Parity:
    """What a run found.

    Parameters
    ----------
    certificate : Certificate
        The record; it holds no image and no file name.
    slices : LabelledSlices
        What it ran on: for the page, which shows images.
    judged : tuple of JudgedStage
        In order; the engine is last.
    baseline : (N, C) float32
        The baseline's answers.
    predictions : BaselinePredictions
        The answers, for the bundle to carry.
    choice : Choice
        What was certified.
    """

    certificate: Certificate
    slices: LabelledSlices
    judged: tuple[JudgedStage, ...]
    baseline: FloatRows
    predictions: BaselinePredictions
    choice: Choice

    @property
    def engine(self) -> JudgedStage:
        """The last stage."""
        return self.judged[-1]


def run_parity(request: ParityRequest, trail: Mapping[str, Any] | None = None) -> Parity:
    """Certify an engine, or say why it cannot be done.

    Parameters
    ----------
    request : ParityRequest
        What to certify.
    trail : mapping, optional
        How the engine was found, from `neuroscan_edge.parity.tune`; it goes into the certificate.

    Raises
    ------
    DatasetError
        If the data cannot be used or has unknown classes.
    ParityError
        If the baseline is another model's, its answers are missing or no probabilities, or the
        data overlaps the calibration sample.
    """
    started = time.perf_counter()
    bundle, machine = open_bundle(request.bundle), this_machine()
    choice = choose_runtime(bundle, request.runtime, machine)
    slices = load_slices(bundle, request.data, request.part, allow_overlap=request.allow_overlap)
    predictions = answers_for(bundle, request, slices)
    rows = predictions.rows(slices.hashes, bundle.labels)
    judge = Judge(slices, rows, request.gate, request.bootstrap)
    ladder = Ladder(
        bundle,
        choice,
        request.runtime,
        slices,
        predictions,
        request.baseline,
        every_stage=request.every_stage,
    )
    judged = run_stages(ladder, judge)
    verdict, stage, reasons, notes = decide(request.gate, slices, judged)
    certificate = seal(
        verdict,
        subject_of(bundle, choice, machine),
        {
            "first_failing_stage": stage,
            "reasons": reasons,
            "notes": notes,
            "issued_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "data": _data(slices),
            "gate": request.gate.to_json(),
            **figures_of(judge.baseline, judged, slices, request.bootstrap),
            "screening": screening_scores(judged[-1], slices, bundle.judging),
            "bootstrap": {
                **asdict(request.bootstrap),
                "method": "percentile; stratified by class, near-duplicates drawn together",
            },
            "environment": _environment(machine, choice),
            "elapsed_s": round(time.perf_counter() - started, 2),
            "trail": trail,
        },
    )
    return Parity(certificate, slices, judged, rows, predictions, choice)


def answers_for(
    bundle: Bundle, request: ParityRequest, slices: LabelledSlices
) -> BaselinePredictions:
    """Return the baseline's answers: of Keras where the baseline is given, else of the bundle.

    Raises
    ------
    ParityError
        If there are none, or they are another model's.
    """
    recorded = read_predictions(bundle)
    if request.baseline is not None:
        return answer_with_keras(request.baseline, bundle, slices).merged(recorded)
    stated = bundle.manifest.get("baseline_sha256")
    if recorded is None:
        raise ParityError(
            f"{bundle.folder} carries no answers of its baseline ({PREDICTIONS}); give the model "
            "itself: --baseline MODEL.keras"
        )
    if recorded.baseline_sha256 != stated:
        raise ParityError(
            f"{PREDICTIONS} is of the baseline {recorded.baseline_sha256}, the bundle was made "
            f"from {stated}: it is of another model. Give this one: --baseline MODEL.keras"
        )
    if set(recorded.labels) != set(bundle.labels):
        raise ParityError(
            f"{PREDICTIONS} knows {', '.join(recorded.labels)}; the bundle knows "
            f"{', '.join(bundle.labels)}: it is of another model"
        )
    missing = [each for each in slices.hashes if each not in recorded.answers]
    if missing:
        raise ParityError(
            f"{bundle.folder} carries the baseline's answers to {len(slices.files) - len(missing)} "
            f"of these {len(slices.files)} images; give the model itself: --baseline MODEL.keras"
        )
    return recorded


def _data(slices: LabelledSlices) -> dict[str, Any]:
    return {
        "part": slices.part,
        "fingerprint": slices.fingerprint,
        "images": len(slices.files),
        "counts": slices.counts,
        "near_duplicates_as_one": slices.group_counts,
        "left_out_as_leaked": slices.left_out,
        "unreadable": [
            {"label": slices.labels[each.label], "kind": each.kind} for each in slices.unreadable
        ],
        "calibration_overlap": slices.overlap,
    }


def _environment(machine: Machine, choice: Choice) -> dict[str, Any]:
    gpu = machine.gpu.gpus[0] if machine.gpu.gpus else None
    return {
        "neuroscan_edge": __version__,
        "python": platform.python_version(),
        "platform": machine.platform,
        "processor": machine.cpu,
        "gpu": None if gpu is None else {"name": gpu.name, "driver": machine.gpu.driver},
        "runtime": str(choice.installed),
        "packages": installed_versions(_PACKAGES),
    }
