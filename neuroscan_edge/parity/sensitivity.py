"""How much each layer's INT8 moves the decisions: it alone quantised, all others in float."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.graph.quantize import QuantizationPlan, quantizable_nodes
from neuroscan_edge.parity.baseline_predictions import FloatRows
from neuroscan_edge.parity.evaluation.comparison import kl_divergence

if TYPE_CHECKING:
    from onnx import ModelProto

MOST_UNITS = 24
"""More layers than this are taken block by block: each unit is a graph to run."""

Answer = Callable[[QuantizationPlan], FloatRows]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What INT8 in one unit alone does.

    Parameters
    ----------
    unit : str
        A layer, or a block of layers.
    layers : tuple of str
        Its layers.
    divergence : float
        Mean Kullback-Leibler divergence from the float graph, in nats; infinite where the graph
        answers with no numbers.
    largest_difference : float
        Of any probability.
    """

    unit: str
    layers: tuple[str, ...]
    divergence: float
    largest_difference: float

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a trail."""
        finite = bool(np.isfinite(self.divergence))
        return {
            "unit": self.unit,
            "layers": list(self.layers),
            "mean_kl_divergence": self.divergence if finite else None,
            "largest_probability_difference": self.largest_difference if finite else None,
        }


def units_of(model: "ModelProto", plan: QuantizationPlan) -> dict[str, tuple[str, ...]]:
    """Divide the layers that a plan quantises into units: layers, or blocks where there are many.

    A block is what a layer's name begins with: ``block3`` of ``block3_sepconv1/pointwise``.
    """
    names = [node.name for node in quantizable_nodes(model, plan)]
    if len(names) <= MOST_UNITS:
        return {name: (name,) for name in names}
    units: dict[str, list[str]] = {}
    for name in names:
        units.setdefault(name.split("/")[0].split("_")[0], []).append(name)
    return {unit: tuple(layers) for unit, layers in units.items()}


def measure_sensitivities(
    units: dict[str, tuple[str, ...]],
    plan: QuantizationPlan,
    answer: Answer,
    reference: FloatRows,
) -> list[Sensitivity]:
    """Quantise each unit alone and see how far the answers go; the worst first.

    Parameters
    ----------
    units : dict
        From `units_of`.
    plan : QuantizationPlan
        What is quantised of them.
    answer : callable
        Answers of the graph of a plan, (N, C) float32.
    reference : (N, C) float32
        Answers of the float graph to the same images.
    """
    found = []
    for unit, layers in units.items():
        others = [name for other, each in units.items() if other != unit for name in each]
        rows = answer(replace(plan, keep_float=(*plan.keep_float, *others)))
        found.append(_sensitivity(unit, layers, reference, rows))
    return sorted(found, key=lambda each: -each.divergence)


def _sensitivity(
    unit: str, layers: Sequence[str], reference: FloatRows, rows: npt.NDArray[np.float32]
) -> Sensitivity:
    if not np.isfinite(rows).all():
        return Sensitivity(unit, tuple(layers), float("inf"), float("inf"))
    return Sensitivity(
        unit,
        tuple(layers),
        float(kl_divergence(reference, rows).mean()),
        float(np.abs(reference - rows).max()),
    )
