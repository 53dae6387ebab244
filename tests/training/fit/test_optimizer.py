"""Discriminative rates: each variable moves by its share."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from training.fit.model import build_classifier, set_trainable
from training.fit.optimizer import DiscriminativeAdam, layer_rates, stage_optimizer
from training.recipe.loading import load_recipe

SIZE = (71, 71)


@pytest.fixture(scope="module")
def recipe(small_recipe):
    return load_recipe(small_recipe)


@pytest.fixture
def model(recipe) -> keras.Model:
    return build_classifier(recipe.model, 4, SIZE)


def test_rates_rise_from_the_input_to_the_head(model):
    rates = layer_rates(model, 0.01)
    by_layer = [rates[layer.weights[0].path] for layer in model.layers if layer.weights]
    assert by_layer == sorted(by_layer)
    assert by_layer[0] == pytest.approx(0.01)
    assert by_layer[-2:] == [1.0, 1.0], "hidden and logits are the head"
    assert by_layer[-3] < 1
    ratios = np.diff(np.log(by_layer[:-2]))
    np.testing.assert_allclose(ratios, ratios[0])


def test_a_variable_moves_by_its_share():
    slow, fast = (keras.Variable(np.ones(3, np.float32), name=name) for name in ("slow", "fast"))
    optimizer = DiscriminativeAdam(0.1, {slow.path: 0.25, fast.path: 1.0})
    optimizer.build([slow, fast])
    gradient = keras.ops.ones(3)
    for _ in range(3):
        optimizer.apply([gradient, gradient])
    # Under a constant gradient Adam moves by its rate.
    np.testing.assert_allclose(1 - np.asarray(fast), 0.3, rtol=1e-3)
    np.testing.assert_allclose(1 - np.asarray(slow), 0.075, rtol=1e-3)


@pytest.mark.slow
def test_a_stage_trains_with_its_rates(recipe, model):
    stage = replace(recipe.stages[1], learning_rate=1e-3, warmup_epochs=0.0, input_rate=1e-3)
    set_trainable(model, "all")
    optimizer = stage_optimizer(model, stage, recipe.fit, steps=10)
    assert isinstance(optimizer, DiscriminativeAdam)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy())
    before = [np.asarray(variable).copy() for variable in model.trainable_variables]
    slices = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 1), np.uint8)
    model.train_on_batch(slices, np.eye(4))
    moved = [
        np.abs(np.asarray(variable) - old).max()
        for variable, old in zip(model.trainable_variables, before, strict=True)
    ]
    # The first step of Adam moves every weight by its rate.
    assert moved[0] == pytest.approx(1e-6, rel=0.1)
    assert moved[-1] == pytest.approx(1e-3, rel=0.1)
    plain = stage_optimizer(model, recipe.stages[1], recipe.fit, steps=10)
    assert type(plain) is keras.optimizers.Adam
