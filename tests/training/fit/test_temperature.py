"""Temperature scaling: found where it is known, and folded without changing a decision."""

import keras
import numpy as np
import pytest

from training.fit.temperature import fit_temperature, fold_temperature


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true_temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (20_000, 4))
    right = softmax(logits / true_temperature)
    targets = (right.cumsum(axis=1) < rng.random((len(right), 1))).sum(axis=1)
    found = fit_temperature(softmax(logits), targets)
    assert found == pytest.approx(true_temperature, rel=0.03)


def test_folding_divides_the_logits():
    features = keras.Input((6,))
    logits = keras.layers.Dense(3, name="logits", bias_initializer="normal")(features)
    model = keras.Model(features, keras.layers.Softmax()(logits))
    batch = np.random.default_rng(1).normal(0, 1, (50, 6)).astype(np.float32)
    before = model.predict(batch, verbose=0)
    fold_temperature(model, 2.5)
    after = model.predict(batch, verbose=0)
    np.testing.assert_allclose(after, softmax(np.log(before) / 2.5), atol=1e-5)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
