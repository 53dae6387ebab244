"""Adam with discriminative learning rates.

Layers near the input, whose features serve any image, move less than those near the head (Howard
and Ruder: Universal language model fine-tuning for text classification, ACL 2018).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from training.fit.model import head_of
from training.fit.schedule import learning_rate_schedule
from training.recipe.recipe import FitRecipe, Stage


def layer_rates(model: keras.Model, input_rate: float) -> dict[str, float]:
    """Grade rates geometrically from the first layer with weights to the head.

    Parameters
    ----------
    model : keras.Model
        A classifier of `training.fit.model.build_classifier`.
    input_rate : float
        Rate of the first layer with weights, as a share of the head's.

    Returns
    -------
    dict
        Path of each variable to its share; those of the head have 1.
    """
    backbone, _ = head_of(model)
    layers = [layer for layer in backbone.layers if layer.weights]
    rates = {variable.path: 1.0 for variable in model.variables}
    for depth, layer in enumerate(layers):
        share = input_rate ** (1 - depth / len(layers))
        rates |= {variable.path: share for variable in layer.variables}
    return rates


class DiscriminativeAdam(keras.optimizers.Adam):
    """Adam that takes a share of the learning rate for each variable.

    Parameters
    ----------
    learning_rate : float or schedule
        Of variables with share 1.
    rates : mapping of str to float
        Share by variable path.
    options
        Of `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate: Any, rates: Mapping[str, float], **options: Any) -> None:
        super().__init__(learning_rate, **options)
        self._rates = dict(rates)

    # Not `update_step`: on the torch backend Keras updates all variables at once, without it.
    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        groups: dict[float, list[tuple[Any, Any]]] = {}
        for pair in zip(grads, trainable_variables, strict=True):
            groups.setdefault(self._rates[pair[1].path], []).append(pair)
        for share, pairs in groups.items():
            super()._backend_update_step(
                [gradient for gradient, _ in pairs],
                [variable for _, variable in pairs],
                learning_rate * share,
            )


def stage_optimizer(
    model: keras.Model, stage: Stage, recipe: FitRecipe, steps: int
) -> keras.optimizers.Optimizer:
    """Make the optimizer of a stage; `model` is the whole classifier, `steps` those of an epoch."""
    schedule = learning_rate_schedule(stage, steps)
    options = {
        "use_ema": recipe.ema_momentum is not None,
        "ema_momentum": recipe.ema_momentum or 0.99,
    }
    if stage.input_rate == 1:
        return keras.optimizers.Adam(schedule, **options)
    return DiscriminativeAdam(schedule, layer_rates(model, stage.input_rate), **options)
