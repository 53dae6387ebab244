"""Faults that are planted in the graphs of a bundle."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

from neuroscan_edge.model.bundle import GRAPHS, open_bundle, write_files
from neuroscan_edge.spec import Precision


def replace_graph(folder: Path, precision: Precision, model: ModelProto) -> None:
    bundle = open_bundle(folder)
    write_files(folder, bundle.manifest, {GRAPHS[precision]: model.SerializeToString()})


def edited(*precisions: Precision, **tensors: Callable[[np.ndarray], np.ndarray]):
    """Plant a fault in named tensors of graphs; names are written with __ for /."""

    def plant(folder: Path) -> None:
        for precision in precisions or (Precision.INT8,):
            model = onnx.load_from_string(open_bundle(folder).graph(precision).data)
            touched = 0
            for tensor in model.graph.initializer:
                change = tensors.get(tensor.name.replace("/", "__"))
                if change is not None:
                    values = change(numpy_helper.to_array(tensor))
                    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
                    touched += 1
            assert touched == len(tensors)
            replace_graph(folder, precision, model)

    return plant


def biases_dropped(folder: Path) -> None:
    biases = {name: np.zeros_like for name in ("stem__b", "pointwise__b")}
    edited(**biases)(folder)
