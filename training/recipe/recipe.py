"""Recipes: everything that decides a training run, as one validated TOML file."""

import dataclasses
import difflib
import json
from dataclasses import dataclass, field
from typing import Any

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.spec import Preprocessing

BACKBONES = ("xception", "resnet50", "densenet121")
INPUT_SCALINGS = ("backbone", "report")
PRECISIONS = ("float32", "mixed_bfloat16")
_PROBABILITIES = (
    "reframe",
    "horizontal_flip",
    "vertical_flip",
    "random_convolution",
    "spectrum",
    "histogram",
    "other_class",
    "curve",
    "inversion",
    "blur",
    "recompression",
    "cutout",
)


class RecipeError(NeuroScanError):
    """A recipe file is not valid; the message names the key."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class ModelRecipe:
    """The network: a backbone without its top, global average pooling, and a small head.

    Parameters
    ----------
    backbone : str
        One of `BACKBONES`.
    input_scaling : str
        ``backbone`` scales pixels as the backbone's ImageNet weights expect; ``report`` feeds
        plain [0, 1], as the original study did.
    pooled_dropout : float
        Dropout rate between the pooling and the hidden layer.
    hidden_units : int
        Units of the hidden ReLU layer.
    hidden_dropout : float
        Dropout rate between the hidden layer and the softmax layer.
    """

    backbone: str = "xception"
    input_scaling: str = "backbone"
    pooled_dropout: float = 0.0
    hidden_units: int = 256
    hidden_dropout: float = 0.1

    def __post_init__(self) -> None:
        _one_of("backbone", self.backbone, BACKBONES)
        _one_of("input_scaling", self.input_scaling, INPUT_SCALINGS)
        _within("pooled_dropout", self.pooled_dropout, 0, 0.95)
        _within("hidden_units", self.hidden_units, 1, 65536)
        _within("hidden_dropout", self.hidden_dropout, 0, 0.95)


@dataclass(frozen=True, slots=True)
class DataRecipe:
    """How the training split is divided.

    Parameters
    ----------
    validation_fraction : float
        Share of the training split held out, stratified by class.
    duplicate_distance : int
        Images whose 64-bit perceptual hashes differ in at most this many bits stay on one side.
    fold : int
        Which of the parts is held out; 1 / `validation_fraction` parts there are.
    classes : tuple of str
        Train on these alone; empty is all.
    """

    validation_fraction: float = 0.15
    duplicate_distance: int = 4
    fold: int = 0
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _within("validation_fraction", self.validation_fraction, 0.02, 0.5)
        _within("duplicate_distance", self.duplicate_distance, 0, 16)
        _within("fold", self.fold, 0, self.folds - 1)
        if len(self.classes) == 1 or len(set(self.classes)) < len(self.classes):
            raise RecipeError(f"classes is {self.classes}; name two or more, each once")

    @property
    def folds(self) -> int:
        """Parts the training split is divided into."""
        return max(round(1 / self.validation_fraction), 2)


@dataclass(frozen=True, slots=True)
class SourceRecipe:
    """One source of training data.

    Parameters
    ----------
    name : str
        Name of the source; ``study`` is the split folder, others stand in the index.
    weight : float
        Share of the draws relative to the square root of the source's size; 0 never draws.
    """

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        _within(f"weight of {self.name}", self.weight, 0, 100)


@dataclass(frozen=True, slots=True)
class PoolRecipe:
    """Training on several sources at once.

    Parameters
    ----------
    sources : tuple of SourceRecipe
        The sources to use.
    labels : tuple of str
        Classes of the network, in the order of its outputs.
    outside_labels : tuple of str
        Labels that the sources hold and the network does not have; such images are not trained on.
    left_out : tuple of str
        Sources neither trained on nor validated on, so that the network can be measured on them.
    leave_out : tuple of tuple of str
        Sets of sources that cross-validation by source leaves out, one set after the other.
    validation_share : float
        Share of the groups that are not held out by which epochs are compared.
    epoch_images : int
        Slices drawn in one epoch.
    """

    sources: tuple[SourceRecipe, ...]
    labels: tuple[str, ...]
    outside_labels: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    leave_out: tuple[tuple[str, ...], ...] = ()
    validation_share: float = 0.1
    epoch_images: int = 4096

    def __post_init__(self) -> None:
        names = [source.name for source in self.sources]
        if not names or len(set(names)) < len(names):
            raise RecipeError(f"pool.sources names {names}; name one or more, each once")
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise RecipeError(f"pool.labels is {self.labels}; name two or more, each once")
        for key, given in (("left_out", self.left_out), ("leave_out", sum(self.leave_out, ()))):
            for name in given:
                if name not in names:
                    near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
                    raise RecipeError(f"pool.{key} names {name!r}; did you mean {near!r}?")
        _within("pool.validation_share", self.validation_share, 0.02, 0.5)
        _within("pool.epoch_images", self.epoch_images, 1, 10_000_000)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each source by its name."""
        return {source.name: source.weight for source in self.sources}


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes to the resized slice, in grey levels 0..255, before CLAHE.

    Probabilities are per image; the magnitudes are the largest that may be drawn.

    Parameters
    ----------
    reframe : float
        Probability of framing the head anew, between cropped into and a wide margin.
    horizontal_flip, vertical_flip : float
        Probability of mirroring.
    rotation_degrees : float
        Rotation, either way.
    zoom : float
        Relative change of size, either way; also of each axis alone, a third as much.
    shift : float
        Translation as a fraction of the side.
    random_convolution : float
        Probability of arbitrary tissue contrasts from a small network of random weights.
    spectrum : float
        Probability of taking low-frequency amplitudes from another slice, of any class.
    histogram : float
        Probability of taking the histogram of another slice, of any class.
    other_class : float
        Probability that a lender is drawn from the other classes, each alike, so that a source
        which one class comes from is seen on all of them.
    gamma : float
        Exponent drawn log-uniformly from 1/gamma to gamma; 1 is none.
    window : float
        Share of the grey range that may be clipped away at either end, as another window would.
    curve : float
        Probability of a random monotone intensity curve, as another sequence would give.
    inversion : float
        Probability of inverting the contrast of everything but the dark background.
    bias_field : float
        Largest log-intensity of a smooth multiplicative field.
    blur : float
        Probability of blurring or sharpening.
    recompression : float
        Probability of passing through a smaller size and JPEG, as pictures from the web have.
    noise : float
        Standard deviation of Gaussian noise, in grey levels.
    cutout : float
        Probability of blanking one rectangle of up to a third of each side.
    """

    reframe: float = 0.0
    horizontal_flip: float = 0.0
    vertical_flip: float = 0.0
    rotation_degrees: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0
    random_convolution: float = 0.0
    spectrum: float = 0.0
    histogram: float = 0.0
    other_class: float = 0.0
    gamma: float = 1.0
    window: float = 0.0
    curve: float = 0.0
    inversion: float = 0.0
    bias_field: float = 0.0
    blur: float = 0.0
    recompression: float = 0.0
    noise: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        for name in _PROBABILITIES:
            _within(name, getattr(self, name), 0, 1)
        _within("rotation_degrees", self.rotation_degrees, 0, 180)
        _within("zoom", self.zoom, 0, 0.6)
        _within("shift", self.shift, 0, 0.5)
        _within("gamma", self.gamma, 1, 5)
        _within("window", self.window, 0, 0.45)
        _within("bias_field", self.bias_field, 0, 2)
        _within("noise", self.noise, 0, 64)

    def at_strength(self, strength: float) -> "Augmentation":
        """Scale every probability and magnitude; 0 is none, 1 is all."""
        values = {name: value * strength for name, value in dataclasses.asdict(self).items()}
        return Augmentation(**{**values, "gamma": self.gamma**strength})


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of training with its own schedule; stages follow one another.

    Parameters
    ----------
    epochs : int
        Passes over the training split.
    learning_rate : float
        Peak of the schedule: linear warm-up, then cosine decay to `final_learning_rate`.
    final_learning_rate : float
        Where the decay ends.
    warmup_epochs : float
        Length of the warm-up.
    input_rate : float
        Learning rate of the layers at the input, as a share of the head's; those between are
        graded geometrically (discriminative rates). 1 is one rate for all.
    image_size : int or None
        Side to which the preprocessed slice is reduced, for cheaper early epochs; None keeps it.
    trainable : str
        ``all``, ``head``, or the name of the first backbone layer to train.
    augmentation_strength : float
        Share of the augmentation's probabilities and magnitudes that this stage uses.
    augmentation : Augmentation or None
        In place of the recipe's own; None takes that.
    """

    epochs: int
    learning_rate: float = 2e-4
    final_learning_rate: float = 0.0
    warmup_epochs: float = 0.5
    input_rate: float = 1.0
    image_size: int | None = None
    trainable: str = "all"
    augmentation_strength: float = 1.0
    augmentation: Augmentation | None = None

    def __post_init__(self) -> None:
        _within("epochs", self.epochs, 1, 10_000)
        _within("learning_rate", self.learning_rate, 1e-8, 10)
        _within("final_learning_rate", self.final_learning_rate, 0, self.learning_rate)
        _within("warmup_epochs", self.warmup_epochs, 0, self.epochs)
        _within("input_rate", self.input_rate, 1e-4, 1)
        _within("augmentation_strength", self.augmentation_strength, 0, 1)
        if self.image_size is not None:
            _within("image_size", self.image_size, 71, 1024)


