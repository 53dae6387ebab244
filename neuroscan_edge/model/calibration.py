"""Calibration: which activations reach how far, over a seeded sample of the training split."""

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import BundleVersionError, CalibrationError, ScanError
from neuroscan_edge.model.bundle import CALIBRATION, GRAPHS, KNOWN_ANSWERS, Bundle, write_files
from neuroscan_edge.model.graph.equalize import equalization_exponents, equalize, links
from neuroscan_edge.model.graph.extra_outputs import (
    outlier_layers,
    with_outlier_score,
    without_outputs,
)
from neuroscan_edge.model.graph.layer_plan import layer_plan
from neuroscan_edge.model.graph.outlier import OutlierLayer
from neuroscan_edge.model.graph.quantize import QuantizationPlan, quantized_activations, to_int8
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans import read_scans
from neuroscan_edge.scans.dataset import LabelledFile, Split, load_split
from neuroscan_edge.spec import CalibrationMethod, Precision
from neuroscan_edge.system.optional import require

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_SCHEMA = 2
"""1 had no equalization: its readers would apply these ranges to another graph."""
# Every activation of a chunk is held at once: about 60 MB an image for Xception at 224x224.
_CHUNK_IMAGES = 4

Batch = dict[str, npt.NDArray[np.uint8]]
"""Input name to uint8 (N, H, W, 1)."""


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How to calibrate.

    Parameters
    ----------
    method : CalibrationMethod
        How a range is taken from the values seen.
    percentile : float
        For the percentile method: share of absolute values inside the range, in percent.
    images : int
        Sample size; fewer are taken only if the split is smaller.
    seed : int
        Of the sample.
    equalize : bool
        Whether channels are given like ranges first (`neuroscan_edge.model.graph.equalize`).
    """

    method: CalibrationMethod = CalibrationMethod.PERCENTILE
    percentile: float = 99.99
    images: int = 128
    seed: int = 0
    equalize: bool = True

    def __post_init__(self) -> None:
        if self.images < 1:
            raise CalibrationError(f"images is {self.images}; calibrate on at least 1")
        if not 50 < self.percentile <= 100:
            raise CalibrationError(f"percentile is {self.percentile}; give 50 to 100")


@dataclass(frozen=True, slots=True)
class CalibrationTable:
    """Ranges and everything needed to know where they come from.

    Parameters
    ----------
    ranges : mapping of str to (float, float)
        Lowest and highest value of each activation, after equalization.
    graph_sha256 : str
        Of the FP32 graph they belong to, before equalization.
    preprocessing_sha256 : str
        Of the specification the sample went through.
    options : mapping
        Method, percentile, seed.
    images : sequence of (str, str)
        SHA-256 and label of each sampled file.
    equalization : mapping of str to sequence of int
        Power of two of each output channel of each equalized convolution; empty is none.
    """

    ranges: Mapping[str, tuple[float, float]]
    graph_sha256: str
    preprocessing_sha256: str
    options: Mapping[str, Any]
    images: Sequence[tuple[str, str]]
    equalization: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Deterministic JSON."""
        table = {
            "schema": CALIBRATION_SCHEMA,
            "graph_sha256": self.graph_sha256,
            "preprocessing_sha256": self.preprocessing_sha256,
            **self.options,
            "images": [{"sha256": digest, "label": label} for digest, label in self.images],
            "ranges": {name: list(bounds) for name, bounds in self.ranges.items()},
            # As text: a line a layer, not a line a channel.
            "equalization": {
                name: " ".join(map(str, powers)) for name, powers in self.equalization.items()
            },
        }
        return (json.dumps(table, indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "CalibrationTable":
        """Read `to_bytes`.

        Raises
        ------
        CalibrationError
            If the table is malformed.
        BundleVersionError
            If its schema is newer than this version reads.
        """
        try:
            table = json.loads(data)
            schema = table.pop("schema")
            if schema > CALIBRATION_SCHEMA:
                raise BundleVersionError(
                    f"the calibration table has schema {schema}, this version reads up to "
                    f"{CALIBRATION_SCHEMA}; upgrade neuroscan-edge"
                )
            return cls(
                ranges={
                    name: (float(low), float(high))
                    for name, (low, high) in table.pop("ranges").items()
                },
                graph_sha256=table.pop("graph_sha256"),
                preprocessing_sha256=table.pop("preprocessing_sha256"),
                images=tuple((each["sha256"], each["label"]) for each in table.pop("images")),
                equalization={
                    name: tuple(map(int, powers.split()))
                    for name, powers in table.pop("equalization", {}).items()
                },
                options=table,
            )
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise CalibrationError(f"the calibration table is malformed: {error!r}") from error


def read_table(path: Path) -> CalibrationTable:
    """Read a calibration table from a file.

    Raises
    ------
    CalibrationError
        If the file is missing or no calibration table.
    """
    try:
        return CalibrationTable.from_bytes(path.read_bytes())
    except OSError as error:
        raise CalibrationError(
            f'{path} cannot be read ({error.strerror}); make it with "neuroscan-edge calibrate"'
        ) from error


def calibrate_bundle(
    bundle: Bundle,
    data: Path,
    options: CalibrationOptions | None = None,
    plan: QuantizationPlan | None = None,
) -> Bundle:
    """Calibrate a bundle on a training split and add the table and the INT8 graph to it.

    Parameters
    ----------
    bundle : Bundle
        With its FP32 graph.
    data : Path
        Data set folder; its training split is sampled.
    options : CalibrationOptions, optional
        How to calibrate.
    plan : QuantizationPlan, optional
        What to quantise.

    Raises
    ------
    PrecisionNotAvailableError
        If the bundle has no FP32 graph.
    DatasetError
        If the data is not laid out as needed or has unknown classes.
    CalibrationError
        If an image cannot be read or a range is not finite.
    """
    options = options or CalibrationOptions()
    split = load_split(data, "training", bundle.labels)
    table = calibrate(bundle, split, options)
    return quantize_bundle(bundle, table, plan)


def quantize_bundle(
    bundle: Bundle, table: CalibrationTable, plan: QuantizationPlan | None = None
) -> Bundle:
    """Make the INT8 graph from a table that belongs to the bundle's FP32 graph, and add both.

    Raises
    ------
    CalibrationError
        If the table is of another graph or another preprocessing.
    """
    plan = plan or QuantizationPlan()
    int8 = quantized_graph(bundle, table, plan)
    text = table.to_bytes()
    manifest = {**bundle.manifest, "quantization": quantization_record(text, plan, int8)}
    # What the earlier INT8 graph said.
    manifest[KNOWN_ANSWERS] = {
        name: rows
        for name, rows in (bundle.manifest.get(KNOWN_ANSWERS) or {}).items()
        if name != str(Precision.INT8)
    }
    files = {
        CALIBRATION: text,
        GRAPHS[Precision.INT8]: int8.SerializeToString(deterministic=True),
    }
    return write_files(bundle.folder, manifest, files)


def quantized_graph(
    bundle: Bundle, table: CalibrationTable, plan: QuantizationPlan
) -> "ModelProto":
    """Make the INT8 graph of a plan; the bundle stays as it is.

    Raises
    ------
    CalibrationError
        If the table is of another graph or another preprocessing.
    """
    int8 = to_int8(equalized_graph(bundle, table), table.ranges, plan)
    layers = plain_fp32(bundle).layers
    return with_outlier_score(int8, layers) if layers else int8


def equalized_graph(bundle: Bundle, table: CalibrationTable) -> "ModelProto":
    """Return the FP32 graph as a table's ranges apply to it, without what judging adds.

    Raises
    ------
    CalibrationError
        If the table is of another graph or another preprocessing.
    """
    graph = plain_fp32(bundle)
    if table.graph_sha256 != graph.sha256:
        raise CalibrationError(
            f"the table was made for graph {table.graph_sha256}, the bundle holds {graph.sha256}; "
            "calibrate this bundle again"
        )
    if table.preprocessing_sha256 != bundle.preprocessing.sha256:
        raise CalibrationError(
            f"the table was made with preprocessing {table.preprocessing_sha256}, the bundle's is "
            f"{bundle.preprocessing.sha256}; calibrate this bundle again"
        )
    model = graph.model
    return equalize(model, table.equalization) if table.equalization else model


@dataclass(frozen=True, slots=True)
class PlainGraph:
    """The FP32 graph without what judging adds, the SHA-256 of its bytes, and what was added."""

    model: "ModelProto"
    sha256: str
    layers: tuple[OutlierLayer, ...]


def plain_fp32(bundle: Bundle) -> PlainGraph:
    """Return a bundle's FP32 graph as its calibration table knows it."""
    onnx = require("onnx", extra="cpu", why="to make the INT8 graph")
    graph = bundle.graph(Precision.FP32)
    model = onnx.load_from_string(graph.data)
    layers = outlier_layers(model)
    if not layers:
        return PlainGraph(model, graph.sha256, ())
    # A table stays that of the network, whether it was judged before or after.
    plain = without_outputs(model)
    data = plain.SerializeToString(deterministic=True)
    return PlainGraph(plain, hashlib.sha256(data).hexdigest(), layers)


def quantization_record(table: bytes, plan: QuantizationPlan, int8: "ModelProto") -> dict[str, Any]:
    """Say in a manifest how an INT8 graph was made."""
    return {
        "calibration_sha256": hashlib.sha256(table).hexdigest(),
        "plan": plan.to_json(),
        "layers": layer_plan(int8).to_json(),
    }


def calibrate(bundle: Bundle, split: Split, options: CalibrationOptions) -> CalibrationTable:
    """Observe the FP32 graph's activations over a sample of a split."""
    graph = plain_fp32(bundle)
    chosen = stratified_sample(split, options.images, options.seed)
    batches = list(_batches(chosen, CpuPreprocessor(bundle.preprocessing), bundle.input_name))
    model = graph.model
    equalization: dict[str, list[int]] = {}
    if options.equalize:
        equalization = equalization_exponents(model, _channel_reaches(model, batches))
        model = equalize(model, equalization)
    ranges = _observe(model, batches, options)
    stated = {"method": str(options.method), "seed": options.seed}
    if options.method is CalibrationMethod.PERCENTILE:
        stated["percentile"] = options.percentile
    return CalibrationTable(
        ranges=ranges,
        graph_sha256=graph.sha256,
        preprocessing_sha256=bundle.preprocessing.sha256,
        options=stated,
        images=tuple((file.sha256, split.labels[file.label]) for file in chosen),
        equalization=equalization,
    )


def stratified_sample(split: Split, images: int, seed: int) -> list[LabelledFile]:
    """Draw files with each class in its share (largest remainder), at least one of each.

    The draw depends on the files' contents and the seed, not on their names or order.
    """
    by_class = [
        sorted((file for file in split.files if file.label == label), key=lambda file: file.sha256)
        for label in range(len(split.labels))
    ]
    by_class = [files for files in by_class if files]
    images = min(images, len(split.files))
    shares = np.array([len(files) for files in by_class]) * images / len(split.files)
    counts = np.maximum(np.floor(shares).astype(int), 1)
    for index in np.argsort(np.floor(shares) - shares, kind="stable"):
        if counts.sum() < images:
            counts[index] += 1
    while counts.sum() > max(images, len(counts)):
        # One of each class took the sample over its size: the largest share gives way.
        counts[np.argmax(counts)] -= 1
    rng = np.random.default_rng(seed)
    chosen: list[LabelledFile] = []
    for files, count in zip(by_class, counts, strict=True):
        positions = np.sort(rng.permutation(len(files))[:count])
        chosen += [files[position] for position in positions]
    return chosen


def _batches(
    files: Sequence[LabelledFile], preprocessor: CpuPreprocessor, input_name: str
) -> Iterator[Batch]:
    for start in range(0, len(files), _CHUNK_IMAGES):
        slices = []
        for file in files[start : start + _CHUNK_IMAGES]:
            try:
                slices.append(preprocessor(next(read_scans(file.path)).pixels))
            except ScanError as error:
                raise CalibrationError(
                    f"{file.path} cannot be read ({error}); mend or remove it"
                ) from error
        yield {input_name: np.stack(slices)[..., None]}


def _channel_reaches(
    model: "ModelProto", batches: Sequence[Batch]
) -> dict[str, npt.NDArray[np.float32]]:
    """Observe how far each channel of what can be equalized reaches; (C,) by tensor name."""
    onnx = require("onnx", extra="cpu", why="to calibrate")
    onnxruntime = require("onnxruntime", extra="cpu", why="to observe activations")
    names = [link.tensor for link in links(model)]
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    for name in names:
        value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        exposed.graph.output.append(value)
    session = onnxruntime.InferenceSession(
        exposed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    reaches: dict[str, npt.NDArray[np.float32]] = {}
    for batch in batches if names else ():
        for name, values in zip(names, session.run(names, batch), strict=True):
            reach = np.abs(values).max(axis=(0, 2, 3))
            reaches[name] = np.maximum(reaches.get(name, reach), reach)
    return reaches


def _observe(
    model: "ModelProto", batches: Sequence[Batch], options: CalibrationOptions
) -> dict[str, tuple[float, float]]:
    calibration = require(
        "onnxruntime.quantization.calibrate", extra="cpu", why="to observe activations"
    )
    names = quantized_activations(model, QuantizationPlan())
    methods = {
        CalibrationMethod.MINMAX: calibration.CalibrationMethod.MinMax,
        CalibrationMethod.ENTROPY: calibration.CalibrationMethod.Entropy,
        CalibrationMethod.PERCENTILE: calibration.CalibrationMethod.Percentile,
    }
    extra: dict[str, Any] = {"symmetric": True}
    if options.method is CalibrationMethod.PERCENTILE:
        extra |= {"percentile": options.percentile, "num_bins": 2048}

    class Reader(calibration.CalibrationDataReader):  # type: ignore[name-defined,misc]
        """One chunk; the collector holds all activations of a reader at once."""

        def __init__(self, batch: Batch) -> None:
            self._batch: Batch | None = batch

        def get_next(self) -> Batch | None:
            batch, self._batch = self._batch, None
            return batch

    with tempfile.TemporaryDirectory(prefix="neuroscan-") as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        calibrator = calibration.create_calibrator(
            path,
            op_types_to_calibrate=["Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool"],
            augmented_model_path=str(Path(folder) / "augmented.onnx"),
            calibrate_method=methods[options.method],
            extra_options=extra,
        )
        # The collectors report on standard output, which belongs to the caller.
        with contextlib.redirect_stdout(io.StringIO()):
            for batch in batches:
                calibrator.collect_data(Reader(batch))
            observed = calibrator.compute_data()
    ranges: dict[str, tuple[float, float]] = {}
    for name in names:
        low, high = (float(np.asarray(bound).item()) for bound in observed[name].range_value)
        if not (np.isfinite(low) and np.isfinite(high)):
            raise CalibrationError(f"{name} took values that are not finite; check the model")
        ranges[name] = (low, high)
    return ranges
