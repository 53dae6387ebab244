"""A rehearsal of the whole path: labelled phantoms, and a small network trained on them.

For machines that have no data set: what follows (export, calibration, parity) is the real thing.
The network knows phantoms only and decides nothing about people.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.baseline import Baseline, write_card
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans.dataset import Split, load_split
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.files import sha256_file
from training.fit.model import INPUT_NAME, OUTPUT_NAME

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)
NAME = "rehearsal"
_SIDE_PX = 96


@dataclass(frozen=True, slots=True)
class RehearsalOptions:
    """How much to draw and to train.

    Parameters
    ----------
    training, testing : int
        Phantoms a class.
    epochs : int
        Passes over the training phantoms.
    seed : int
        Of the phantoms and of the weights.
    """

    training: int = 150
    testing: int = 60
    epochs: int = 20
    seed: int = 0


def draw_phantoms(root: Path, options: RehearsalOptions) -> None:
    """Write labelled phantoms, ``Training/<label>/`` and ``Testing/<label>/``, below a folder."""
    rng = np.random.default_rng(options.seed)
    for split, count in (("Training", options.training), ("Testing", options.testing)):
        for label in LABELS:
            folder = root / split / label
            folder.mkdir(parents=True, exist_ok=True)
            for index in range(count):
                cv2.imwrite(str(folder / f"{index:04}.png"), _phantom(label, rng))


def rehearse(output: Path, options: RehearsalOptions | None = None) -> Baseline:
    """Draw phantoms to ``output/data`` and train a baseline on them, with its card.

    Returns
    -------
    Baseline
        ``output/rehearsal.keras``; its metrics hold the accuracy on the test phantoms.
    """
    options = options or RehearsalOptions()
    draw_phantoms(output / "data", options)
    training = load_split(output / "data", "training", LABELS)
    inputs, targets = _inputs(training)
    keras.utils.set_random_seed(options.seed)
    model = small_network()
    steps = options.epochs * (len(inputs) // 32 + 1)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, steps)
    model.compile(keras.optimizers.Adam(schedule), "sparse_categorical_crossentropy")
    model.fit(inputs, targets, batch_size=32, epochs=options.epochs, verbose=0)
    tests, truth = _inputs(load_split(output / "data", "testing", LABELS))
    accuracy = float((model.predict(tests, verbose=0).argmax(axis=1) == truth).mean())
    path = output / f"{NAME}.keras"
    model.save(path)
    counts = {name: {"used": count, "held_out": 0} for name, count in training.counts.items()}
    baseline = Baseline(
        path=path,
        name=NAME,
        sha256=sha256_file(path),
        labels=LABELS,
        preprocessing=SPEC,
        training_data={"fingerprint": training.fingerprint, "counts": counts, "phantoms": True},
        recipe=asdict(options),
        metrics={"phantoms": {"accuracy": accuracy}},
        initial_weights={"source": "none"},
    )
    write_card(baseline)
    return baseline


def small_network() -> keras.Model:
    """Build a small convolutional network with a residual: uint8 (N, 64, 64, 1) to (N, 4)."""
    layers = keras.layers
    image = keras.Input((*SPEC.shape, 1), dtype="uint8", name=INPUT_NAME)
    tensor = layers.Rescaling(2 / 255, offset=-1.0, dtype="float32", name="scaled")(image)
    for block, filters in enumerate((16, 32, 48), start=1):
        tensor = _convolution(tensor, filters, f"block{block}_conv1", strides=2)
        tensor = _convolution(tensor, filters, f"block{block}_conv2")
    branch = _convolution(tensor, 48, "block4_conv1")
    tensor = layers.Add(name="block4_add")([tensor, branch])
    pooled = layers.GlobalAveragePooling2D(name="pooled")(tensor)
    logits = layers.Dense(len(LABELS), name="logits")(pooled)
    return keras.Model(image, layers.Softmax(name=OUTPUT_NAME)(logits), name=NAME)


def _convolution(
    tensor: keras.KerasTensor, filters: int, name: str, strides: int = 1
) -> keras.KerasTensor:
    tensor = keras.layers.Conv2D(
        filters, 3, strides=strides, padding="same", use_bias=False, name=name
    )(tensor)
    tensor = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(tensor)
    return keras.layers.ReLU(name=f"{name}_relu")(tensor)


def _inputs(split: Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    images = load_images(split, SPEC)
    preprocessor = CpuPreprocessor(SPEC)
    inputs = np.stack([preprocessor.equalise(each) for each in images.resized])[..., None]
    return inputs, images.targets


def _phantom(label: str, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw a head: a ring within, a bulge on the rim, a spot below, or none; (96, 96) uint8."""
    middle = _SIDE_PX // 2
    pixels = np.zeros((_SIDE_PX, _SIDE_PX), np.float32)
    half_width, half_height = int(rng.integers(30, 37)), int(rng.integers(37, 44))
    axes = (half_width, half_height)
    cv2.ellipse(pixels, (middle, middle), axes, 0, 0, 360, float(rng.uniform(90, 130)), -1)
    brain = pixels > 0
    texture = cv2.GaussianBlur(
        rng.normal(0, 60, pixels.shape).astype(np.float32), (0, 0), float(rng.uniform(1.5, 3))
    )
    pixels += np.where(brain, 6 * texture, 0)
    side = int(rng.choice((-1, 1)))
    bright = float(rng.uniform(215, 250))
    if label == "glioma_tumor":
        centre = (middle + side * int(rng.integers(9, 17)), middle + int(rng.integers(-14, 9)))
        cv2.circle(pixels, centre, 9, bright, -1)
        cv2.circle(pixels, centre, 5, 25.0, -1)
    elif label == "meningioma_tumor":
        centre = (middle + side * (half_width - 6), middle + int(rng.integers(-12, 9)))
        cv2.circle(pixels, centre, 9, bright, -1)
        pixels[~brain] = 0
    elif label == "pituitary_tumor":
        place = (middle + int(rng.integers(-3, 4)), middle + half_height - int(rng.integers(9, 13)))
        cv2.ellipse(pixels, place, (5, 7), 0, 0, 360, bright, -1)
    pixels += rng.normal(0, 4, pixels.shape).astype(np.float32)
    return np.clip(pixels, 0, 255).astype(np.uint8)
