"""Heatmaps from the graph against the gradient that Keras computes."""

from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest

from neuroscan_edge.model.export import to_onnx
from neuroscan_edge.model.graph.extra_outputs import with_heatmaps
from neuroscan_edge.model.graph.output_names import HEATMAPS
from support.tiny_models import SPEC, tiny_images

LARGEST_DIFFERENCE = 1e-5


@pytest.fixture(scope="module")
def keras_model():
    keras = pytest.importorskip("keras")
    keras.utils.set_random_seed(3)
    layers = keras.layers
    image = keras.Input((32, 32, 1), dtype="uint8", name="image")
    tensor = layers.Rescaling(1 / 255)(image)
    for filters in (8, 16):
        tensor = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(tensor)
    pooled = layers.GlobalAveragePooling2D(name="pooled")(tensor)
    hidden = layers.Dense(24, activation="relu", bias_initializer="random_normal")(pooled)
    logits = layers.Dense(4, name="logits")(hidden)
    return keras.Model(image, layers.Softmax(name="probabilities")(logits))


def grad_cam(model, images):
    """Grad-CAM by automatic differentiation, (N, C, H, W)."""
    import keras
    import tensorflow as tf

    pooled = model.get_layer("pooled")
    both = keras.Model(model.input, [pooled.input, model.get_layer("logits").output])
    maps = []
    for label in range(4):
        with tf.GradientTape() as tape:
            feature_map, logits = both(images)
            tape.watch(feature_map)
            # The head again, on the watched map: the gradient must not begin behind it.
            tensor = feature_map
            for layer in model.layers[model.layers.index(pooled) : -1]:
                tensor = layer(tensor)
            score = tensor[:, label]
        np.testing.assert_allclose(tensor, logits, atol=1e-5)
        weights = tf.reduce_mean(tape.gradient(score, feature_map), axis=(1, 2))
        maps.append(tf.nn.relu(tf.einsum("nhwf,nf->nhw", feature_map, weights)).numpy())
    return np.stack(maps, axis=1)


def test_the_closed_form_is_the_gradients(keras_model):
    images = tiny_images(16, seed=4)
    labels = tuple(f"class {index}" for index in range(keras_model.output_shape[-1]))
    baseline = SimpleNamespace(preprocessing=SPEC, labels=labels)
    graph = with_heatmaps(to_onnx(keras_model, baseline))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run([HEATMAPS], {"image": images})
    expected = grad_cam(keras_model, images)
    assert expected.max() > 100 * LARGEST_DIFFERENCE
    np.testing.assert_allclose(found, expected, atol=LARGEST_DIFFERENCE)
