"""TensorRT's builder surface, as of 10.3 or 11: for what no machine without its GPU can run."""

from enum import IntEnum
from typing import Any

from support.fakes.fake_tensorrt import Severity

PLAN = b"a plan"


class FakeBuilderModule:
    """Stands for the module ``tensorrt``; every call that matters is in `asked`.

    Parameters
    ----------
    strongly_typed_flag : bool
        Whether the flag exists, as in TensorRT 10; 11 knows no other way.
    logs : tuple of (str, str)
        Lines logged while building: severity and message.
    layers : str
        What the inspector says, in JSON.
    """

    __name__ = "tensorrt"
    __version__ = "10.3.0"

    class ILogger:
        def __init__(self) -> None:
            pass

    class IProgressMonitor:
        def __init__(self) -> None:
            pass

    class ProfilingVerbosity(IntEnum):
        DETAILED = 2

    class MemoryPoolType(IntEnum):
        WORKSPACE = 0

    class LayerInformationFormat(IntEnum):
        JSON = 1

    def __init__(
        self,
        *,
        strongly_typed_flag: bool = True,
        logs: tuple[tuple[str, str], ...] = (),
        layers: str = '{"Layers": []}',
        returns: bytes | None = PLAN,
        accepts_cache: bool = True,
    ) -> None:
        flags = {"STRONGLY_TYPED": 1} if strongly_typed_flag else {"OTHER": 5}
        self.NetworkDefinitionCreationFlag = IntEnum("NetworkDefinitionCreationFlag", flags)
        self.logs, self.layers, self.returns = logs, layers, returns
        self.accepts_cache = accepts_cache
        self.asked: dict[str, Any] = {}

    def Builder(self, logger: Any) -> "FakeBuilder":  # noqa: N802
        return FakeBuilder(self, logger)

    def OnnxParser(self, network: Any, logger: Any) -> "FakeParser":  # noqa: N802
        return FakeParser()

    def Runtime(self, logger: Any) -> "FakeBuilderModule":  # noqa: N802
        return self

    def deserialize_cuda_engine(self, plan: bytes) -> "FakeBuilderModule":
        return self

    def create_engine_inspector(self) -> "FakeBuilderModule":
        return self

    def get_engine_information(self, form: int) -> str:
        return self.layers


class FakeParser:
    num_errors = 0

    def parse(self, graph: bytes) -> bool:
        return True


class FakeBuilder:
    def __init__(self, module: FakeBuilderModule, logger: Any) -> None:
        self.module, self.logger = module, logger

    def create_network(self, flags: int) -> "FakeNetwork":
        self.module.asked["flags"] = flags
        return FakeNetwork()

    def create_builder_config(self) -> "FakeConfig":
        return FakeConfig(self.module)

    def create_optimization_profile(self) -> "FakeProfile":
        return FakeProfile(self.module)

    def build_serialized_network(self, network: Any, config: "FakeConfig") -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building engine", None, 2)
        for step in range(2):
            if not monitor.step_complete("Building engine", step):
                break
        monitor.phase_finish("Building engine")
        for severity, message in self.module.logs:
            self.logger.log(Severity[severity], message)
        return self.module.returns


class FakeTensor:
    name, shape = "image", (-1, 32, 32, 1)


class FakeNetwork:
    num_inputs = 1

    def get_input(self, index: int) -> FakeTensor:
        return FakeTensor()


class FakeProfile:
    def __init__(self, module: FakeBuilderModule) -> None:
        self._module = module

    def set_shape(self, name: str, *shapes: tuple[int, ...]) -> None:
        self._module.asked["profile"] = (name, *shapes)


class FakeCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+timings"


class FakeConfig:
    progress_monitor: Any = None
    profiling_verbosity: Any = None
    builder_optimization_level = 3

    def __init__(self, module: FakeBuilderModule) -> None:
        self._module = module
        module.asked["config"] = self

    def add_optimization_profile(self, profile: FakeProfile) -> int:
        return 0

    def set_memory_pool_limit(self, pool: int, size: int) -> None:
        self._module.asked["workspace"] = size

    def create_timing_cache(self, content: bytes) -> FakeCache:
        return FakeCache(content)

    def set_timing_cache(self, cache: FakeCache, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        return self._module.accepts_cache
