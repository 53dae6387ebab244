"""The stages of one run, from what is stated to what runs."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from neuroscan_edge.model.bundle import Bundle, Graph
from neuroscan_edge.model.engine.runtime_graph import graph_for
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.parity.baseline_predictions import (
    BaselinePredictions,
    faults_of_probabilities,
    input_sha256,
)
from neuroscan_edge.parity.graph_faults import fp32_sha256, graph_faults
from neuroscan_edge.parity.keras_baseline import exported_fp32
from neuroscan_edge.parity.slices import LabelledSlices, preprocessing_differs
from neuroscan_edge.parity.stages import (
    BASELINE,
    CONTRACT,
    ENGINE,
    PREPROCESSING,
    Judge,
    JudgedStage,
    Stage,
    open_graph,
    run_stage,
)
from neuroscan_edge.parity.standing import subject_of
from neuroscan_edge.runtimes import Choice, Runtime, RuntimeOptions, open_choice
from neuroscan_edge.spec import Precision

GPU_FORM = "int8-gpu-form"
_PASSED = "the engine passed; --every-stage runs it"


@dataclass(frozen=True, slots=True)
class Ladder:
    """What the stages need.

    Parameters
    ----------
    bundle : Bundle
        Whose graphs run.
    choice : Choice
        The engine, at the end.
    options : RuntimeOptions
        How it is run.
    slices : LabelledSlices
        What every stage is given.
    predictions : BaselinePredictions
        What the baseline answered.
    baseline : Path or None
        The ``.keras`` file, where it was asked: it gives the FP32 graph that a bundle lacks.
    every_stage : bool
        Whether graphs run although the engine passes.
    """

    bundle: Bundle
    choice: Choice
    options: RuntimeOptions
    slices: LabelledSlices
    predictions: BaselinePredictions
    baseline: Path | None = None
    every_stage: bool = False


def run_stages(ladder: Ladder, judge: Judge) -> tuple[JudgedStage, ...]:
    """Run and judge every stage, in order; the engine is last.

    The engine runs first: if it passes, the graphs before it are run only where that is asked for.
    """
    bundle, slices, predictions = ladder.bundle, ladder.slices, ladder.predictions
    rows = judge.baseline.probabilities
    engine = _run_engine(ladder)
    before = [
        _contract(bundle, predictions),
        _preprocessing(bundle, slices, predictions),
        Stage(
            BASELINE,
            "the Keras baseline" + ("" if ladder.baseline else ", from the answers in the bundle"),
            predictions.baseline_sha256,
            rows,
            tuple(faults_of_probabilities(rows)),
        ),
    ]
    judged = [JudgedStage(stage, changed=stage.changed) for stage in before]
    precision = ladder.choice.precision
    judged_engine = judge.judge(engine, rows, precision)
    run_all = ladder.every_stage or judged_engine.status != "passed"
    last = rows
    for stage, held_to in _graphs(ladder, run_all):
        found = judge.judge(stage, last, held_to)
        judged.append(found)
        if found.measured is not None:
            last = found.measured.probabilities
    return (*judged, judged_engine.following(last))


def _graphs(ladder: Ladder, run_all: bool) -> list[tuple[Stage, Precision]]:
    """Run the graphs between baseline and engine, each with the precision it is held to."""
    precision = ladder.choice.precision
    wanted = [Precision.FP32] if precision is Precision.FP32 else [Precision.FP32, precision]
    known = fp32_sha256(ladder.bundle)
    exported = None
    # Half a minute of TensorFlow: only for a graph that will run.
    if known is None and ladder.baseline is not None and run_all:
        data = exported_fp32(ladder.baseline)
        known = hashlib.sha256(data).hexdigest()
        exported = Graph(Precision.FP32, data, known)
    stages = [(_run_graph(ladder, each, known, exported, run_all), each) for each in wanted]
    if precision is Precision.INT8 and ladder.choice.installed.name.on_gpu:
        stages.append((_run_gpu_form(ladder, run_all), precision))
    return stages


def _run_gpu_form(ladder: Ladder, run_all: bool) -> Stage:
    """Run what a GPU's builder is given: float16 between the Q/DQ pairs."""
    int8, runtime = ladder.bundle.graph(Precision.INT8), ladder.choice.installed.name
    data, _ = graph_for(int8, runtime, exact_int8=True)
    graph = Graph(Precision.INT8, data, hashlib.sha256(data).hexdigest())
    what = "INT8 graph in its GPU form, as it is defined, in ONNX Runtime on the CPU"
    if not run_all:
        return Stage(GPU_FORM, what, graph.sha256, not_run=_PASSED)
    return run_stage(
        GPU_FORM,
        what,
        graph.sha256,
        ladder.slices,
        lambda: open_graph(ladder.bundle, graph, ladder.options.threads),
    )


