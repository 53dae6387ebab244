"""A small labelled data set with known duplicates."""

from pathlib import Path

import cv2
import numpy as np

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


def head(label: int, rng: np.random.Generator) -> np.ndarray:
    """An oval head with texture and a bright mark whose place tells the class."""
    pixels = np.zeros((96, 96), np.float32)
    axes = (int(rng.integers(28, 40)), int(rng.integers(36, 46)))
    cv2.ellipse(pixels, (48, 48), axes, int(rng.integers(-20, 21)), 0, 360, 120, -1)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (96, 96)).astype(np.float32), (0, 0), 4)
    pixels += np.where(pixels > 0, texture * 9, 0)
    places = {0: (32, 32), 1: (64, 60), 3: (48, 78)}
    if label in places:
        centre = tuple(int(place + rng.integers(-4, 5)) for place in places[label])
        cv2.circle(pixels, centre, 9, 250, -1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_small_data(root: Path) -> Path:
    """Eighteen training and five test images a class; of each class the first of either repeat."""
    rng = np.random.default_rng(11)
    for label, name in enumerate(LABELS):
        training, testing = root / "Training" / name, root / "Testing" / name
        training.mkdir(parents=True)
        testing.mkdir(parents=True)
        for index in range(16):
            cv2.imwrite(str(training / f"{index:02}.png"), head(label, rng))
        for index in range(4):
            cv2.imwrite(str(testing / f"{index:02}.png"), head(label, rng))
        original = cv2.imread(str(training / "00.png"), cv2.IMREAD_GRAYSCALE)
        brighter = np.clip(original.astype(int) + 6, 0, 255).astype(np.uint8)
        cv2.imwrite(str(training / "copy.png"), original)
        cv2.imwrite(str(training / "brighter.png"), brighter)
        cv2.imwrite(str(testing / "leaked.jpg"), original)
    return root
