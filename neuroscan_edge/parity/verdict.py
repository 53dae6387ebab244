"""From judged stages to a verdict, with its reasons."""

from collections.abc import Sequence

from neuroscan_edge.parity.certificate import Verdict
from neuroscan_edge.parity.gate import Gate, refusals
from neuroscan_edge.parity.slices import LabelledSlices
from neuroscan_edge.parity.stages import JudgedStage


def decide(
    gate: Gate, slices: LabelledSlices, judged: Sequence[JudgedStage]
) -> tuple[Verdict, str | None, list[str], list[str]]:
    """Decide: faults fail whatever the figures are; figures fail if there are images to say so."""
    engine = judged[-1]
    files = len(slices.files) + slices.left_out + len(slices.unreadable)
    refused = list(refusals(gate, slices.counts, len(slices.unreadable), files))
    failing = next((each for each in judged if each.status == "failed"), None)
    faulty = [each for each in judged if each.stage.faults]
    notes = [
        f"the {each.stage.name} stage departs further from the baseline than the gate allows, the "
        "engine does not: integer kernels and float between them round differently"
        for each in judged[:-1]
        if each.status == "failed" and not each.stage.faults and engine.status != "failed"
    ]
    if slices.overlap:
        notes.append(f"{slices.overlap} images are of the calibration sample, by --allow-overlap")
    if not faulty and engine.status != "failed":
        verdict = Verdict.CANNOT_CERTIFY if refused else Verdict.PASSED
        return verdict, None, refused, notes
    assert failing is not None
    reasons = [f"{each.stage.name}: {fault}" for each in faulty for fault in each.stage.faults]
    reasons += [
        f"{engine.stage.name}: {line.name.replace('_', ' ')} is "
        f"{'not defined' if line.value is None else format(line.value, '.4f')}, the gate asks for "
        f"{'at least' if line.at_least else 'at most'} {line.limit:g}"
        for line in engine.criteria
        if not line.passed
    ]
    if refused and not faulty and not _surely(engine, gate):
        return Verdict.CANNOT_CERTIFY, failing.stage.name, [*refused, *reasons], notes
    return Verdict.FAILED, failing.stage.name, [*reasons, *refused], notes


def _surely(engine: JudgedStage, gate: Gate) -> bool:
    """Whether even few images leave no doubt: agreement's whole interval is below its limit."""
    if engine.comparison is None:
        return True
    interval = engine.comparison["agreement"]["interval"]
    limit = next(line.limit for line in engine.criteria if line.name == "agreement")
    return interval is not None and interval[1] < limit