def _run_graph(
    ladder: Ladder,
    precision: Precision,
    fp32: str | None,
    exported: Graph | None,
    run_all: bool,
) -> Stage:
    bundle = ladder.bundle
    what = f"{str(precision).upper()} graph as it is defined, in ONNX Runtime on the CPU"
    faults: list[str] = []
    if precision in bundle.precisions:
        graph = bundle.graph(precision)
        faults = graph_faults(bundle, precision, fp32)
    elif exported is not None:
        # The network alone: it promises no outlier score.
        graph, bundle = exported, replace(bundle, judging=Judging())
        what += ", exported for this run"
    else:
        absent = "the bundle holds no FP32 graph; --baseline and --every-stage make it"
        return Stage(str(precision), what, not_run=absent)
    if not run_all and not faults:
        return Stage(str(precision), what, graph.sha256, not_run=_PASSED)

    def open_it() -> Runtime:
        return open_graph(bundle, graph, ladder.options.threads)

    return run_stage(str(precision), what, graph.sha256, ladder.slices, open_it, faults)


def _run_engine(ladder: Ladder) -> Stage:
    bundle, choice = ladder.bundle, ladder.choice
    subject = subject_of(bundle, choice)
    form = f"engine {choice.engine.folder.name}" if choice.engine else f"{choice.precision} graph"
    return run_stage(
        ENGINE,
        f"{choice.installed}, {form}, on the {subject.device.upper()}",
        subject.engine_sha256,
        ladder.slices,
        lambda: open_choice(bundle, choice, ladder.options),
    )


def _contract(bundle: Bundle, predictions: BaselinePredictions) -> Stage:
    faults = []
    if predictions.labels != bundle.labels:
        faults.append(
            f"the bundle's labels are {', '.join(bundle.labels)}; the baseline's outputs are "
            f"{', '.join(predictions.labels)}, in this order"
        )
    if predictions.preprocessing_sha256 != bundle.preprocessing.sha256:
        faults.append(
            f"the bundle preprocesses by {bundle.preprocessing.sha256}, the baseline by "
            f"{predictions.preprocessing_sha256}"
        )
    return Stage(CONTRACT, "labels and preprocessing, as stated", faults=tuple(faults))


def _preprocessing(
    bundle: Bundle, slices: LabelledSlices, predictions: BaselinePredictions
) -> Stage:
    found = [input_sha256(pixels) for pixels in slices.inputs]
    recorded = [predictions.answers[image].input_sha256 for image in slices.hashes]
    differing = preprocessing_differs(slices, bundle, recorded, found)
    faults = []
    if differing:
        faults.append(
            f"{len(differing)} of {len(found)} images become other bytes here than the baseline "
            "was given, or than the reference gives"
        )
    return Stage(
        PREPROCESSING,
        "decoding, resize and CLAHE on this machine, byte for byte",
        bundle.preprocessing.sha256,
        faults=tuple(faults),
        changed=tuple(differing),
    )
