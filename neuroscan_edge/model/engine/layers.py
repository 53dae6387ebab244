"""What a built engine runs in which precision, against what its graph plans.

TensorRT says so in two forms: the inspector's JSON, which needs a GPU, and the listing that the
builder logs, which does not. A layer's precision is that of its narrowest input.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuroscan_edge.errors import LayerPrecisionError
from neuroscan_edge.model.graph.layer_plan import LayerPlan

_LISTED = re.compile(
    r"^\s*Name: (?P<name>.*?), LayerType: (?P<kind>[^,]+), Inputs: (?P<inputs>\[.*?\])"
    r"(?:, Constants: \[.*?\])?, Outputs: "
)
_DATATYPE = re.compile(r"(?:Format/)?Datatype: ([^,}\]]+)")
_METADATA = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_SERIAL = re.compile(r"_myl\d+_\d+$")
# From narrow to wide, with the words that TensorRT's listings use.
_PRECISIONS = (("int8", ("int8",)), ("fp16", ("half", "fp16")), ("fp32", ("float", "fp32")))
# They move or convert values; a convolution's integers are not computed here.
_NOT_COMPUTE = ("kgen", "reformat", "shape_call", "constant", "quantize", "noop", "shuffle")


@dataclass(frozen=True, slots=True)
class BuiltLayer:
    """One layer of a built engine.

    Parameters
    ----------
    names : tuple of str
        Names of the graph's layers in it, as far as the engine kept them.
    kind : str
        The engine's word for what it is.
    precision : str
        ``int8``, ``fp16``, ``fp32`` or ``other``.
    """

    names: tuple[str, ...]
    kind: str
    precision: str

    @property
    def computes(self) -> bool:
        """Whether it multiplies, rather than moves or converts."""
        return not any(word in self.kind.lower() for word in _NOT_COMPUTE)


@dataclass(frozen=True, slots=True)
class CpuBuild:
    """An engine for a CPU runtime.

    Parameters
    ----------
    files : dict of str to bytes
        The first is what the runtime opens.
    layers : sequence of BuiltLayer
        Its convolutions.
    """

    files: dict[str, bytes]
    layers: Sequence[BuiltLayer]


@dataclass(frozen=True, slots=True)
class FoundLayers:
    """The planned INT8 layers that were found, and those that were not.

    Parameters
    ----------
    planned : int
        INT8 convolutions of the graph.
    found : int
        Of these, how many the engine computes in INT8.
    missing : tuple of str
        The others.
    by_precision : mapping of str to int
        Layers of the engine that compute, by precision.
    """

    planned: int
    found: int
    missing: tuple[str, ...]
    by_precision: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON-ready values."""
        return {
            "int8_planned": self.planned,
            "int8_found": self.found,
            "int8_missing": list(self.missing),
            "computing_layers": dict(sorted(self.by_precision.items())),
        }


def listed_layers(lines: Iterable[str]) -> list[BuiltLayer]:
    """Read the layers from the lines of a builder's log."""
    layers = []
    for line in lines:
        matched = _LISTED.match(line)
        if matched:
            types = _DATATYPE.findall(matched["inputs"])
            names = _graph_names(matched["name"], line.rpartition("Metadata: ")[2])
            layers.append(BuiltLayer(names, matched["kind"], _narrowest(types)))
    return layers


def inspected_layers(information: str) -> list[BuiltLayer]:
    """Read the layers from `EngineInspector.get_engine_information` in JSON.

    An engine built without detailed profiling lists names alone: those give no layers.
    """
    layers = []
    for layer in json.loads(information).get("Layers", ()):
        if not isinstance(layer, dict):
            continue
        inputs = layer.get("Inputs", ())
        types = [str(each.get("Format/Datatype", each.get("Datatype", ""))) for each in inputs]
        names = _graph_names(layer.get("Name", ""), layer.get("Metadata", ""))
        layers.append(BuiltLayer(names, layer.get("LayerType", ""), _narrowest(types)))
    return layers


def compare_layers(plan: LayerPlan, layers: Sequence[BuiltLayer]) -> FoundLayers:
    """Look for every planned INT8 convolution in an engine.

    A layer that the engine renamed cannot be told by name: such layers in INT8 are credited to the
    planned ones that no layer names, one each.
    """
    computing = [layer for layer in layers if layer.computes]
    precisions: dict[str, str] = {}
    for layer in computing:
        precisions.update(dict.fromkeys(layer.names, layer.precision))
    planned = set(plan.int8)
    nameless = sum(
        layer.precision == "int8"
        and planned.isdisjoint(layer.names)
        and not set(plan.others_int8) & set(layer.names)
        and "pool" not in layer.kind.lower()
        for layer in computing
    )
    unseen = [name for name in plan.int8 if name not in precisions]
    wrong = [name for name in plan.int8 if precisions.get(name, "int8") != "int8"]
    missing = wrong + (unseen[nameless:] if nameless < len(unseen) else [])
    return FoundLayers(
        planned=len(plan.int8),
        found=len(plan.int8) - len(missing),
        missing=tuple(missing),
        by_precision=Counter(layer.precision for layer in computing),
    )


def require_planned(found: FoundLayers, what: str) -> None:
    """Refuse an engine that runs fewer layers in INT8 than planned.

    Raises
    ------
    LayerPrecisionError
        Listing those that do not.
    """
    if found.missing:
        raise LayerPrecisionError(
            f"{what} runs {found.found} of {found.planned} planned layers in INT8; not in INT8: "
            f"{', '.join(found.missing)}. Build --precision fp16, or keep these layers in float "
            'with "neuroscan-edge precision --keep-float"'
        )


def _graph_names(name: str, metadata: str) -> tuple[str, ...]:
    """Take an engine layer's name apart: fused layers are joined by `` + ``."""
    parts = [_SERIAL.sub("", part.strip()) for part in name.split(" + ")]
    return tuple(dict.fromkeys([*parts, *_METADATA.findall(metadata)]))


def _narrowest(types: Iterable[str]) -> str:
    stated = [each.lower() for each in types]
    for precision, words in _PRECISIONS:
        if any(word in each for each in stated for word in words):
            return precision
    return "other"
