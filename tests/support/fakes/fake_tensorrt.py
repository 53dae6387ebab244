"""TensorRT's runtime surface as the package uses it; an "engine" is an ONNX graph on the CPU."""

from enum import Enum

import numpy as np
import onnxruntime as ort

from support.fakes.fake_cuda import COMPUTE_MS, FakeDriver

Severity = Enum("Severity", ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"])
TensorIOMode = Enum("TensorIOMode", ["NONE", "INPUT", "OUTPUT"])
CudaGraphStrategy = Enum("CudaGraphStrategy", ["DISABLED", "WHOLE_GRAPH_CAPTURE"])

_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


class FakeTensorRT:
    """Stands for the module ``tensorrt``; with `rtx` for ``tensorrt_rtx``.

    `configs` gives engines a runtime configuration without a cache, as later versions of 10 have.

    `fails_on_batch` makes the engine fail on batches of that size, as a fault on the device would.
    """

    TensorIOMode = TensorIOMode
    CudaGraphStrategy = CudaGraphStrategy

    class ILogger:
        Severity = Severity

        def __init__(self) -> None:
            pass

    def __init__(
        self,
        driver: FakeDriver,
        profile: tuple[int, int, int] = (1, 4, 8),
        *,
        rtx: bool = False,
        configs: bool = False,
        fails_on_batch: int | None = None,
    ) -> None:
        self.driver = driver
        self.profile = profile
        self.rtx = rtx
        self.configs = configs
        self.fails_on_batch = fails_on_batch
        self.caches: list[FakeRuntimeCache] = []
        self.strategies: list[CudaGraphStrategy] = []

    def Runtime(self, logger: "FakeTensorRT.ILogger") -> "FakeRuntime":  # noqa: N802
        return FakeRuntime(self, logger)

    def nptype(self, dtype: type) -> type:
        return dtype


class FakeRuntime:
    def __init__(self, trt: FakeTensorRT, logger: FakeTensorRT.ILogger) -> None:
        self.trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, data: bytes) -> "FakeEngine | None":
        try:
            session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
        except Exception:
            self.logger.log(
                Severity.ERROR, "Error Code 1: Serialization (magic tag does not match)"
            )
            return None
        if self.trt.rtx:
            return FakeRtxEngine(self, session)
        kind = FakeLaterEngine if self.trt.configs else FakeEngine
        return kind(self, session)


class FakeEngine:
    def __init__(self, runtime: FakeRuntime, session: ort.InferenceSession) -> None:
        self.runtime, self.session = runtime, session
        self._tensors = [(each, TensorIOMode.INPUT) for each in session.get_inputs()]
        self._tensors += [(each, TensorIOMode.OUTPUT) for each in session.get_outputs()]
        self._by_name = {each.name: (each, mode) for each, mode in self._tensors}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index][0].name

    def get_tensor_dtype(self, name: str) -> type:
        return _DTYPES[self._by_name[name][0].type]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self._by_name[name][0].shape[1:])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return self._by_name[name][1]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        rest = self.get_tensor_shape(name)[1:]
        return [(count, *rest) for count in self.runtime.trt.profile]

    def create_execution_context(self, config: object = None) -> "FakeContext":
        self.runtime.trt.driver.require_context()
        return FakeContext(self)


class FakeRtxEngine(FakeEngine):
    def create_runtime_config(self) -> "FakeRuntimeConfig":
        return FakeRuntimeConfig(self.runtime.trt)


class FakeLaterEngine(FakeEngine):
    def create_runtime_config(self) -> object:
        return object()


class FakeRuntimeConfig:
    def __init__(self, trt: FakeTensorRT) -> None:
        self._trt = trt

    def create_runtime_cache(self) -> "FakeRuntimeCache":
        cache = FakeRuntimeCache()
        self._trt.caches.append(cache)
        return cache

    def set_runtime_cache(self, cache: "FakeRuntimeCache") -> bool:
        return True

    @property
    def cuda_graph_strategy(self) -> CudaGraphStrategy:
        return self._trt.strategies[-1]

    @cuda_graph_strategy.setter
    def cuda_graph_strategy(self, strategy: CudaGraphStrategy) -> None:
        self._trt.strategies.append(strategy)


class FakeRuntimeCache:
    MAGIC = b"kernels"

    def __init__(self) -> None:
        self.content = b""
        self.resets = 0

    def deserialize(self, data: bytes) -> bool:
        if not data.startswith(self.MAGIC):
            return False
        self.content = data
        return True

    def reset(self) -> bool:
        self.resets += 1
        return True

    def serialize(self) -> bytes:
        return self.content or self.MAGIC


class FakeContext:
    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._shape: tuple[int, ...] | None = None
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = self._engine.runtime.trt.profile
        if not smallest <= shape[0] <= largest:
            self._log(f"Error Code 3: set dimensions {shape} outside the profile")
            return False
        self._shape = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        trt = self._engine.runtime.trt
        if self._shape is None or len(self._addresses) != self._engine.num_io_tensors:
            self._log("Error Code 1: no shape or no address is set")
            return False
        if self._shape[0] == trt.fails_on_batch:
            self._log("Error Code 1: Cask (CUDA error 700: an illegal memory access)")
            return False
        shape, addresses, session = self._shape, dict(self._addresses), self._engine.session
        source, *targets = (each[0].name for each in self._engine._tensors)

        def compute() -> None:
            # What is on the device now, not when this was enqueued.
            memory = trt.driver.memory
            trt.driver.now_ms += COMPUTE_MS
            size = int(np.prod(shape))
            batch = memory[addresses[source]][:size].reshape(shape)
            for target, given in zip(targets, session.run(targets, {source: batch}), strict=True):
                data = np.ascontiguousarray(given)
                memory[addresses[target]][: data.nbytes] = data.view(np.uint8).ravel()

        trt.driver.streams[stream_handle].put(compute)
        return True

    def _log(self, message: str) -> None:
        self._engine.runtime.logger.log(Severity.ERROR, message)
