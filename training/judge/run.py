"""Fitting of what judges a classification, on a recipe's training split and what it held out.

The network saw the one part and not the other: statistics of its features are taken on what it was
trained on, and every threshold is chosen on what it was not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import GRAPHS, KNOWN_ANSWERS, Bundle, write_files
from neuroscan_edge.model.graph.extra_outputs import with_outlier_score, without_outputs
from neuroscan_edge.model.graph.head import find_head
from neuroscan_edge.model.graph.outlier import OutlierLayer, fit_layer, outlier_scores
from neuroscan_edge.model.graph.output_names import OUTLIER_SCORE
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.parity.evaluation.calibration_error import expected_calibration_error
from neuroscan_edge.parity.evaluation.images import Images, load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes.self_test import probe_slices
from neuroscan_edge.scans.dataset import Split, load_split
from neuroscan_edge.spec import Precision
from training.fit.augment import augment
from training.fit.run import validation_split
from training.fit.temperature import fit_temperature
from training.judge.quality import ChosenQuality, choose_quality
from training.recipe.recipe import Recipe
from training.sources.groups import divide, read_held_out
from training.sources.listing import list_sources
from training.sources.pool import load_pool

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

_CHUNK = 16


class JudgingError(NeuroScanError):
    """Judging cannot be fitted: another model's recipe or data."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class JudgingOptions:
    """What to fit, and how many good slices may be referred for it.

    Parameters
    ----------
    layers : tuple of str
        Tensors of the FP32 graph whose features are judged beside the penultimate ones.
    directions : int
        Directions of each layer's covariance that are kept.
    outlier_coverage : float
        Share of the held-out slices that are not out of distribution.
    class_coverage : float
        Share of the held-out slices whose true class is among the plausible ones.
    confidence_coverage : float
        Share of the held-out slices whose confidence is not low.
    augmented_copies : int
        Changed copies of each held-out slice, as the recipe's last stage changes them, on which
        the temperature is fitted too: on plain ones alone it would promise more than other
        scanners keep.
    sharpen : bool
        Whether a temperature below 1 is applied. It makes confidence fit the held-out slices, and
        too high on slices of other scanners: the default leaves such a model as it is.
    """

    layers: tuple[str, ...] = ()
    directions: int = 192
    outlier_coverage: float = 0.95
    class_coverage: float = 0.98
    confidence_coverage: float = 0.98
    augmented_copies: int = 2
    sharpen: bool = False

    def __post_init__(self) -> None:
        for name in ("outlier_coverage", "class_coverage", "confidence_coverage"):
            if not 0.5 <= getattr(self, name) < 1:
                raise JudgingError(f"{name} is {getattr(self, name)}; give 0.5 to below 1")
        if self.directions < 1 or self.augmented_copies < 0:
            raise JudgingError("give at least 1 direction, and 0 or more augmented copies")


@dataclass(frozen=True, slots=True)
class FittedJudging:
    """What was fitted.

    Parameters
    ----------
    rules : Judging
        For the bundle.
    layers : tuple of OutlierLayer
        For its graphs.
    """

    rules: Judging
    layers: tuple[OutlierLayer, ...]


@dataclass(frozen=True, slots=True)
class FurtherSources:
    """Where the other sources of a recipe with a pool are.

    Parameters
    ----------
    extra : Path or None
        Indexed folder.
    study_patients : Path or None
        CSV of the patients of the split folder's images.
    held_out : Path
        List of the images that no network trains on.
    """

    extra: Path | None
    study_patients: Path | None
    held_out: Path


@dataclass(frozen=True, slots=True)
class _FittingData:
    """Slices, and the positions of those trained on and of those held out for validation."""

    images: Images
    trained: npt.NDArray[np.intp]
    held_out: npt.NDArray[np.intp]


def judge_bundle(
    bundle: Bundle,
    data: Path,
    recipe: Recipe,
    options: JudgingOptions | None = None,
    further: FurtherSources | None = None,
) -> Bundle:
    """Fit judging on a bundle's FP32 graph, and put it into all of its graphs and its manifest.

    The thresholds of the input's quality are chosen too.

    Certificates are taken out: they are of graphs without the score.

    Parameters
    ----------
    bundle : Bundle
        With its FP32 graph; it is written again.
    data : Path
        Data set that its baseline was trained on.
    recipe : Recipe
        That its baseline was trained by.
    options : JudgingOptions, optional
        What to fit.
    further : FurtherSources, optional
        For a recipe with a pool: the other sources.

    Raises
    ------
    JudgingError
        If the bundle was made by another recipe or from other data.
    PrecisionNotAvailableError
        If the bundle has no FP32 graph.
    ExportError
        If the graph has another head, or lacks a layer.
    """
    fitted = fit_judging(bundle, data, recipe, options or JudgingOptions(), further)
    rules = with_quality(fitted.rules, choose_quality(data))
    files = {}
    for precision in bundle.precisions:
        graph = onnx.load_from_string(bundle.graph(precision).data)
        judged = with_outlier_score(graph, fitted.layers)
        files[GRAPHS[precision]] = judged.SerializeToString(deterministic=True)
    certificates = [name for name in bundle.files if name.startswith("certificates/")]
    kept = {key: each for key, each in bundle.manifest["files"].items() if key not in certificates}
    manifest = {**bundle.manifest, "files": kept, "judging": rules.to_json()}
    written = write_files(bundle.folder, manifest, files)
    for name in certificates:
        (bundle.folder / name).unlink(missing_ok=True)
    return with_known_answers(written)


