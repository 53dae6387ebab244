"""A mirrored, turned or resized copy is found again; another slice is not."""

import cv2
import numpy as np

from training.sources.fingerprints import STRICT_DISTANCE, fingerprints, nearest


def textured(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (120, 120)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def test_changed_copies_are_near_duplicates_and_other_slices_are_not() -> None:
    training = fingerprints([textured(seed) for seed in range(20)])
    copy = textured(7)
    tests = [copy[:, ::-1], np.rot90(copy), cv2.resize(copy, (90, 90)), textured(99)]
    apart = nearest(tests, training)
    assert (apart[:3] <= STRICT_DISTANCE).all()
    assert apart[3] > 2 * STRICT_DISTANCE
