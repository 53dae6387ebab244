"""Fixtures that several test modules share."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from neuroscan_edge.model.bundle import Bundle
from support.emulation.emulator import GXX, NO_GXX, Emulator
from support.small_data import write_small_data
from support.tiny_models import tiny_bundle


@pytest.fixture(scope="session")
def dataset() -> Path:
    """The MRI data set, where there is one."""
    path = os.environ.get("NEUROSCAN_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("the MRI data set is not here: NEUROSCAN_DATA names no folder")
    return Path(path)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A fresh bundle of the tiny classifier, free to be damaged."""
    return tiny_bundle(tmp_path / "tiny")


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Twenty small PNG slices, in a folder of two levels."""
    rng = np.random.default_rng(7)
    folder = tmp_path / "scans"
    for index in range(20):
        place = folder / f"series{index // 10}"
        place.mkdir(parents=True, exist_ok=True)
        side = 40 + index
        pixels = cv2.GaussianBlur(rng.integers(0, 256, (side, side), np.uint8), (5, 5), 0)
        cv2.imwrite(str(place / f"slice{index:02}.png"), pixels)
    return folder


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    """The CUDA kernels on the host, built once a session."""
    if GXX is None:
        pytest.skip(NO_GXX)
    return Emulator(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen training and five test images a class; of each class the first of either repeat."""
    return write_small_data(tmp_path_factory.mktemp("small-data"))
