"""A small classifier with every structure the precision passes care about, and bundles of it."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper, numpy_helper

from neuroscan_edge.model.bundle import GRAPHS, Bundle, new_manifest, write_files
from neuroscan_edge.model.calibration import CalibrationTable, quantize_bundle
from neuroscan_edge.model.graph.quantize import (
    QuantizationPlan,
    quantized_activations,
    to_fp16,
    to_int8,
)
from neuroscan_edge.spec import Precision, Preprocessing

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=32, width=32, tile_grid=(4, 4))


def tiny_graph(seed: int = 0) -> ModelProto:
    """Uint8 (N, 32, 32, 1) to probabilities (N, 4): convolutions, a residual, pooling, a head."""
    rng = np.random.default_rng(seed)
    weights = {
        "unit": np.float32(1 / 255),
        "stem/w": rng.normal(0, 0.6, (8, 1, 3, 3)),
        "stem/b": rng.normal(0, 0.3, 8),
        "depthwise/w": rng.normal(0, 0.5, (8, 1, 3, 3)),
        "pointwise/w": rng.normal(0, 0.4, (8, 8, 1, 1)),
        "pointwise/b": rng.normal(0, 0.3, 8),
        "head/w": rng.normal(0, 1.5, (8, 4)),
        "head/b": rng.normal(0, 0.1, 4),
    }
    same = {"pads": [1, 1, 1, 1]}
    make = helper.make_node
    nodes = [
        make("Cast", ["image"], ["real"], name="cast", to=TensorProto.FLOAT),
        make("Mul", ["real", "unit"], ["scaled"], name="scale"),
        make("Transpose", ["scaled"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        make("Conv", ["planes", "stem/w", "stem/b"], ["a"], name="stem", strides=[2, 2], **same),
        make("Relu", ["a"], ["b"], name="stem_relu"),
        make("Conv", ["b", "depthwise/w"], ["c"], name="depthwise", group=8, **same),
        make("Conv", ["c", "pointwise/w", "pointwise/b"], ["d"], name="pointwise"),
        make("Add", ["d", "b"], ["e"], name="residual"),
        make("Relu", ["e"], ["f"], name="block_relu"),
        make("Conv", ["f", "pointwise/w", "pointwise/b"], ["f2"], name="pointwise_again"),
        make("Add", ["e", "f2"], ["g"], name="residual_again"),
        make("MaxPool", ["g"], ["h"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        make("GlobalAveragePool", ["h"], ["i"], name="mean"),
        make("Flatten", ["i"], ["j"], name="flatten"),
        make("MatMul", ["j", "head/w"], ["k"], name="head"),
        make("Add", ["k", "head/b"], ["l"], name="head_bias"),
        make("Softmax", ["l"], ["probabilities"], name="softmax"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 32, 32, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 4])],
        [
            numpy_helper.from_array(np.asarray(value, np.float32), name)
            for name, value in weights.items()
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    _centre_logits(model)
    return model


def _centre_logits(model: ModelProto) -> None:
    """Set the head's bias so that each class wins on some images."""
    logits = activations(model, ["k"], tiny_images(32))["k"]
    bias = next(each for each in model.graph.initializer if each.name == "head/b")
    bias.CopyFrom(numpy_helper.from_array(-logits.mean(axis=0), "head/b"))


def tiny_images(count: int, seed: int = 0) -> np.ndarray:
    """Smooth blobs of varied brightness, (count, 32, 32, 1) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0, 255, (count, 4, 4)) * rng.uniform(0.1, 1, (count, 1, 1))
    fine = coarse.repeat(8, axis=1).repeat(8, axis=2) + rng.normal(0, 8, (count, 32, 32))
    return np.clip(fine, 0, 255).astype(np.uint8)[..., None]


def observed_ranges(model: ModelProto, images: np.ndarray) -> dict[str, tuple[float, float]]:
    """Minimum and maximum of every activation a plan quantises."""
    names = quantized_activations(model, QuantizationPlan())
    values = activations(model, names, images)
    return {name: (float(value.min()), float(value.max())) for name, value in values.items()}


def activations(model: ModelProto, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Values of named tensors over a batch."""
    probe = ModelProto.FromString(model.SerializeToString())
    probe.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = ort.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def tiny_bundle(folder: Path, seed: int = 0) -> Bundle:
    """A bundle of the tiny classifier in all three precisions."""
    fp32 = tiny_graph(seed)
    int8 = to_int8(fp32, observed_ranges(fp32, tiny_images(32)), QuantizationPlan())
    manifest = new_manifest(
        name="tiny",
        labels=LABELS,
        preprocessing=SPEC,
        input_name="image",
        output_name="probabilities",
        about={"metrics": {}, "recipe": {}, "training_data": {}},
    )
    graphs = {Precision.FP32: fp32, Precision.FP16: to_fp16(fp32), Precision.INT8: int8}
    files = {GRAPHS[key]: graph.SerializeToString() for key, graph in graphs.items()}
    return write_files(folder, manifest, files)


def calibrated_bundle(folder: Path, plan: QuantizationPlan | None = None) -> Bundle:
    """The tiny bundle with its calibration table, as `neuroscan-edge calibrate` leaves it."""
    bundle = tiny_bundle(folder)
    table = CalibrationTable(
        ranges=observed_ranges(tiny_graph(), tiny_images(32)),
        graph_sha256=bundle.files[GRAPHS[Precision.FP32]].sha256,
        preprocessing_sha256=bundle.preprocessing.sha256,
        options={"method": "minmax", "seed": 0},
        images=((64 * "0", LABELS[0]),),
    )
    return quantize_bundle(bundle, table, plan)
