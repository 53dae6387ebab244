"""Fitting: the schedule, the batches, the baseline, and resuming after a kill."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest

from neuroscan_edge.errors import BundleIntegrityError, DatasetError, ExportError
from neuroscan_edge.model.baseline import card_path, read_baseline
from neuroscan_edge.model.bundle import open_bundle
from neuroscan_edge.model.calibration import CalibrationOptions, calibrate_bundle
from neuroscan_edge.model.export import FP32_TOLERANCE, export_bundle
from neuroscan_edge.parity.evaluation.images import Images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.spec import CalibrationMethod, Precision
from support.fit_runs import fit_command, history
from support.places import ROOT
from training.fit.batches import AugmentedSlices, TrainingBatches, steps_per_epoch
from training.fit.model import BackboneWeights
from training.fit.run import FitOptions, fit, validation_split
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation, DataRecipe, Stage

REPLAY = 2e-2
"""Relative difference of a loss between a resumed and an uninterrupted run."""


def fit_environment() -> dict[str, str]:
    # One thread each: sums are then added up in one order.
    return {**os.environ, "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@pytest.fixture(scope="session")
def fitted(small_data, small_recipe, tmp_path_factory) -> Path:
    """One uninterrupted run of the small recipe."""
    output = tmp_path_factory.mktemp("fitted")
    done = subprocess.run(
        fit_command(small_recipe, small_data, output),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=fit_environment(),
    )
    assert done.returncode == 0, done.stderr
    assert "images/s" in done.stderr and "left" in done.stderr
    return output


@pytest.fixture(scope="session")
def exported(fitted, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "small"
    report = export_bundle(fitted / "small.keras", folder)
    assert report.fp32_difference <= FP32_TOLERANCE
    return folder


@pytest.mark.parametrize("warmup_epochs", [0.0, 0.5])
@pytest.mark.parametrize("final", [0.0, 1e-4])
def test_learning_rate_rises_to_the_peak_and_falls_to_the_end(warmup_epochs, final):
    from training.fit.schedule import learning_rate_schedule

    peak, steps = 1e-3, 40
    stage = Stage(
        epochs=5, learning_rate=peak, final_learning_rate=final, warmup_epochs=warmup_epochs
    )
    schedule = learning_rate_schedule(stage, steps)
    rates = [float(schedule(step)) for step in range(5 * steps + 1)]
    warmup = round(warmup_epochs * steps)
    assert max(rates) == pytest.approx(peak, rel=1e-5)
    assert rates[warmup] == pytest.approx(peak, rel=1e-5)
    assert rates[: warmup + 1] == sorted(rates[: warmup + 1])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert rates[-1] == pytest.approx(final, abs=peak * 1e-6)


def test_batches_depend_on_seed_epoch_and_step_alone(small_recipe):
    recipe = load_recipe(small_recipe)
    changes = {"batch_size": 4, "mixup_alpha": 0.4, "label_smoothing": 0.1}
    recipe = replace(recipe, fit=replace(recipe.fit, **changes))
    rng = np.random.default_rng(0)
    resized = rng.integers(0, 256, (30, 72, 72), np.uint8)
    targets = np.arange(30) % 4

    def batches(epoch: int, first_step: int = 0) -> TrainingBatches:
        draw = AugmentedSlices(resized, targets, recipe, recipe.stages[0])
        return TrainingBatches(draw, targets, 4, recipe, epoch, first_step)

    whole, resumed = batches(1), batches(1, first_step=3)
    assert len(whole) == steps_per_epoch(30, recipe) == 7
    assert len(resumed) == 4
    for one, other in zip(whole[5], resumed[2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (whole[5][0] != batches(2)[5][0]).any()
    images, labels, weights = whole[0]
    assert (images.dtype, images.shape) == (np.uint8, (4, 72, 72, 1))
    np.testing.assert_allclose(labels.sum(axis=1), 1, atol=1e-6)
    assert labels.min() >= 0.1 / 4 - 1e-6
    assert weights.shape == (4,)


@pytest.mark.parametrize(("other_class", "lenders"), [(0.0, {0, 1, 2}), (1.0, {1, 2})])
def test_lenders_are_of_any_class_or_of_the_others(small_recipe, other_class, lenders):
    recipe = load_recipe(small_recipe)
    lending = Augmentation(histogram=1.0, other_class=other_class)
    stage = replace(recipe.stages[0], augmentation=lending, augmentation_strength=1.0)
    # Two levels in each, so that what a histogram match leaves names the class of the lender.
    level = np.array([60, 120, 180], np.uint8)
    targets = np.array([0] * 6 + [1] * 2 + [2] * 2)
    resized = np.zeros((10, 72, 72), np.uint8)
    resized[:, 20:50, 20:50] = level[targets][:, None, None]
    draw = AugmentedSlices(resized, targets, recipe, stage)
    raw = CpuPreprocessor(recipe.preprocessing)
    expected = {bytes(raw.equalise(resized[np.argmax(targets == of)])): of for of in range(3)}
    seen = [expected[bytes(draw(0, np.random.default_rng(seed)))] for seed in range(40)]
    assert set(seen) == lenders
    if other_class:
        assert 10 <= seen.count(1) <= 30, "the other classes lend alike"


def test_rare_classes_weigh_more(small_recipe):
    recipe = load_recipe(small_recipe)
    targets = np.array([0] * 20 + [1] * 5 + [2] * 5 + [3] * 10)
    slices = np.zeros((40, 72, 72), np.uint8)
    draw = AugmentedSlices(slices, targets, recipe, recipe.stages[0])
    batches = TrainingBatches(draw, targets, 4, recipe, 0)
    by_class: dict[int, set[float]] = {}
    for index in range(len(batches)):
        _, labels, weights = batches[index]
        for label, weight in zip(labels.argmax(axis=1), weights, strict=True):
            by_class.setdefault(int(label), set()).add(round(float(weight), 4))
    assert by_class == {0: {0.5}, 1: {2.0}, 2: {2.0}, 3: {1.0}}


@pytest.mark.slow
def test_a_run_leaves_baseline_card_history_metrics_and_curves(fitted):
    names = {path.name for path in fitted.iterdir()}
    assert names == {"small.keras", "small.json", "history.csv", "metrics.json", "curves.png"}
    rows = history(fitted)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["stage"] for row in rows] == [1, 2, 2]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["validation"]["images"] == metrics["images"]["validation"]
    baseline = read_baseline(fitted / "small.keras")
    assert baseline.preprocessing.shape == (72, 72)
    assert baseline.metrics["validation"] == metrics["validation"]
    assert cv2.imread(str(fitted / "curves.png")).shape[1] > 800


@pytest.mark.slow
def test_kernels_of_the_baseline_are_rounded_to_float16(fitted):

    model = keras.models.load_model(fitted / "small.keras", compile=False)
    kernels = [weight for weight in model.get_weights() if weight.ndim >= 2]
    assert kernels
    for kernel in kernels:
        assert kernel.dtype == np.float32
        np.testing.assert_array_equal(kernel, kernel.astype(np.float16).astype(np.float32))
    parameters = sum(kernel.size for kernel in kernels)
    assert (fitted / "small.keras").stat().st_size < 2.4 * parameters


@pytest.mark.slow
def test_a_killed_run_resumes_and_ends_as_an_uninterrupted_one(
    small_data, small_recipe, fitted, tmp_path
):
    whole = history(fitted)
    images = json.loads((fitted / "metrics.json").read_text())["images"]["training"]
    batch = load_recipe(small_recipe).fit.batch_size
    epoch = images // batch * batch
    # In the first stage, and within a later epoch of the second.
    for last in (epoch // 2 // batch * batch, 2 * epoch + 3 * batch):
        command = [sys.executable, str(ROOT / "tests" / "support" / "killed_fit.py")]
        killed = subprocess.run(
            [*command, str(small_recipe), str(small_data), str(tmp_path), str(last)],
            env={**fit_environment(), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        )
        assert killed.returncode == -signal.SIGKILL
        # The step that was killed had not been saved yet.
        with np.load(tmp_path / "state.npz") as saved:
            position = json.loads(str(saved["position"]))
        assert position["epoch"] * epoch + position["step"] * batch == last - batch
    command = fit_command(small_recipe, small_data, tmp_path)
    done = subprocess.run(command, cwd=ROOT, env=fit_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resumed = history(tmp_path)
    assert [row["epoch"] for row in resumed] == [1, 2, 3]
    for one, other in zip(resumed, whole, strict=True):
        # The very batches, in order: what is left is the rounding of sums.
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=REPLAY)
    assert not (tmp_path / "state.npz").exists()


@pytest.mark.slow
def test_another_recipe_does_not_continue_an_unfinished_run(small_data, small_recipe, tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    position = {"recipe_sha256": "0", "stage": 0, "epoch": 0, "step": 1, "best_loss": 1.0}
    np.savez(output / "state.npz", position=np.array(json.dumps(position)))
    done = subprocess.run(
        fit_command(small_recipe, small_data, output), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "another recipe, other data or other initial weights" in done.stderr


@pytest.mark.slow
def test_the_bundle_knows_where_it_comes_from(exported, fitted):
    bundle, baseline = open_bundle(exported), read_baseline(fitted / "small.keras")
    assert bundle.manifest["baseline_sha256"] == baseline.sha256
    assert bundle.preprocessing == baseline.preprocessing
    assert bundle.manifest["training_data"]["counts"]["no_tumor"] == 18
    assert set(bundle.precisions) == {Precision.FP32, Precision.FP16}


@pytest.mark.slow
def test_exporting_twice_gives_the_same_graphs(exported, fitted, tmp_path):
    again = export_bundle(fitted / "small.keras", tmp_path / "again").bundle
    assert again.files == open_bundle(exported).files


@pytest.mark.slow
def test_layers_keep_the_names_keras_gave_them(exported):
    import onnx

    graph = onnx.load_from_string(open_bundle(exported).graph(Precision.FP32).data).graph
    names = {node.name for node in graph.node if node.op_type == "Conv"}
    assert {"block1_conv1/conv", "block2_sepconv1/depthwise", "block2_sepconv1/pointwise"} <= names
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


@pytest.mark.slow
@pytest.mark.parametrize("method", list(CalibrationMethod))
def test_calibration_gives_a_deterministic_int8_graph(exported, small_data, tmp_path, method):
    import shutil

    options = CalibrationOptions(method=method, images=8, seed=2)
    made = []
    for name in ("one", "two"):
        folder = Path(shutil.copytree(exported, tmp_path / name))
        made.append(calibrate_bundle(open_bundle(folder), small_data, options))
    assert made[0].files == made[1].files
    assert Precision.INT8 in made[0].precisions
    table = json.loads(made[0].read("calibration.json"))
    assert table["method"] == str(method)
    assert table["preprocessing_sha256"] == made[0].preprocessing.sha256
    assert sorted(image["label"] for image in table["images"]) == sorted(
        2 * ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"]
    )


@pytest.mark.slow
def test_evaluation_tells_leaked_images_apart(exported, fitted, small_data, tmp_path):
    output = tmp_path / "figures"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "training", "evaluate", fitted / "small.keras", exported),
            *("--data", small_data, "--precision", "fp32", "--output", output),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((output / "evaluation.json").read_text())
    published, leak_free = report["published"], report["leak_free"]
    assert published["small keras"]["images"] == 20
    assert leak_free["small keras"]["images"] == 16
    fp32 = published["small onnxruntime fp32"]
    assert fp32["agreement"] == 1.0
    assert fp32["largest_probability_difference"] <= FP32_TOLERANCE
    assert np.sum(fp32["confusion"]) == 20
    assert "Leak-free part: 16 images" in done.stdout


@pytest.mark.slow
def test_a_baseline_without_card_or_with_another_is_refused(fitted, tmp_path):
    import shutil

    copy = Path(shutil.copy(fitted / "small.keras", tmp_path / "small.keras"))
    with pytest.raises(ExportError, match="small.json does not exist"):
        export_bundle(copy, tmp_path / "bundle")
    card = json.loads(card_path(fitted / "small.keras").read_text())
    card_path(copy).write_text(json.dumps({**card, "sha256": "0" * 64}))
    with pytest.raises(BundleIntegrityError, match="its card names 000"):
        export_bundle(copy, tmp_path / "bundle")


@pytest.mark.slow
def test_a_finished_run_is_not_taken_for_another(small_data, small_recipe, fitted, tmp_path):
    output = Path(shutil.copytree(fitted, tmp_path / "run"))
    recipe = load_recipe(small_recipe)
    options = FitOptions(small_data, output, BackboneWeights("none"))
    assert fit(recipe, options).sha256 == read_baseline(fitted / "small.keras").sha256
    donor = BackboneWeights("baseline", fitted / "small.keras")
    for changed in (
        (recipe, replace(options, weights=donor)),
        (replace(recipe, seed=6), options),
    ):
        with pytest.raises(DatasetError, match="finished run of another recipe"):
            fit(*changed)


def test_a_division_without_a_class_on_one_side_is_refused():
    targets = np.repeat([0, 1], 6)
    # Six slices of the second class are near-duplicates of one another.
    spread = np.arange(6, dtype=np.uint64) * np.uint64(0x0123456789ABCDEF)
    hashes = np.concatenate([spread, np.full(6, 0xFFFF, np.uint64)])
    images = Images(np.zeros((12, 8, 8), np.uint8), targets, hashes, (), ())
    with pytest.raises(DatasetError, match="part has no image of 1 classes"):
        validation_split(images, DataRecipe(validation_fraction=0.5), seed=0)