@dataclass(frozen=True, slots=True)
class FitRecipe:
    """What all stages share.

    Parameters
    ----------
    batch_size : int
        Images a step.
    precision : str
        Keras dtype policy; the saved baseline is float32 whatever this is.
    class_weights : bool
        Weigh classes inversely to their frequency.
    label_smoothing : float
        Share of each label spread over all classes.
    mixup_alpha : float
        Beta parameter of mixup; 0 is none.
    ema_momentum : float or None
        Momentum of an exponential moving average of the weights; at the end of each epoch the
        average replaces them, is validated, and training goes on from it. None is no average.
    averaged_stages : tuple of int
        Stages, counted from 1, whose best weights are averaged in the end (Wortsman et al.: Model
        soups, ICML 2022); empty takes those of the last stage. With batch normalisation this
        suits stages of one run that go on from one another, as these do.
    temperature_scaling : bool
        At the end, fit a temperature to the validation split and fold it into the last layer.
    """

    batch_size: int = 16
    precision: str = "mixed_bfloat16"
    class_weights: bool = True
    label_smoothing: float = 0.0
    mixup_alpha: float = 0.0
    ema_momentum: float | None = None
    averaged_stages: tuple[int, ...] = ()
    temperature_scaling: bool = False

    def __post_init__(self) -> None:
        _within("batch_size", self.batch_size, 1, 4096)
        _one_of("precision", self.precision, PRECISIONS)
        _within("label_smoothing", self.label_smoothing, 0, 0.5)
        _within("mixup_alpha", self.mixup_alpha, 0, 2)
        if self.ema_momentum is not None:
            _within("ema_momentum", self.ema_momentum, 0.5, 0.99999)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run, complete.

    Parameters
    ----------
    name : str
        Name of the model and of every file made from it.
    stages : tuple of Stage
        In order; at least one.
    seed : int
        Of the split, the initial head, the order and the augmentation.
    pool : PoolRecipe or None
        Training on several sources; None trains on one split folder, divided as `data` says.
    """

    name: str
    stages: tuple[Stage, ...]
    seed: int = 0
    model: ModelRecipe = field(default_factory=ModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    fit: FitRecipe = field(default_factory=FitRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    pool: PoolRecipe | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.name.replace("-", "").replace("_", "").isalnum():
            raise RecipeError(f"name is {self.name!r}; use letters, digits, '-' and '_'")
        if not self.stages:
            raise RecipeError("the recipe has no [[stages]]; give at least one with its epochs")
        _within("seed", self.seed, 0, 2**31 - 1)
        for stage in self.fit.averaged_stages:
            _within("fit.averaged_stages", stage, 1, len(self.stages))

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    def augmentation_in(self, stage: Stage) -> Augmentation:
        """Return what a stage draws: its own augmentation or the recipe's, at its strength."""
        return (stage.augmentation or self.augmentation).at_strength(stage.augmentation_strength)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as JSON-ready values."""
        values = {**dataclasses.asdict(self), "preprocessing": self.preprocessing.to_json()}
        # Lists for tuples, as they will be read back.
        ready: dict[str, Any] = json.loads(json.dumps(values))
        return ready


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise RecipeError(f"{name} is {value}; it must be {low} to {high}")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1, cutoff=0.0)[0]
        raise RecipeError(f"{name} is {value!r}; known: {', '.join(known)} (nearest: {near})")
