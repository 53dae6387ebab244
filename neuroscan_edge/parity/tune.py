"""Finding the fastest precision that passes the gate: by measuring, not by rule."""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import SpecError
from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, Bundle, open_bundle, write_files
from neuroscan_edge.model.calibration import (
    CalibrationTable,
    equalized_graph,
    quantization_record,
    quantized_graph,
    stratified_sample,
)
from neuroscan_edge.model.graph.quantize import QuantizationPlan
from neuroscan_edge.parity.candidates import Candidate, Workbench
from neuroscan_edge.parity.run import Parity, ParityRequest, run_parity
from neuroscan_edge.parity.sensitivity import Sensitivity, measure_sensitivities, units_of
from neuroscan_edge.spec import Precision

AS_FAST = 0.95
"""A precision this much as fast as another, or more, is as fast: the difference is noise."""

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How to search.

    Parameters
    ----------
    images : int
        Images on which each layer's sensitivity is measured; of the training split, and not of the
        calibration sample.
    max_plans : int
        INT8 plans to try at most.
    seed : int
        Of the sample.
    """

    images: int = 48
    max_plans: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 1 or self.max_plans < 1:
            raise SpecError(
                f"images is {self.images}, max_plans {self.max_plans}; both must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was chosen.

    Parameters
    ----------
    parity : Parity
        Of the chosen precision; its certificate holds the trail.
    precision : Precision
        Chosen.
    reason : str
        Why.
    trail : mapping
        What was tried.
    """

    parity: Parity
    precision: Precision
    reason: str
    trail: Mapping[str, Any] = field(repr=False)


def tune(
    request: ParityRequest, options: TuneOptions | None = None, report: Report = lambda _: None
) -> Tuned:
    """Find the fastest precision and INT8 plan that pass, and certify it.

    If a plan other than the bundle's is chosen, its INT8 graph takes the place of the bundle's.

    Parameters
    ----------
    request : ParityRequest
        What to certify, and how; its precision is ignored.
    options : TuneOptions, optional
        How to search.
    report : callable, optional
        Told what is tried.

    Raises
    ------
    PrecisionNotAvailableError
        If the bundle lacks a graph that is needed: FP32 and FP16, and INT8 to begin with.
    CalibrationError
        If its table belongs to another graph.
    """
    options = options or TuneOptions()
    bundle = open_bundle(request.bundle)
    # Refused now rather than after minutes of measuring.
    for precision in (Precision.FP32, Precision.FP16, Precision.INT8):
        bundle.graph(precision)
    table = CalibrationTable.from_bytes(bundle.read(CALIBRATION))
    equalized_graph(bundle, table)
    with tempfile.TemporaryDirectory(prefix="neuroscan-") as work:
        copied = Path(shutil.copytree(bundle.folder, Path(work) / "bundle"))
        bench = Workbench(replace(request, bundle=copied), report)
        search = _Search(bundle, table, bench, options, report)
        chosen, reason = search.run()
    if chosen.graph is not None:
        _adopt(bundle, table, chosen)
    trail = {**search.trail(), "chosen": {**chosen.to_json(), "reason": reason}}
    precision = chosen.precision
    runtime = replace(request.runtime, runtime=bench.runtime, precision=precision, engine=None)
    parity = run_parity(replace(request, runtime=runtime), trail)
    return Tuned(parity, precision, reason, trail)


