"""A labelled data set that the tiny classifier is always right on, and its bundle."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from onnx import ModelProto, numpy_helper
from typer.testing import CliRunner, Result

from neuroscan_edge.cli.app import app
from neuroscan_edge.model.bundle import GRAPHS, Bundle, new_manifest, write_files
from neuroscan_edge.model.calibration import CalibrationTable, quantize_bundle
from neuroscan_edge.model.graph.quantize import QuantizationPlan, to_fp16
from neuroscan_edge.parity import ladder as ladder_module
from neuroscan_edge.parity.baseline_predictions import PREDICTIONS, record_predictions
from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap
from neuroscan_edge.parity.run import Parity, ParityRequest, run_parity
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeInfo, RuntimeOptions
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Precision, RuntimeName
from support.tiny_models import LABELS, SPEC, activations, observed_ranges, tiny_graph

BASELINE = "5a" * 32
TEST_IMAGES, TRAINING_IMAGES = 60, 24
# Decisions that INT8 rounding could turn would make a sound engine fail by chance.
MARGIN = 0.2
GAIN = 2.0
FEW = Bootstrap(resamples=40)


def blobs(count: int, seed: int) -> np.ndarray:
    """Blobs of many textures and contrasts, (count, 32, 32) uint8."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = rng.uniform(0, 255, (rng.integers(2, 12),) * 2).astype(np.float32)
        smooth = cv2.resize(coarse, (32, 32), interpolation=cv2.INTER_CUBIC)
        smooth = smooth * rng.uniform(0.1, 1) + rng.normal(0, rng.uniform(0, 30), (32, 32))
        images.append(np.clip(smooth, 0, 255).astype(np.uint8))
    return np.stack(images)


def answers(graph: ModelProto, inputs: np.ndarray) -> np.ndarray:
    """Probabilities of a graph, (N, 32, 32, 1) uint8 to (N, 4) float32."""
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": inputs})[0])


def labelled_data(root: Path) -> Path:
    """Sixty test and 24 training images a class, labelled by the FP32 tiny classifier."""
    preprocessor = CpuPreprocessor(SPEC)
    pixels = blobs(1500, seed=1)
    inputs = np.stack([preprocessor(each) for each in pixels])[..., None]
    rows = answers(labelling_graph(), inputs)
    ordered = np.sort(rows, axis=1)
    sure = ordered[:, -1] - ordered[:, -2] > MARGIN
    for label, name in enumerate(LABELS):
        of_class = np.flatnonzero(sure & (rows.argmax(axis=1) == label))
        wanted = TEST_IMAGES + TRAINING_IMAGES
        assert len(of_class) >= wanted, f"{len(of_class)} of {name}"
        for place, index in enumerate(of_class[:wanted]):
            folder = root / ("Testing" if place < TEST_IMAGES else "Training") / name
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{place:03}.png"), pixels[index])
    return root


def labelling_graph() -> ModelProto:
    """The tiny classifier with a head that gives each class a quarter of the blobs.

    The classes are the quadrants of the two directions in which its features vary most.
    """
    model = tiny_graph()
    preprocessor = CpuPreprocessor(SPEC)
    inputs = np.stack([preprocessor(each) for each in blobs(400, seed=2)])[..., None]
    features = activations(model, ["j"], inputs)["j"]
    centre = features.mean(axis=0)
    _, spread, directions = np.linalg.svd(features - centre, full_matrices=False)
    axes = directions[:2] * np.sqrt(len(features)) / spread[:2, None]
    signs = np.array([(1, 1), (1, -1), (-1, 1), (-1, -1)])
    weight = GAIN * (signs @ axes).T
    for tensor in model.graph.initializer:
        for name, values in (("head/w", weight), ("head/b", -centre @ weight)):
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    return model


def parity_bundle(folder: Path, data: Path) -> Bundle:
    """A calibrated bundle in all precisions that carries its baseline's answers."""
    fp32 = labelling_graph()
    manifest = new_manifest(
        name="tiny",
        labels=LABELS,
        preprocessing=SPEC,
        input_name="image",
        output_name="probabilities",
        about={"baseline_sha256": BASELINE, "metrics": {}, "recipe": {}, "training_data": {}},
    )
    graphs = {Precision.FP32: fp32, Precision.FP16: to_fp16(fp32)}
    files = {GRAPHS[key]: graph.SerializeToString() for key, graph in graphs.items()}
    bundle = write_files(folder, manifest, files)
    hashes, inputs = preprocessed(data, "testing")
    predictions = record_predictions(
        BASELINE, SPEC.sha256, LABELS, hashes, inputs, answers(fp32, inputs)
    )
    bundle = write_files(folder, bundle.manifest, {PREDICTIONS: predictions.to_bytes()})
    sampled, training = preprocessed(data, "training")
    table = CalibrationTable(
        ranges=observed_ranges(fp32, training),
        graph_sha256=bundle.files[GRAPHS[Precision.FP32]].sha256,
        preprocessing_sha256=SPEC.sha256,
        options={"method": "minmax", "seed": 0},
        images=tuple((each, LABELS[0]) for each in sampled[:32]),
    )
    return quantize_bundle(bundle, table, QuantizationPlan())


def preprocessed(data: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Hashes of a split's files, and what the model is given: (N, 32, 32, 1) uint8."""
    preprocessor = CpuPreprocessor(SPEC)
    files = load_split(data, split, LABELS).files
    slices = [preprocessor(next(read_scans(each.path)).pixels) for each in files]
    return [each.sha256 for each in files], np.stack(slices)[..., None]


def certify(
    folder: Path, data: Path, precision: Precision = Precision.INT8, **options: object
) -> Parity:
    """Run parity on the bundle's graph in ONNX Runtime."""
    runtime = RuntimeOptions(precision, 1, RuntimeName.ONNXRUNTIME)
    options = {"bootstrap": FEW, **options}
    return run_parity(ParityRequest(folder, data, runtime, **options))


class Answering:
    """A runtime whose answers are another's, changed."""

    def __init__(self, runtime, change):
        self._runtime, self._change = runtime, change

    @property
    def info(self) -> RuntimeInfo:
        return self._runtime.info

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self._runtime.__exit__(*raised)

    def __call__(self, batch):
        return self._change(self._runtime(batch))


def answering(monkeypatch, change) -> None:
    """Let the engine answer otherwise; the graphs before it are as they were."""
    opened = ladder_module.open_choice
    monkeypatch.setattr(ladder_module, "open_choice", lambda *a: Answering(opened(*a), change))


def neuroscan_edge(*arguments: object) -> Result:
    """Run a command in this process: a fresh one would spend its time on imports."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
