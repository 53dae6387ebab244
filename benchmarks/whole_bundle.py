"""The default bundle with its FP32 graph, which is left out of the tracked one for size."""

from pathlib import Path

import onnx

from neuroscan_edge.model.bundle import GRAPHS, Bundle, open_bundle, write_files
from neuroscan_edge.model.graph.extra_outputs import outlier_layers, with_outlier_score
from neuroscan_edge.spec import Precision


def export_again(bundle: Bundle, baseline: Path, folder: Path) -> Bundle:
    """Export the baseline once more, for its FP32 graph, or take a folder exported before.

    Judged like the bundle, it must give the bundle's FP16 graph byte for byte: then it is the same
    network.
    """
    if (folder / "model.json").is_file():
        exported = open_bundle(folder)
    else:
        from neuroscan_edge.model.export import export_bundle

        exported = _judged_like(bundle, export_bundle(baseline, folder).bundle)
    if exported.files["model.fp16.onnx"] != bundle.files["model.fp16.onnx"]:
        raise SystemExit(f"{baseline} is not the baseline that {bundle.folder} was exported from")
    return exported


def _judged_like(bundle: Bundle, exported: Bundle) -> Bundle:
    layers = outlier_layers(onnx.load_from_string(bundle.graph(Precision.FP16).data))
    if not layers:
        return exported
    files = {}
    for precision in exported.precisions:
        graph = onnx.load_from_string(exported.graph(precision).data)
        judged = with_outlier_score(graph, layers)
        files[GRAPHS[precision]] = judged.SerializeToString(deterministic=True)
    manifest = {**exported.manifest, "judging": bundle.judging.to_json()}
    return write_files(exported.folder, manifest, files)
