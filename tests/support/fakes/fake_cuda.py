"""PyCUDA's driver module as the package uses it, without a GPU.

Work put on a stream runs only when somebody waits for it, in the order that streams and events
allow: code that reads a buffer without waiting finds the poison it was filled with. Kernels are
the real ones, on the host.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from neuroscan_edge.preprocess.launch_geometry import SIGNATURES, THREADS, Launch

POISON = 0xCD
ALIGNMENT = 4096
UPLOAD_MS, COMPUTE_MS, DOWNLOAD_MS = 0.5, 3.0, 0.25
Work = Callable[[], None]
RunKernel = Callable[[Launch], None]


def no_kernels(launch: Launch) -> None:
    raise AssertionError(f"{launch.kernel} was launched where no kernel should be")


class FakeCudaError(Exception):
    """As pycuda.driver.Error."""


class FakeMemoryError(FakeCudaError):
    """As pycuda.driver.MemoryError."""


class FakeStream:
    """Work in order, run when waited for."""

    def __init__(self, driver: "FakeDriver", handle: int) -> None:
        self.driver = driver
        self.handle = handle
        self.waiting: list[Work] = []
        self.recording: list[Work] | None = None

    def put(self, work: Work) -> None:
        self.driver.require_context()
        (self.waiting if self.recording is None else self.recording).append(work)

    def wait_for_event(self, event: "FakeEvent") -> None:
        reached = event.marker
        self.put(lambda: event.run_to(reached))

    def synchronize(self) -> None:
        self.driver.require_context()
        self.driver.log.append(f"sync stream {self.handle}")
        while self.waiting:
            self.waiting.pop(0)()


class FakeEvent:
    """A marker in a stream."""

    def __init__(self, driver: "FakeDriver", flags: int = 0) -> None:
        self.driver = driver
        self.stream: FakeStream | None = None
        self.marker = 0
        self.passed = 0
        self.timed = not flags & FakeDriver.event_flags.DISABLE_TIMING
        self.time_ms: float | None = None

    def record(self, stream: FakeStream) -> None:
        self.stream = stream
        self.marker += 1
        marker = self.marker

        def arrive() -> None:
            self.passed = max(self.passed, marker)
            self.time_ms = self.driver.now_ms

        stream.put(arrive)

    def run_to(self, marker: int) -> None:
        assert self.stream is not None
        while self.passed < marker:
            self.stream.waiting.pop(0)()

    def time_since(self, earlier: "FakeEvent") -> float:
        if not (self.timed and earlier.timed):
            raise FakeCudaError("cuEventElapsedTime failed: invalid resource handle")
        if self.passed < self.marker or earlier.passed < earlier.marker:
            raise FakeCudaError("cuEventElapsedTime failed: device not ready")
        assert self.time_ms is not None and earlier.time_ms is not None
        return self.time_ms - earlier.time_ms

    def synchronize(self) -> None:
        self.driver.require_context()
        self.driver.log.append("sync event")
        self.run_to(self.marker)


class FakeAllocation:
    """Device memory, poisoned."""

    def __init__(self, driver: "FakeDriver", address: int, size: int) -> None:
        self.driver = driver
        self.address = address
        driver.memory[address] = np.full(size, POISON, np.uint8)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.driver.require_context()
        del self.driver.memory[self.address]


class FakeDriver:
    """Stands for the module ``pycuda.driver``."""

    Error = FakeCudaError
    MemoryError = FakeMemoryError

    class event_flags:  # noqa: N801
        DISABLE_TIMING = 2

    def __init__(
        self,
        memory_bytes: int = 1 << 30,
        *,
        compute_capability: tuple[int, int] = (8, 6),
        loads: Callable[[bytes], bool] = lambda image: True,
        run_kernel: RunKernel = no_kernels,
    ) -> None:
        self.compute_capability = compute_capability
        self.loads = loads
        self.run_kernel = run_kernel
        self.modules: list[bytes] = []
        self.next_address = ALIGNMENT
        self.memory: dict[int, np.ndarray] = {}
        self.memory_bytes = memory_bytes
        self.streams: dict[int, FakeStream] = {}
        self.contexts: list[str] = []
        self.retained = 0
        self.log: list[str] = []
        self.now_ms = 0.0
        self.Context = type("Context", (), {"pop": staticmethod(self._pop)})

    def _pop(self) -> None:
        self.contexts.pop()

    def require_context(self) -> None:
        if not self.contexts:
            raise FakeCudaError("invalid device context - no currently active context?")

    def init(self) -> None:
        pass

    def Device(self, ordinal: int) -> "FakeDevice":  # noqa: N802
        return FakeDevice(self)

    def Stream(self) -> FakeStream:  # noqa: N802
        self.require_context()
        stream = FakeStream(self, len(self.streams) + 1)
        self.streams[stream.handle] = stream
        return stream

    def Event(self, flags: int = 0) -> FakeEvent:  # noqa: N802
        self.require_context()
        return FakeEvent(self, flags)

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        self.require_context()
        memory = np.empty(shape, dtype)
        memory.view(np.uint8).fill(POISON)
        return memory

    def mem_alloc(self, size: int) -> FakeAllocation:
        self.require_context()
        if sum(len(each) for each in self.memory.values()) + size > self.memory_bytes:
            raise FakeMemoryError("cuMemAlloc failed: out of memory")
        address = self.next_address
        # Nothing is given the address of what was freed: using that shows.
        self.next_address += (size // ALIGNMENT + 2) * ALIGNMENT
        return FakeAllocation(self, address, size)

    def at(self, address: int) -> np.ndarray:
        """What is at an address, which may lie within an allocation, to its end."""
        for start, data in self.memory.items():
            if start <= address < start + max(len(data), 1):
                return data[address - start :]
        raise FakeCudaError(f"{address} is no address of an allocation")

    def memset_d8_async(self, to: int, value: int, size: int, stream: FakeStream) -> None:
        self.log.append("set")

        def fill() -> None:
            assert size <= len(self.at(to))
            self.at(to)[:size] = value

        stream.put(fill)

    def module_from_buffer(self, image: bytes) -> "FakeModule":
        self.require_context()
        assert image.startswith(b"\x7fELF") or image.endswith(b"\0"), "PTX ends in NUL"
        if not self.loads(image):
            raise FakeCudaError("cuModuleLoadDataEx failed: device kernel image is invalid")
        self.modules.append(image)
        return FakeModule(self)

    def memcpy_htod_async(self, to: FakeAllocation, source: np.ndarray, stream: FakeStream) -> None:
        assert source.flags["C_CONTIGUOUS"]
        self.log.append("copy in")

        def copy() -> None:
            # Read when the copy runs: a host buffer changed too early shows.
            data = source.view(np.uint8).ravel()
            self.now_ms += UPLOAD_MS
            self.memory[to.address][: len(data)] = data

        stream.put(copy)

    def memcpy_dtoh_async(self, to: np.ndarray, source: FakeAllocation, stream: FakeStream) -> None:
        assert to.flags["C_CONTIGUOUS"]
        self.log.append("copy out")

        def copy() -> None:
            target = to.view(np.uint8).reshape(-1)
            self.now_ms += DOWNLOAD_MS
            target[:] = self.memory[source.address][: len(target)]

        stream.put(copy)


class FakeDevice:
    """A GPU."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver

    def name(self) -> str:
        return "a fake GPU"

    def compute_capability(self) -> tuple[int, int]:
        return self.driver.compute_capability

    def retain_primary_context(self) -> "FakeDevice":
        self.driver.retained += 1
        return self

    def push(self) -> None:
        self.driver.contexts.append("primary")

    def detach(self) -> None:
        self.driver.retained -= 1


