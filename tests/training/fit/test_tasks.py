"""Head-only stages: features computed once must give what the whole network gives."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from training.fit.batches import TrainingBatches
from training.fit.memory import (
    MemoryShortageError,
    check_memory,
    container_free_bytes,
    training_memory_bytes,
)
from training.fit.model import (
    BackboneWeights,
    WeightsError,
    build_classifier,
    head_of,
    set_trainable,
)
from training.fit.tasks import is_head_only, stage_task
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation

SIZE = (72, 72)
CLOSE = 1e-5


@pytest.fixture(scope="module")
def recipe(small_recipe):
    loaded = load_recipe(small_recipe)
    model = replace(loaded.model, hidden_dropout=0.0)
    fit = replace(loaded.fit, ema_momentum=None)
    return replace(loaded, model=model, fit=fit, augmentation=Augmentation())


@pytest.fixture(scope="module")
def slices() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, *SIZE), np.uint8)


def compiled(model: keras.Model) -> keras.Model:
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy())
    return model


def test_only_an_unchanging_input_allows_it(recipe):
    head, whole = recipe.stages
    assert is_head_only(recipe, head)
    assert not is_head_only(recipe, whole)
    noisy = replace(recipe, augmentation=Augmentation(noise=1))
    assert not is_head_only(noisy, head)
    assert is_head_only(noisy, replace(head, augmentation_strength=0.0))


@pytest.mark.slow
def test_training_the_head_alone_equals_training_the_frozen_network(recipe, slices):
    stage = replace(recipe.stages[0], image_size=None)
    targets = np.arange(12) % 4
    start = build_classifier(recipe.model, 4, SIZE).get_weights()
    trained = []
    for alone in (True, False):
        model = build_classifier(recipe.model, 4, SIZE)
        model.set_weights(start)
        set_trainable(model, "head")
        # Noise of a ten-thousandth of a grey level: too little to matter, enough to be drawn anew.
        changing = replace(recipe, augmentation=Augmentation(noise=1e-4))
        task = stage_task(model, recipe if alone else changing, stage, slices, targets, slices[:2])
        assert (task.trained is task.model) is not alone
        batches = TrainingBatches(task.draw, targets, 4, recipe, 0)
        compiled(task.trained).fit(batches, verbose=0, shuffle=False)
        trained.append((model.get_weights(), task.trained.predict(task.validation, verbose=0)))
    (first, one), (second, other) = trained
    np.testing.assert_allclose(one, other, atol=CLOSE)
    for before, here, there in zip(start, first, second, strict=True):
        np.testing.assert_allclose(here, there, atol=CLOSE)
        assert before.shape == here.shape
    assert any((before != here).any() for before, here in zip(start, first, strict=True))


@pytest.mark.slow
def test_a_baseline_lends_its_backbone(recipe, tmp_path):
    donor = build_classifier(recipe.model, 4, SIZE)
    path = tmp_path / "donor.keras"
    donor.save(path)
    weights = BackboneWeights.parse(str(path))
    assert weights.to_json().keys() == {"source", "file", "sha256"}
    assert str(tmp_path) not in str(weights.to_json())
    model = build_classifier(recipe.model, 2, SIZE, weights)
    given, taken = head_of(donor)[0].get_weights(), head_of(model)[0].get_weights()
    for one, other in zip(given, taken, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(WeightsError, match="another backbone"):
        build_classifier(replace(recipe.model, backbone="resnet50"), 4, SIZE, weights)


def two_convolutions() -> keras.Model:
    image = keras.Input((8, 8, 1))
    first = keras.layers.Conv2D(4, 3, padding="same", name="first")(image)
    return keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", name="second")(first))


def test_memory_counts_what_the_backward_pass_keeps():
    model = two_convolutions()
    weights = (3 * 3 * 4 + 4) + (3 * 3 * 4 * 2 + 2)
    kept = 8 * 8 * (4 + 2)
    fixed = 4 * 5 * weights
    assert training_memory_bytes(model, 0) == fixed
    assert training_memory_bytes(model, 3) == fixed + 3 * 3 * 4 * kept
    model.get_layer("first").trainable = False
    # Of what only passes, the largest input and output: one plane in, four out.
    passing = 4 * 8 * 8 * (1 + 4)
    assert training_memory_bytes(model, 3) == fixed + 3 * (3 * 4 * 8 * 8 * 2 + passing)


def test_memory_of_a_container_is_its_limit_less_what_cannot_be_given_back(tmp_path):
    names = ("memory.max", "memory.current", "inactive_file")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\nactive_file 9\n")
    assert container_free_bytes(tmp_path, *names) is None
    (tmp_path / "memory.max").write_text("1000\n")
    assert container_free_bytes(tmp_path, *names) == 550
    assert container_free_bytes(tmp_path / "none", *names) is None


def test_layers_that_cannot_be_trained_are_named():
    model = two_convolutions()
    with pytest.raises(WeightsError, match="nearest: 'second'"):
        set_trainable(model, "secund")
    image = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten(name="flat")(keras.layers.Conv2D(2, 3, name="only")(image))
    with pytest.raises(WeightsError, match="nothing from there on has weights"):
        set_trainable(keras.Model(image, flat), "flat")


def test_a_file_that_is_no_baseline_lends_nothing(recipe, tmp_path):
    path = tmp_path / "junk.keras"
    path.write_bytes(b"junk")
    with pytest.raises(WeightsError, match="no baseline of this lab"):
        build_classifier(recipe.model, 4, SIZE, BackboneWeights.parse(str(path)))


def test_a_batch_that_cannot_fit_is_refused_with_one_that_can():
    model = two_convolutions()
    needed = training_memory_bytes(model, 8)
    check_memory(model, 8, available=needed)
    with pytest.raises(MemoryShortageError, match="batch_size 7 or less"):
        check_memory(model, 8, available=needed - 1)
    with pytest.raises(MemoryShortageError, match="reduce image_size"):
        check_memory(model, 8, available=0)
