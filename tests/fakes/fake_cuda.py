"""PyCUDA's driver module as the package uses it, without a GPU.

Work put on a stream runs only when somebody waits for it, in the order that streams and events
allow: code that reads a buffer without waiting finds the poison it was filled with.
"""

from collections.abc import Callable

import numpy as np

POISON = 0xCD
UPLOAD_MS, COMPUTE_MS, DOWNLOAD_MS = 0.5, 3.0, 0.25
Work = Callable[[], None]


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

    MemoryError = FakeMemoryError

    class event_flags:  # noqa: N801
        DISABLE_TIMING = 2

    def __init__(self, memory_bytes: int = 1 << 30) -> None:
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
        return FakeAllocation(self, 4096 * (1 + len(self.log) + len(self.memory)), size)

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

    def retain_primary_context(self) -> "FakeDevice":
        self.driver.retained += 1
        return self

    def push(self) -> None:
        self.driver.contexts.append("primary")

    def detach(self) -> None:
        self.driver.retained -= 1


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
