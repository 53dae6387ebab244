"""Temperature scaling: one number that makes stated probabilities match how often they are right.

After Guo et al., "On calibration of modern neural networks" (ICML 2017). The temperature divides
the logits, so it is folded into the last layer: no decision changes and no runtime knows of it.
"""

import keras
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

_BOUNDS = (0.05, 20.0)


def fit_temperature(
    probabilities: npt.NDArray[np.floating], targets: npt.NDArray[np.int64]
) -> float:
    """Find the temperature that minimises the negative log-likelihood.

    probabilities : (N, C), softmax outputs at temperature 1; targets : (N,) label indices.
    """
    # Softmax is blind to a constant, so the logarithm serves as logits.
    logits = np.log(np.maximum(probabilities.astype(np.float64), 1e-12))

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scaled).sum(axis=1))
        return float((normaliser - scaled[np.arange(len(targets)), targets]).mean())

    found = minimize_scalar(loss, bounds=np.log(_BOUNDS), method="bounded")
    return float(np.exp(found.x))


def fold_temperature(model: keras.Model, temperature: float) -> None:
    """Divide the logits layer's weights by a temperature."""
    layer = model.get_layer("logits")
    layer.set_weights([weight / temperature for weight in layer.get_weights()])
