"""Two records side by side: ratios with intervals, and what makes them hard to compare."""

from dataclasses import dataclass

import numpy as np

from neuroscan_edge.bench.harness import Verdict
from neuroscan_edge.bench.record import BenchRecord, BenchRecordError
from neuroscan_edge.bench.statistics import Interval, percentile, ratio_interval

_SAME_MACHINE = ("platform", "cpu", "instruction_sets", "cores", "gpus", "driver")


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure of two records.

    Parameters
    ----------
    name : str
        Scenario, scope and what is compared.
    first, second : float
        In `unit`.
    unit : str
        ``ms`` or ``slices/s``.
    ratio : Interval or None
        second / first with its 95 % interval; None where there is too little to resample.
    """

    name: str
    first: float
    second: float
    unit: str
    ratio: Interval | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Parameters
    ----------
    ratios : tuple of Ratio
        Of every figure that both records have.
    warnings : tuple of str
        Why the ratios may mislead.
    """

    ratios: tuple[Ratio, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"warning: {each}" for each in self.warnings]
        for each in self.ratios:
            line = f"{each.name}: {each.first:.4g} -> {each.second:.4g} {each.unit}"
            if each.ratio is not None:
                found = each.ratio
                line += f", x {found.value:.3f} (95 %: {found.low:.3f} to {found.high:.3f})"
            lines.append(line)
        return "\n".join(lines)


def compare(first: BenchRecord, second: BenchRecord) -> Comparison:
    """Compare the second record with the first, scenario by scenario.

    The interval of a ratio says how far it moves within these two runs. It does not hold what
    differs between runs, so a record from the same run is worth more than a narrow interval.

    Raises
    ------
    BenchRecordError
        If they have no figure in common.
    """
    ratios = []
    for section in first.content["scenarios"]:
        other = second.scenario(section["scenario"], section["scope"])
        if other is None:
            continue
        name = f"{section['scenario']} ({section['scope']})"
        if section["samples_per_query"]:
            ratios += _latencies(name, section, other)
        else:
            ratios += _throughputs(name, section, other)
    if not ratios:
        raise BenchRecordError(
            f"the records have no figure in common: the first has {_figures(first)}, the second "
            f"{_figures(second)}; measure the same scenario and scope in both"
        )
    return Comparison(tuple(ratios), tuple(_warnings(first, second)))


def _figures(record: BenchRecord) -> str:
    """Name what a record has measured."""
    names = [
        f"{each['scenario']} ({each['scope']})"
        for each in record.content["scenarios"]
        if each["windows"] or each.get("latencies_ms")
    ]
    return ", ".join(names) or "none"


def _latencies(name: str, section: dict[str, object], other: dict[str, object]) -> list[Ratio]:
    one, two = section.get("latencies_ms"), other.get("latencies_ms")
    if not isinstance(one, list) or not isinstance(two, list) or not one or not two:
        return []
    found = []
    for label, share in (("p50", 0.5), (_claimed(section), _share(section))):

        def at(values: np.ndarray, share: float = share) -> float:
            return percentile(values, share)

        ratio = ratio_interval(two, one, at)
        found.append(Ratio(f"{name} {label}", at(np.array(one)), at(np.array(two)), "ms", ratio))
    return found


def _throughputs(name: str, section: dict[str, object], other: dict[str, object]) -> list[Ratio]:
    one, two = section.get("windows"), other.get("windows")
    if not isinstance(one, list) or not isinstance(two, list) or not one or not two:
        return []

    def middle(values: np.ndarray) -> float:
        return float(np.median(values))

    ratio = ratio_interval(two, one, middle) if min(len(one), len(two)) > 1 else None
    return [Ratio(name, middle(np.array(one)), middle(np.array(two)), "slices/s", ratio)]


def _share(section: dict[str, object]) -> float:
    latency = section["latency_ms"]
    assert isinstance(latency, dict)
    return float(latency["percentile"])


def _claimed(section: dict[str, object]) -> str:
    return f"p{100 * _share(section):.0f}"


def _warnings(first: BenchRecord, second: BenchRecord) -> list[str]:
    warnings = []
    one, two = first.content["machine"], second.content["machine"]
    differing = [name for name in _SAME_MACHINE if one.get(name) != two.get(name)]
    if differing:
        told = "; ".join(f"{name}: {one.get(name)} and {two.get(name)}" for name in differing)
        warnings.append(f"the records are of different machines ({told})")
    for label, record in (("first", first), ("second", second)):
        if record.verdict is not Verdict.VALID:
            why = "; ".join(record.reasons)
            warnings.append(f"the {label} record is {record.verdict}: {why}")
    kinds = [each.content["input"]["kind"] for each in (first, second)]
    if kinds[0] != kinds[1]:
        warnings.append(f"the inputs differ: {kinds[0]} and {kinds[1]}")
    return warnings