def with_known_answers(bundle: Bundle) -> Bundle:
    """State in a bundle what each of its graphs, computed as it is defined, says of the probes."""
    probes = probe_slices(*bundle.preprocessing.shape)
    answers = {}
    for precision in bundle.precisions:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        # Q/DQ pairs in float: the definition, which integer kernels are near.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        session = ort.InferenceSession(
            bundle.graph(precision).data, options, providers=["CPUExecutionProvider"]
        )
        (rows,) = session.run([bundle.output_name], {bundle.input_name: probes})
        answers[str(precision)] = [[round(float(value), 6) for value in row] for row in rows]
    return write_files(bundle.folder, {**bundle.manifest, KNOWN_ANSWERS: answers}, {})


def with_quality(rules: Judging, chosen: ChosenQuality) -> Judging:
    """Add the thresholds of the input's quality, and how they were chosen."""
    stated = chosen.to_json()
    about = {**(rules.about or {}), "quality": stated["quality_chosen"]}
    return replace(rules, quality=stated["quality"], about=about)


def _fitting_data(
    bundle: Bundle, data: Path, recipe: Recipe, further: FurtherSources | None
) -> _FittingData:
    about = bundle.manifest.get("training_data", {})
    if recipe.pool is None:
        split = load_split(data, "training", bundle.labels)
        _check_fingerprint(about, split, data)
        images = load_images(split, bundle.preprocessing)
        return _FittingData(images, *validation_split(images, recipe.data, recipe.seed))
    if further is None:
        raise JudgingError("the model was trained on several sources; give --extra and --held-out")
    listed = list_sources(data, further.extra, further.study_patients)
    loaded = load_pool(listed, recipe.pool, bundle.preprocessing)
    _check_fingerprint(about, loaded.split, data)
    pool = recipe.pool
    parts = divide(
        loaded.files,
        loaded.groups,
        read_held_out(further.held_out),
        pool.left_out,
        pool.validation_share,
    )
    known = loaded.images.targets >= 0
    return _FittingData(
        loaded.images,
        parts.training[known[parts.training]],
        parts.validation[known[parts.validation]],
    )


def _check_fingerprint(about: Mapping[str, Any], split: Split, data: Path) -> None:
    if about.get("split_fingerprint") != split.fingerprint:
        raise JudgingError(
            f"the training data in {data} has fingerprint {split.fingerprint}, the model was "
            f"trained on {about.get('split_fingerprint')}; give the data it was trained on"
        )


def fit_judging(
    bundle: Bundle,
    data: Path,
    recipe: Recipe,
    options: JudgingOptions,
    further: FurtherSources | None = None,
) -> FittedJudging:
    """Fit temperature, thresholds and outlier statistics; see `judge_bundle`."""
    _check_recipe(bundle, recipe)
    fitting = _fitting_data(bundle, data, recipe, further)
    images, trained, held_out = fitting.images, fitting.trained, fitting.held_out
    model = without_outputs(onnx.load_from_string(bundle.graph(Precision.FP32).data))
    tensors = (find_head(model).penultimate, *options.layers)
    observe = _Observer(model, bundle, tensors)
    prepare = CpuPreprocessor(bundle.preprocessing)
    seen = observe(np.stack([prepare.equalise(each) for each in images.resized[trained]]))
    plain = observe(np.stack([prepare.equalise(each) for each in images.resized[held_out]]))
    targets = images.targets[held_out]
    layers = [
        fit_layer(
            name,
            seen.features[name],
            images.targets[trained],
            len(bundle.labels),
            options.directions,
        )
        for name in tensors
    ]
    layers = _scaled(layers, plain.features, options.outlier_coverage)
    changed = [
        observe(_changed(images, held_out, recipe, prepare, copy))
        for copy in range(options.augmented_copies)
    ]
    shown = np.concatenate([plain.probabilities, *(each.probabilities for each in changed)])
    fitted = fit_temperature(shown, np.tile(targets, 1 + len(changed)))
    temperature = fitted if options.sharpen else max(fitted, 1.0)
    calibrated = Judging(temperature).calibrated(plain.probabilities)
    rules = Judging(
        temperature=temperature,
        least_confidence=_lowest(calibrated.max(axis=1), options.confidence_coverage),
        plausible=_lowest(calibrated[np.arange(len(targets)), targets], options.class_coverage),
        outliers=True,
        about={
            "fitted_on": {"trained": len(trained), "held_out": len(held_out)},
            "options": asdict(options),
            "fitted_temperature": fitted,
            "held_out": _shares(calibrated, targets, outlier_scores(layers, plain.features)),
            "calibration_error": {
                "before": expected_calibration_error(targets, plain.probabilities),
                "after": expected_calibration_error(targets, calibrated),
                "at_fitted_temperature": expected_calibration_error(
                    targets, Judging(fitted).calibrated(plain.probabilities)
                ),
            },
        },
    )
    return FittedJudging(rules, tuple(layers))


