"""The kernels on the host, built once a session."""

import pytest
from emulation.emulator import GXX, NO_GXX, Emulator


@pytest.fixture(scope="session")
def emulator(tmp_path_factory) -> Emulator:
    if GXX is None:
        pytest.skip(NO_GXX)
    return Emulator(tmp_path_factory.mktemp("kernels"))