class _Search:
    """The search for one bundle on one runtime."""

    def __init__(
        self,
        bundle: Bundle,
        table: CalibrationTable,
        bench: "Workbench",
        options: TuneOptions,
        report: Report,
    ) -> None:
        self._bundle, self._table, self._bench = bundle, table, bench
        self._options, self._report = options, report
        self._plan = _stated_plan(bundle)
        self._tried: list[Candidate] = []
        self._sensitivities: list[Sensitivity] = []
        self._speeds: list[dict[str, float]] = []
        self._sample = "none was needed"

    def run(self) -> tuple[Candidate, str]:
        """Return what to use, and why."""
        fp16 = self._try(Candidate.of(Precision.FP16))
        int8 = self._try(Candidate.of(Precision.INT8))
        speeds = self._race(fp16, int8)
        if fp16.passed and int8.agreement is None:
            return fp16, "FP16 passes, and INT8 gives no answers on this runtime"
        if fp16.passed and speeds[fp16.name] >= AS_FAST * speeds[int8.name]:
            return fp16, (
                f"FP16 passes and is as fast as INT8 on this runtime: "
                f"{speeds[fp16.name]:.1f} and {speeds[int8.name]:.1f} images/s"
            )
        if int8.passed:
            return int8, (
                f"INT8 as it is passes, and is faster than FP16: "
                f"{speeds[int8.name]:.1f} and {speeds[fp16.name]:.1f} images/s"
            )
        found = self._mixed()
        if found is None:
            return fp16, (
                f"no INT8 plan of the {len(self._tried) - 2} tried passes"
                + ("" if fp16.passed else ", nor does FP16")
            )
        speeds = self._race(fp16, found)
        kept = ", ".join(found.kept) or "nothing"
        if fp16.passed and speeds[fp16.name] >= AS_FAST * speeds[found.name]:
            return fp16, (
                f"INT8 passes with {kept} given back to float, but FP16 is as fast: "
                f"{speeds[fp16.name]:.1f} and {speeds[found.name]:.1f} images/s"
            )
        return found, (
            f"INT8 passes with {kept} given back to float, and is faster than FP16: "
            f"{speeds[found.name]:.1f} and {speeds[fp16.name]:.1f} images/s"
        )

    def trail(self) -> dict[str, Any]:
        """Say what was tried, in order."""
        return {
            "runtime": str(self._bench.runtime),
            "as_fast_from": AS_FAST,
            "sensitivity_images": self._sample,
            "sensitivities": [each.to_json() for each in self._sensitivities],
            "tried": [each.to_json() for each in self._tried],
            "images_per_s": self._speeds,
        }

    def _mixed(self) -> Candidate | None:
        """Give the worst units back until the gate is passed, then take back what was not needed.

        Of the plans that pass, the fastest measured is returned.
        """
        self._measure()
        kept: list[Sensitivity] = []
        passing: list[Candidate] = []
        for worst in self._sensitivities:
            if len(self._tried) - 2 >= self._options.max_plans or passing:
                break
            kept.append(worst)
            candidate = self._try_keeping(kept)
            if candidate.passed:
                passing.append(candidate)
        if not passing:
            return None
        # The last one given back made it pass; of the others, the least sensitive first.
        for each in reversed(kept[:-1]):
            if len(self._tried) - 2 >= self._options.max_plans:
                break
            fewer = [other for other in kept if other is not each]
            candidate = self._try_keeping(fewer)
            if candidate.passed:
                passing.append(candidate)
                kept = fewer
        if len(passing) == 1:
            return passing[0]
        # Fewer float layers are not always faster: each may break a chain of integers.
        speeds = self._race(*passing[-3:])
        return max(passing[-3:], key=lambda each: speeds[each.name])

    def _try_keeping(self, units: list[Sensitivity]) -> Candidate:
        layers = tuple(layer for unit in units for layer in unit.layers)
        plan = replace(self._plan, keep_float=(*self._plan.keep_float, *layers))
        graph = quantized_graph(self._bundle, self._table, plan)
        names = tuple(unit.unit for unit in units)
        return self._try(Candidate(Precision.INT8, names, plan, graph))

    def _try(self, candidate: Candidate) -> Candidate:
        judged = self._bench.judge(candidate)
        self._tried.append(judged)
        agreement = "no answers" if judged.agreement is None else f"{judged.agreement:.4f}"
        self._report(f"{judged.name}: {'passes' if judged.passed else 'fails'} ({agreement})")
        return judged

    def _race(self, *candidates: Candidate) -> dict[str, float]:
        # What gave no answers would give none here either, and end the search.
        runnable = [each for each in candidates if each.agreement is not None]
        speeds = self._bench.race(runnable) if runnable else {}
        self._speeds.append(speeds)
        return {each.name: speeds.get(each.name, 0.0) for each in candidates}

    def _measure(self) -> None:
        model = equalized_graph(self._bundle, self._table)
        units = units_of(model, self._plan)
        inputs, self._sample = self._bench.sample(
            lambda split: stratified_sample(split, self._options.images, self._options.seed),
            {digest for digest, _ in self._table.images},
        )
        self._report(f"measuring {len(units)} units on {len(inputs)} images")
        self._sensitivities = measure_sensitivities(
            units,
            self._plan,
            lambda plan: self._bench.answers(
                Candidate(
                    Precision.INT8, (), plan, quantized_graph(self._bundle, self._table, plan)
                ),
                inputs,
            ),
            self._bench.answers(Candidate.of(Precision.FP32), inputs),
        )


def _stated_plan(bundle: Bundle) -> QuantizationPlan:
    stated = bundle.manifest.get("quantization", {}).get("plan")
    if stated is None:
        return QuantizationPlan()
    return QuantizationPlan(
        tuple(stated["operators"]), bool(stated["depthwise"]), tuple(stated["keep_float"])
    )


def _adopt(bundle: Bundle, table: CalibrationTable, chosen: Candidate) -> None:
    """Put the INT8 graph of a plan into the bundle."""
    assert chosen.graph is not None and chosen.plan is not None
    text = table.to_bytes()
    record = quantization_record(text, chosen.plan, chosen.graph)
    files = {
        CALIBRATION: text,
        GRAPHS[Precision.INT8]: chosen.graph.SerializeToString(deterministic=True),
    }
    write_files(bundle.folder, {**bundle.manifest, "quantization": record}, files)
