"""Slices that look like a head, in whole numbers: what tells a right reading from a wrong one."""

import cv2
import numpy as np


def head(side=96, top=1000, seed=0):
    """(side, side) int64 of 0 to `top`: skull, brain with slow changes, ventricles, a lesion."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    y, x = [(y, x), (y, -x), (-y, x), (-y, -x)][seed % 4]
    picture = np.zeros((side, side))
    picture[inside(x, y, 0, 0, 0.80, 0.93)] = 0.75
    picture[inside(x, y, 0, 0, 0.74, 0.87)] = 0.12
    brain = inside(x, y, 0, 0, 0.71, 0.84)
    picture[brain] = (0.38 + 0.12 * np.sin(3 * x + 1) * np.cos(2.5 * y))[brain]
    picture[inside(x, y, -0.16, 0, 0.10, 0.26)] = 0.14
    picture[inside(x, y, 0.16, 0.02, 0.10, 0.22)] = 0.14
    picture[inside(x, y, 0.36, -0.34, 0.16, 0.18)] = 0.97
    # Scanners blur, and have noise.
    picture = cv2.GaussianBlur(picture, (0, 0), side / 160)
    picture += rng.normal(0, 0.004, picture.shape) * (picture > 0.01)
    return np.clip(np.rint(picture * top), 0, top).astype(np.int64)


def inside(x, y, across, down, half_width, half_height):
    return ((x - across) / half_width) ** 2 + ((y - down) / half_height) ** 2 <= 1


def air(side=96, sigma=8, seed=0):
    """(side, side) int64: the noise of a slice beside the head, of magnitudes."""
    rng = np.random.default_rng(seed)
    return np.rint(np.hypot(*rng.normal(0, sigma, (2, side, side)))).astype(np.int64)
