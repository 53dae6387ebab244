"""The default bundle with its FP32 graph, which is left out of the tracked one for size."""

from pathlib import Path

from neuroscan_edge.bundle import Bundle, open_bundle


def export_again(bundle: Bundle, baseline: Path, folder: Path) -> Bundle:
    """Export the baseline once more, for its FP32 graph, or take a folder exported before.

    It must give the bundle's FP16 graph byte for byte: then it is the same network.
    """
    if (folder / "model.json").is_file():
        exported = open_bundle(folder)
    else:
        from neuroscan_edge.export import export_bundle

        exported = export_bundle(baseline, folder).bundle
    if exported.files["model.fp16.onnx"] != bundle.files["model.fp16.onnx"]:
        raise SystemExit(f"{baseline} is not the baseline that {bundle.folder} was exported from")
    return exported
