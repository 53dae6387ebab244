"""The tiny classifier with judging's outputs, and bundles of it."""

from pathlib import Path

import numpy as np
from onnx import ModelProto

from neuroscan_edge.model.bundle import GRAPHS, Bundle, write_files
from neuroscan_edge.model.graph.extra_outputs import with_outlier_score
from neuroscan_edge.model.graph.outlier import OutlierLayer, fit_layer, outlier_scores
from neuroscan_edge.model.judging import Judging
from support.tiny_models import SPEC, activations, tiny_bundle, tiny_graph, tiny_images

POOLED, MAP = "j", "g"
SIZE = SPEC.shape


def features_of(model: ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """Features of both layers, (N, F) each."""
    values = activations(model, [POOLED, MAP], images)
    return {POOLED: values[POOLED], MAP: values[MAP].mean(axis=(2, 3))}


def tiny_layers(model: ModelProto | None = None) -> list[OutlierLayer]:
    """Statistics of the tiny classifier, scaled so that 9 in 10 of its images score below 1."""
    model = model or tiny_graph()
    images = tiny_images(80)
    targets = activations(model, ["l"], images)["l"].argmax(axis=1)
    features = features_of(model, images)
    layers = [fit_layer(name, values, targets, 4, 3) for name, values in features.items()]
    factor = 1 / np.quantile(outlier_scores(layers, features), 0.9)
    return [layer.scaled(float(factor)) for layer in layers]


def judged_bundle(folder: Path, rules: Judging | None = None) -> Bundle:
    """A tiny bundle whose graphs give outlier scores."""
    from onnx import load_from_string

    bundle = tiny_bundle(folder)
    layers = tiny_layers()
    files = {}
    for precision, name in GRAPHS.items():
        judged = with_outlier_score(load_from_string(bundle.graph(precision).data), layers)
        files[name] = judged.SerializeToString(deterministic=True)
    rules = rules or Judging(outliers=True)
    return write_files(folder, {**bundle.manifest, "judging": rules.to_json()}, files)
