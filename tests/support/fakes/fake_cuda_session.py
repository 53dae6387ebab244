"""ONNX Runtime's session with a CUDA provider as the package uses it: device memory is a fake's."""

from typing import Any

import numpy as np
import onnxruntime as ort

from support.fakes.fake_cuda import FakeDriver


class FakeCudaSession:
    """Computes on the CPU what is bound by a `FakeDriver`'s addresses.

    It reads an address when it runs, on a stream of its own: what another stream has not written by
    then is still poison.
    """

    def __init__(self, session: ort.InferenceSession, driver: FakeDriver) -> None:
        self._session, self._driver = session, driver

    def io_binding(self) -> "FakeBinding":
        return FakeBinding(self._session.io_binding(), self._driver)

    def run_with_iobinding(self, binding: "FakeBinding") -> None:
        binding.bind_pending()
        self._session.run_with_iobinding(binding.real)


class FakeBinding:
    def __init__(self, real: Any, driver: FakeDriver) -> None:
        self.real = real
        self._driver = driver
        self._pending: tuple[Any, ...] = ()
        self._read: np.ndarray | None = None

    def bind_input(
        self,
        name: str,
        device: str,
        ordinal: int,
        dtype: type,
        shape: tuple[int, ...],
        address: int,
    ) -> None:
        assert (device, ordinal, dtype) == ("cuda", 0, np.uint8)
        self._pending = (name, shape, address)

    def bind_output(self, name: str, device: str) -> None:
        assert device == "cuda"
        self.real.bind_output(name, "cpu")

    def bind_pending(self) -> None:
        name, shape, address = self._pending
        self._read = self._driver.at(address)[: int(np.prod(shape))].reshape(shape).copy()
        self.real.bind_cpu_input(name, self._read)

    def get_outputs(self) -> list[Any]:
        return self.real.get_outputs()
