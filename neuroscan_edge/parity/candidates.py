"""Graphs that might be used, run and judged on one set of slices."""

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.bundle import GRAPHS, Bundle, open_bundle, write_files
from neuroscan_edge.model.graph.quantize import QuantizationPlan
from neuroscan_edge.parity.baseline_predictions import FloatRows
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.parity.gate import Criterion
from neuroscan_edge.parity.run import ParityRequest, answers_for
from neuroscan_edge.parity.slices import load_slices
from neuroscan_edge.parity.stages import ENGINE, Judge, predict, run_stage
from neuroscan_edge.parity.throughput import images_per_second
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import Runtime, choose_runtime, open_choice
from neuroscan_edge.scans.dataset import LabelledFile, Split, has_split, load_split
from neuroscan_edge.spec import Precision, RuntimeName

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, slots=True)
class Candidate:
    """A precision, and for INT8 a plan.

    Parameters
    ----------
    precision : Precision
        Of the graph.
    kept : tuple of str
        Units given back to float.
    plan : QuantizationPlan or None
        None is the bundle's own graph.
    graph : ModelProto or None
        Of the plan.
    criteria : tuple of Criterion
        The gate, once judged.
    faults : tuple of str
        What is wrong with it whatever it decides.
    """

    precision: Precision
    kept: tuple[str, ...] = ()
    plan: QuantizationPlan | None = None
    graph: "ModelProto | None" = field(default=None, repr=False)
    criteria: tuple[Criterion, ...] = ()
    faults: tuple[str, ...] = ()

    @classmethod
    def of(cls, precision: Precision) -> "Candidate":
        """Make one of the bundle's own graph."""
        return cls(precision)

    @property
    def name(self) -> str:
        """As trails call it."""
        if self.graph is None:
            return str(self.precision)
        return f"{self.precision} without {', '.join(self.kept) or 'nothing'}"

    @property
    def passed(self) -> bool:
        """Whether it was judged and keeps the gate."""
        return bool(self.criteria) and not self.faults and all(c.passed for c in self.criteria)

    @property
    def agreement(self) -> float | None:
        """With the baseline."""
        return next((line.value for line in self.criteria if line.name == "agreement"), None)

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a trail."""
        return {
            "name": self.name,
            "precision": str(self.precision),
            "given_back_to_float": list(self.kept),
            "plan": None if self.plan is None else self.plan.to_json(),
            "passed": self.passed,
            "faults": list(self.faults),
            "criteria": [line.to_json() for line in self.criteria],
        }


class Workbench:
    """One bundle, free to be written to, one runtime, one set of slices.

    Parameters
    ----------
    request : ParityRequest
        Its bundle is a copy.
    report : callable
        Told what is done.
    """

    def __init__(self, request: ParityRequest, report: Callable[[str], None]) -> None:
        self._request = request
        bundle = open_bundle(request.bundle)
        self._own = bundle.read(GRAPHS[Precision.INT8])
        options = replace(request.runtime, precision=None, engine=None)
        if options.runtime is None:
            options = replace(options, runtime=choose_runtime(bundle, options).installed.name)
        self._options = options
        report(f"loading {request.data}")
        self._slices = load_slices(
            bundle, request.data, request.part, allow_overlap=request.allow_overlap
        )
        predictions = answers_for(bundle, request, self._slices)
        self._baseline = predictions.rows(self._slices.hashes, bundle.labels)
        self._judge = Judge(self._slices, self._baseline, request.gate, request.bootstrap)

    @property
    def runtime(self) -> RuntimeName:
        """What everything runs on."""
        assert self._options.runtime is not None
        return self._options.runtime

    def judge(self, candidate: Candidate) -> Candidate:
        """Hold a candidate against the gate."""
        stage = run_stage(ENGINE, candidate.name, "", self._slices, lambda: self._open(candidate))
        judged = self._judge.judge(stage, self._baseline, candidate.precision)
        return replace(candidate, criteria=judged.criteria, faults=stage.faults)

    def answers(self, candidate: Candidate, inputs: npt.NDArray[np.uint8]) -> FloatRows:
        """Run a candidate over other inputs."""
        with self._open(candidate) as runtime:
            return predict(runtime, inputs)

    def race(self, candidates: Sequence[Candidate]) -> dict[str, float]:
        """Measure candidates side by side, in images a second."""
        with contextlib.ExitStack() as stack:
            runtimes = {each.name: stack.enter_context(self._open(each)) for each in candidates}
            return images_per_second(runtimes, self._slices.inputs)

    def sample(
        self, choose: Callable[[Split], list[LabelledFile]], calibrated: Collection[str]
    ) -> tuple[npt.NDArray[np.uint8], str]:
        """Return inputs to measure sensitivities on, (N, H, W, 1) uint8, and where they are from.

        Of the training split without the calibration sample: what is chosen on the test split
        should not be what is certified on it.
        """
        bundle = open_bundle(self._request.bundle)
        data: Path = self._request.data
        if not has_split(data, "training"):
            files = list(self._slices.files)
            chosen = choose(Split(bundle.labels, tuple(files)))
            places = [files.index(each) for each in chosen]
            where = f"{len(places)} of the test images: the data has no training split"
            return self._slices.inputs[places], where
        split = load_split(data, "training", bundle.labels)
        fresh = tuple(file for file in split.files if file.sha256 not in calibrated)
        chosen = choose(replace(split, files=fresh or split.files))
        images = load_images(
            replace(split, files=tuple(chosen)), bundle.preprocessing, every_class=False
        )
        preprocessor = CpuPreprocessor(bundle.preprocessing)
        inputs = np.stack([preprocessor.equalise(each) for each in images.resized])[..., None]
        what = "not calibrated on" if fresh else "calibrated on too: there are no others"
        return inputs, f"{len(inputs)} training images, {what}"

    def _open(self, candidate: Candidate) -> Runtime:
        bundle = self._with_graph(candidate)
        options = replace(self._options, precision=candidate.precision)
        if self.runtime.on_gpu:
            from neuroscan_edge.runtimes.build import BuildOptions, build_engine

            folder = bundle.folder.parent / "engine"
            build = BuildOptions(self.runtime, candidate.precision, output=folder)
            engine = build_engine(bundle, build, lambda fraction, phase: None)
            options = replace(options, engine=engine.folder)
        return open_choice(bundle, choose_runtime(bundle, options), options)

    def _with_graph(self, candidate: Candidate) -> Bundle:
        bundle = open_bundle(self._request.bundle)
        if candidate.precision is not Precision.INT8:
            return bundle
        graph = candidate.graph
        data = self._own if graph is None else graph.SerializeToString(deterministic=True)
        return write_files(bundle.folder, bundle.manifest, {GRAPHS[Precision.INT8]: data})
