"""The networks, from uint8 pixels to class probabilities.

Scaling and channel replication are layers, so Keras, ONNX and every engine read the same bytes.
"""

import difflib
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.system.files import sha256_file
from training.recipe.recipe import ModelRecipe

INPUT_NAME = "image"
OUTPUT_NAME = "probabilities"
WEIGHTS_VARIABLE = "NEUROSCAN_BACKBONE_WEIGHTS"

_BACKBONES = {
    "xception": keras.applications.Xception,
    "resnet50": keras.applications.ResNet50,
    "densenet121": keras.applications.DenseNet121,
}
# What each backbone's ImageNet weights were trained on, as offset and divisor of [0, 1] RGB.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_RESNET_MEAN_BGR = (103.939, 116.779, 123.68)


class WeightsError(NeuroScanError):
    """The backbone weights asked for cannot be had."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class BackboneWeights:
    """Where the backbone's initial weights come from.

    Parameters
    ----------
    source : {"file", "baseline", "download", "none"}
        A weights file, the backbone of a trained ``.keras`` baseline, Keras's own download of
        ImageNet weights, or random initialisation.
    path : Path or None
        The file, for "file" and "baseline".
    """

    source: Literal["file", "baseline", "download", "none"]
    path: Path | None = None

    @classmethod
    def parse(cls, text: str | None) -> "BackboneWeights":
        """Read ``imagenet``, ``none`` or a path; None takes `WEIGHTS_VARIABLE`, then imagenet.

        Raises
        ------
        WeightsError
            If a path does not exist.
        """
        text = text or os.environ.get(WEIGHTS_VARIABLE) or "imagenet"
        if text == "imagenet":
            return cls("download")
        if text == "none":
            return cls("none")
        path = Path(text)
        if not path.is_file():
            raise WeightsError(
                f"backbone weights {path} do not exist; "
                "give a weights file, a .keras baseline, 'imagenet' or 'none'"
            )
        return cls("baseline" if path.suffix == ".keras" else "file", path)

    def to_json(self) -> dict[str, str]:
        """Say where the weights come from, without naming this machine's folders."""
        if self.path is None:
            return {"source": self.source}
        return {"source": self.source, "file": self.path.name, "sha256": sha256_file(self.path)}


def build_classifier(
    recipe: ModelRecipe,
    classes: int,
    size: tuple[int, int],
    weights: BackboneWeights | None = None,
) -> keras.Model:
    """Build a classifier: uint8 (N, H, W, 1) to float32 probabilities (N, classes).

    Parameters
    ----------
    recipe : ModelRecipe
        Backbone, scaling and head.
    classes : int
        Number of classes.
    size : tuple of int
        (H, W) in pixels.
    weights : BackboneWeights, optional
        Initial backbone weights; None leaves them random.

    Raises
    ------
    WeightsError
        If the weights cannot be downloaded or do not fit the backbone.
    """
    image = keras.Input((*size, 1), dtype="uint8", name=INPUT_NAME)
    scaled = _scale(image, recipe)
    backbone = _BACKBONES[recipe.backbone](weights=None, include_top=False, input_tensor=scaled)
    _load_backbone(backbone, recipe.backbone, weights or BackboneWeights("none"))
    features = keras.layers.GlobalAveragePooling2D(name="pooled")(backbone.output)
    if recipe.pooled_dropout:
        features = keras.layers.Dropout(recipe.pooled_dropout, name="pooled_dropout")(features)
    hidden = keras.layers.Dense(recipe.hidden_units, activation="relu", name="hidden")(features)
    if recipe.hidden_dropout:
        hidden = keras.layers.Dropout(recipe.hidden_dropout, name="hidden_dropout")(hidden)
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(hidden)
    probabilities = keras.layers.Softmax(dtype="float32", name=OUTPUT_NAME)(logits)
    return keras.Model(image, probabilities, name=recipe.backbone)


def set_trainable(model: keras.Model, trainable: str) -> None:
    """Make trainable ``all`` layers, the ``head``, or everything from a named layer on.

    Raises
    ------
    WeightsError
        If no layer has that name, or none from it on has weights.
    """
    names = [layer.name for layer in model.layers]
    first = {"all": names[0], "head": "pooled"}.get(trainable, trainable)
    if first not in names:
        near = difflib.get_close_matches(trainable, [*names, "all", "head"], n=1)
        hint = f" (nearest: {near[0]!r})" if near else ""
        raise WeightsError(
            f"trainable is {trainable!r}; give 'all', 'head' or a layer's name{hint}"
        )
    start = names.index(first)
    for position, layer in enumerate(model.layers):
        layer.trainable = position >= start
    if not model.trainable_weights:
        raise WeightsError(f"trainable is {trainable!r}: nothing from there on has weights")


def head_of(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut a classifier behind its pooling.

    Returns the model from pixels to pooled features (N, F), and the head from features to
    probabilities; both share the classifier's layers, so training one trains it.
    """
    names = [layer.name for layer in model.layers]
    pooled = model.get_layer("pooled").output
    features = keras.Input(pooled.shape[1:], name="features")
    tensor = features
    for layer in model.layers[names.index("pooled") + 1 :]:
        tensor = layer(tensor)
    return keras.Model(model.input, pooled), keras.Model(features, tensor)


def _scale(image: keras.KerasTensor, recipe: ModelRecipe) -> keras.KerasTensor:
    # float32 whatever the policy: bfloat16 holds no more than 8 significant bits.
    unit = keras.layers.Rescaling(1.0 / 255, dtype="float32", name="unit")(image)
    rgb = keras.layers.Concatenate(dtype="float32", name="rgb")([unit, unit, unit])
    if recipe.input_scaling == "report":
        return rgb
    if recipe.backbone == "xception":
        return keras.layers.Rescaling(2.0, offset=-1.0, dtype="float32", name="scaled")(rgb)
    # Grey input: all three channels are equal, so ResNet50's swap to BGR is only its means' order.
    if recipe.backbone == "resnet50":
        scale = np.full(3, 255.0)
        offset = -np.array(_RESNET_MEAN_BGR)
    else:
        scale = 1 / np.array(_IMAGENET_STD)
        offset = -np.array(_IMAGENET_MEAN) / np.array(_IMAGENET_STD)
    return keras.layers.Rescaling(
        scale.tolist(), offset=offset.tolist(), dtype="float32", name="scaled"
    )(rgb)


def _load_backbone(backbone: keras.Model, name: str, weights: BackboneWeights) -> None:
    if weights.source == "none":
        return
    if weights.source == "baseline":
        _copy_backbone(backbone, weights.path)
        return
    application = _BACKBONES[name]
    argument = str(weights.path) if weights.source == "file" else "imagenet"
    try:
        donor = application(weights=argument, include_top=False)
    except Exception as error:  # Keras raises plain Exception for a failed download.
        raise WeightsError(
            f"{name} weights from {argument} cannot be loaded ({error}); "
            "give --backbone-weights a file that fits, or 'none'"
        ) from error
    backbone.set_weights(donor.get_weights())


def _copy_backbone(backbone: keras.Model, baseline: Path | None) -> None:
    try:
        donor, _ = head_of(keras.models.load_model(baseline, compile=False))
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{baseline} is no baseline of this lab ({error}); give a .keras file that fit wrote"
        ) from error
    # By order: Keras numbers unnamed layers anew in every process.
    given, wanted = donor.get_weights(), backbone.get_weights()
    if [each.shape for each in given] != [each.shape for each in wanted]:
        raise WeightsError(f"{baseline} has another backbone; give a baseline of the same one")
    backbone.set_weights(given)
