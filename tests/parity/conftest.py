"""One data set and one bundle for all of parity's tests; each test damages a copy."""

import shutil
from pathlib import Path

import pytest

from support.labelled import labelled_data, parity_bundle


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty test and 24 training images a class."""
    return labelled_data(tmp_path_factory.mktemp("parity-data"))


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The folder of a bundle that passes; not to be written to."""
    return parity_bundle(tmp_path_factory.mktemp("parity") / "tiny", data).folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, free to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / "tiny"))
