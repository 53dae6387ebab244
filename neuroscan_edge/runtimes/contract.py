"""Whether a loaded model's tensors are those that its bundle states."""

from collections.abc import Sequence
from typing import Any

from neuroscan_edge.errors import BundleError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.graph.output_names import HEATMAPS, OUTLIER_SCORE

Tensor = tuple[str, str, list[Any]]
"""Name, dtype, and shape but for the batch, which is open."""


def output_names(bundle: Bundle, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """Check a model's tensors; return its outputs' names, the probabilities' first.

    Parameters
    ----------
    bundle : Bundle
        The contract.
    inputs, outputs : sequence of Tensor
        What the runtime loaded; dtypes as ``uint8`` and ``float32``.

    Raises
    ------
    BundleError
        If they are not those of the bundle, with or without what judging adds.
    """
    height, width = bundle.preprocessing.shape
    classes = len(bundle.labels)
    wanted = [(bundle.input_name, "uint8", [height, width, 1])]
    needed = {bundle.output_name: [classes]}
    if bundle.judging.outliers:
        needed[OUTLIER_SCORE] = []
    given = {name: shape for name, _, shape in outputs}
    # Heatmaps are added on opening, to the graph of any bundle.
    maps = given.pop(HEATMAPS, [classes, 1, 1])
    sound = (
        list(inputs) == wanted
        and given == needed
        and len(maps) == 3
        and maps[0] == classes
        and all(dtype == "float32" for _, dtype, _ in outputs)
    )
    if not sound:
        raise BundleError(
            f"the graph in {bundle.folder} reads {list(inputs)} and gives {list(outputs)}; "
            f"model.json states {wanted} and float32 {needed}: copy or export the bundle again"
        )
    others = [name for name, _, _ in outputs if name != bundle.output_name]
    return [bundle.output_name, *others]
