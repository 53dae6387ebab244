import cv2
import numpy as np
import onnx
import pytest

from neuroscan_edge.errors import ExportError
from neuroscan_edge.model.bundle import GRAPHS, MANIFEST, open_bundle, write_files
from neuroscan_edge.model.graph.extra_outputs import outlier_layers, without_outputs
from neuroscan_edge.model.graph.output_names import OUTLIER_SCORE
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Precision, RuntimeName
from support.tiny_models import LABELS, SPEC, activations, tiny_bundle, tiny_graph, tiny_images
from training.fit.run import validation_split
from training.judge.run import JudgingError, JudgingOptions, judge_bundle
from training.recipe.recipe import DataRecipe, Recipe, Stage

OPTIONS = JudgingOptions(layers=("g",), directions=4, augmented_copies=1)


@pytest.fixture(scope="module")
def recipe():
    return Recipe(
        "tiny", (Stage(epochs=1),), data=DataRecipe(validation_fraction=0.25), preprocessing=SPEC
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images sorted into folders by what the tiny classifier says of them."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images = tiny_images(240, seed=11)[..., 0]
    # Unlike one another: near-duplicates are kept on one side of the division.
    images = np.clip(images + rng.normal(0, 25, images.shape), 0, 255).astype(np.uint8)
    prepare = CpuPreprocessor(SPEC)
    shown = np.stack([prepare(each) for each in images])[..., None]
    labels = activations(tiny_graph(), ["l"], shown)["l"].argmax(axis=1)
    # Some are wrong, or no temperature would fit.
    labels[::9] = rng.integers(0, 4, len(labels[::9]))
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / "Training" / LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number:03d}.png"), pixels)
    return root


@pytest.fixture
def bundle(tmp_path, data, recipe):
    made = tiny_bundle(tmp_path / "bundle")
    about = {
        "recipe": recipe.to_json(),
        "training_data": {"split_fingerprint": load_split(data, "training").fingerprint},
    }
    files = {"certificates/onnxruntime-int8-cpu.json": b"{}"}
    return write_files(made.folder, {**made.manifest, **about}, files)


def test_every_graph_gives_a_score_and_the_probabilities_stay(bundle, data, recipe):
    before = {each: bundle.graph(each).data for each in bundle.precisions}
    judged = judge_bundle(bundle, data, recipe, OPTIONS)
    assert judged == open_bundle(bundle.folder)
    for precision, plain in before.items():
        graph = onnx.load_from_string(judged.graph(precision).data)
        assert [layer.tensor for layer in outlier_layers(graph)] == ["j", "g"]
        stripped = without_outputs(graph).SerializeToString(deterministic=True)
        assert stripped == onnx.load_from_string(plain).SerializeToString(deterministic=True)


def test_thresholds_keep_their_coverage_of_what_was_held_out(bundle, data, recipe):
    from neuroscan_edge.parity.evaluation.images import load_images

    judged = judge_bundle(bundle, data, recipe, OPTIONS)
    images = load_images(load_split(data, "training"), SPEC)
    _, held_out = validation_split(images, recipe.data, recipe.seed)
    prepare = CpuPreprocessor(SPEC)
    batch = np.stack([prepare.equalise(each) for each in images.resized[held_out]])[..., None]
    options = RuntimeOptions(Precision.FP32, threads=1, runtime=RuntimeName.ONNXRUNTIME)
    with open_runtime(judged, options) as runtime:
        found = runtime.outputs(batch)
    rules, targets = judged.judging, images.targets[held_out]
    calibrated = rules.calibrated(found.probabilities)
    within = (found.outlier_scores <= 1.0001).mean()
    assert OPTIONS.outlier_coverage - 1.5 / len(batch) <= within < 1
    true_class = calibrated[np.arange(len(targets)), targets]
    assert (true_class >= rules.plausible - 1e-6).mean() >= OPTIONS.class_coverage - 1e-9
    assert (calibrated.max(1) >= rules.least_confidence - 1e-6).mean() >= 0.98
    stated = rules.about["fitted_on"]
    assert stated == {"trained": len(images.targets) - len(held_out), "held_out": len(held_out)}


def test_a_temperature_that_sharpens_is_applied_only_on_request(bundle, data, recipe):
    once = judge_bundle(bundle, data, recipe, OPTIONS)
    softened = once.judging
    assert softened.temperature == max(softened.about["fitted_temperature"], 1.0)
    sharp = judge_bundle(once, data, recipe, JudgingOptions(sharpen=True)).judging
    assert sharp.temperature == pytest.approx(sharp.about["fitted_temperature"])


def test_certificates_of_graphs_without_the_score_are_taken_out(bundle, data, recipe):
    judged = judge_bundle(bundle, data, recipe, OPTIONS)
    assert not [name for name in judged.files if "certificates" in name]
    assert not list((judged.folder / "certificates").iterdir())


def test_judging_again_gives_the_same_bytes(bundle, data, recipe):
    first = judge_bundle(bundle, data, recipe, OPTIONS)
    again = judge_bundle(first, data, recipe, OPTIONS)
    assert dict(again.files) == dict(first.files)
    assert OUTLIER_SCORE in (again.folder / GRAPHS[Precision.FP32]).read_bytes().decode("latin1")


def test_other_data_are_refused(bundle, data, recipe, tmp_path):
    other = tmp_path / "other" / "Training"
    for label in LABELS:
        (other / label).mkdir(parents=True)
        cv2.imwrite(str(other / label / "a.png"), np.zeros((32, 32), np.uint8))
    with pytest.raises(JudgingError, match="give the data it was trained on"):
        judge_bundle(bundle, other.parent, recipe, OPTIONS)


def test_another_recipe_is_refused(bundle, data, recipe):
    other = Recipe("tiny", recipe.stages, seed=1, data=recipe.data, preprocessing=SPEC)
    with pytest.raises(JudgingError, match="seed is 1"):
        judge_bundle(bundle, data, other, OPTIONS)
    assert "judging" not in (bundle.folder / MANIFEST).read_text()


def test_a_layer_that_is_not_there_is_refused(bundle, data, recipe):
    with pytest.raises((JudgingError, ExportError), match="no tensor nowhere"):
        judge_bundle(bundle, data, recipe, JudgingOptions(layers=("nowhere",)))


@pytest.mark.parametrize(
    "wrong",
    [{"outlier_coverage": 1.0}, {"class_coverage": 0.2}, {"directions": 0}],
    ids=lambda each: next(iter(each)),
)
def test_options_outside_their_domain_are_refused(wrong):
    with pytest.raises(JudgingError):
        JudgingOptions(**wrong)