def _check_recipe(bundle: Bundle, recipe: Recipe) -> None:
    stated = bundle.manifest.get("recipe", {})
    found = recipe.to_json()
    # What decides which slices were held out.
    for key in ("name", "seed", "data", "pool"):
        # Cards of earlier versions know no pool.
        if stated.get(key) != found[key]:
            raise JudgingError(
                f"the recipe's {key} is {found[key]}, the bundle was trained by {stated.get(key)}; "
                "give the recipe it was trained by"
            )


@dataclass(frozen=True, slots=True)
class _Observed:
    """Probabilities (N, C), and by tensor name the features (N, F)."""

    probabilities: Float32
    features: Mapping[str, Float32]


class _Observer:
    """Runs a graph and gives its probabilities and the features of some tensors."""

    def __init__(self, model: onnx.ModelProto, bundle: Bundle, tensors: Sequence[str]) -> None:
        known = {name for node in model.graph.node for name in node.output}
        for name in tensors:
            if name not in known:
                raise JudgingError(f"the graph has no tensor {name}; see neuroscan-edge inspect")
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            model.graph.output.append(value)
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input, self._names = bundle.input_name, [bundle.output_name, *tensors]

    def __call__(self, slices: UInt8) -> _Observed:
        """Observe preprocessed slices, (N, H, W) uint8."""
        parts: list[list[Float32]] = []
        for start in range(0, len(slices), _CHUNK):
            batch = slices[start : start + _CHUNK, ..., None]
            values = self._session.run(self._names, {self._input: batch})
            parts.append([v.mean(axis=(2, 3)) if v.ndim == 4 else v for v in values])
        joined = [np.concatenate(each) for each in zip(*parts, strict=True)]
        return _Observed(joined[0], dict(zip(self._names[1:], joined[1:], strict=True)))


def _scaled(
    layers: Sequence[OutlierLayer], features: Mapping[str, Float32], coverage: float
) -> list[OutlierLayer]:
    """Give the layers like weight, and all together a score of 1 at the coverage's quantile."""
    weighed = []
    for layer in layers:
        distances = np.sqrt(layer.squared_distances(features[layer.tensor]))
        weighed.append(layer.scaled(1 / float(np.quantile(distances, coverage))))
    limit = float(np.quantile(outlier_scores(weighed, features), coverage))
    return [layer.scaled(1 / limit) for layer in weighed]


def _lowest(values: Float32, coverage: float) -> float:
    """Return the value that at least a share `coverage` of values reaches, by split conformal.

    The ``floor((1 - coverage) (N + 1))``-th smallest, 0 where that is none: of new values from the
    same distribution at least that share reaches it.
    """
    rank = int(np.floor((1 - coverage) * (len(values) + 1)))
    return float(np.sort(values)[rank - 1]) if rank else 0.0


def _changed(
    images: Images,
    positions: npt.NDArray[np.intp],
    recipe: Recipe,
    prepare: CpuPreprocessor,
    copy: int,
) -> UInt8:
    augmentation = recipe.augmentation_in(recipe.stages[-1])
    changed = []
    for position in positions:
        rng = np.random.default_rng([recipe.seed, copy, int(position)])
        changed.append(prepare.equalise(augment(images.resized[position], augmentation, rng)))
    return np.stack(changed)


def _shares(
    probabilities: Float32, targets: npt.NDArray[np.int64], scores: npt.NDArray[np.float64]
) -> dict[str, Any]:
    right = probabilities.argmax(axis=1) == targets
    return {"accuracy": float(right.mean()), "median_" + OUTLIER_SCORE: float(np.median(scores))}