class FakeModule:
    """Kernels that were loaded."""

    def __init__(self, driver: FakeDriver) -> None:
        self.driver = driver

    def get_function(self, name: str) -> "FakeFunction":
        assert name in SIGNATURES
        return FakeFunction(self.driver, name)


class FakeFunction:
    """A kernel; it runs when its stream gets there."""

    def __init__(self, driver: FakeDriver, name: str) -> None:
        self.driver = driver
        self.name = name
        self.signature = ""

    def prepare(self, signature: str) -> "FakeFunction":
        self.signature = signature
        return self

    def prepared_async_call(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        stream: FakeStream,
        *arguments: int | float,
    ) -> None:
        assert block == (THREADS, 1, 1) and grid[2] == 1
        assert len(arguments) == len(self.signature)
        self.driver.log.append(self.name)
        launch = Launch(self.name, grid[:2], arguments)
        stream.put(lambda: self.driver.run_kernel(self._on_host(launch)))

    def _on_host(self, launch: Launch) -> Launch:
        """Put the address in this process for each device address."""
        places = zip(self.signature, launch.arguments, strict=True)
        arguments = tuple(
            self.driver.at(value).ctypes.data if kind == "P" else value for kind, value in places
        )
        return replace(launch, arguments=arguments)


class FakeRecorder:
    """Records what is put on a stream, as CUDA graphs do; `refuses` makes it fail."""

    def __init__(self, refuses: type[Exception] | None = None) -> None:
        self.refuses = refuses
        self.alive = 0
        self.launches = 0

    def record(self, stream: FakeStream, enqueue: Work) -> "FakeGraph":
        assert not stream.waiting, "recording a stream with work on it"
        stream.recording = []
        try:
            enqueue()
        finally:
            recorded, stream.recording = stream.recording, None
        if self.refuses is not None:
            raise self.refuses("cannot be recorded")
        self.alive += 1
        return FakeGraph(self, recorded)


class FakeGraph:
    """Recorded work."""

    def __init__(self, recorder: FakeRecorder, recorded: list[Work]) -> None:
        self.recorder = recorder
        self.recorded = recorded

    def launch(self, stream: FakeStream) -> None:
        self.recorder.launches += 1
        for work in self.recorded:
            stream.put(work)

    def destroy(self) -> None:
        self.recorder.alive -= 1
