"""The form of a bundle's graph that a runtime is fastest on."""

from neuroscan_edge.model.bundle import Graph
from neuroscan_edge.model.graph.layer_plan import LayerPlan, layer_plan
from neuroscan_edge.spec import Precision, RuntimeName
from neuroscan_edge.system.optional import require


def graph_for(
    source: Graph, runtime: RuntimeName, *, exact_int8: bool, heatmaps: bool = False
) -> tuple[bytes, LayerPlan]:
    """Return the form of a graph that a runtime is fastest on, and its plan.

    The same graph gives the same bytes on processors of the same kind; see `to_cpu_int8`.
    """
    onnx = require("onnx", extra="cpu", why="to read the graph")
    from neuroscan_edge.model.graph.cpu_form import to_cpu_int8
    from neuroscan_edge.model.graph.gpu_form import to_gpu_int8

    model = onnx.load_from_string(source.data)
    plan = layer_plan(model)
    if heatmaps:
        from neuroscan_edge.model.graph.extra_outputs import with_heatmaps

        model = with_heatmaps(model)
    elif source.precision is not Precision.INT8:
        return source.data, plan
    if source.precision is not Precision.INT8:
        return bytes(model.SerializeToString(deterministic=True)), plan
    if runtime.on_gpu:
        model = to_gpu_int8(model)
    else:
        model = to_cpu_int8(model, runtime, exact_int8=exact_int8)
    return bytes(model.SerializeToString(deterministic=True)), plan
