"""Streams: parts in turn, the next batch begun before one is done, none called twice at once."""

import threading
import time

import numpy as np
import pytest

from neuroscan_edge.runtimes import Parallelism, RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.parallelism import PART
from neuroscan_edge.runtimes.protocol import Outputs, OverlappingRuntime, Pending, outputs_in_turn
from neuroscan_edge.runtimes.streams import Streams
from neuroscan_edge.spec import Precision, RuntimeName
from support.tiny_models import calibrated_bundle, tiny_images

WAIT_S = 20


class Stream:
    """Answers with each slice's first pixel once its gate is open; notes what it was given."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.parts: list[list[int]] = []
        self.thread_names: set[str] = set()
        self._busy = threading.Lock()

    def __call__(self, batch: np.ndarray) -> Outputs:
        assert self._busy.acquire(blocking=False), "called by two threads at once"
        try:
            self.parts.append(batch[:, 0, 0, 0].tolist())
            self.thread_names.add(threading.current_thread().name)
            self.entered.set()
            assert self.gate.wait(WAIT_S)
            if 255 in batch:
                raise ValueError("spoilt")
            return Outputs(batch[:, 0, 0].astype(np.float32))
        finally:
            self._busy.release()


def numbered(first: int, count: int) -> np.ndarray:
    """(count, 1, 1, 1) uint8, counting up."""
    return np.arange(first, first + count, dtype=np.uint8).reshape(-1, 1, 1, 1)


def values(pending: Pending) -> list[int]:
    return pending.result().probabilities.ravel().tolist()


def held_up(streams: list[Stream], shared: Streams) -> Pending:
    """Start on eight parts, of which every stream is at one until its gate opens."""
    for stream in streams:
        stream.gate.clear()
    begun = shared.start(numbered(0, 8 * PART))
    assert all(stream.entered.wait(WAIT_S) for stream in streams)
    return begun


@pytest.fixture
def two():
    streams = [Stream(), Stream()]
    shared = Streams(streams)
    yield streams, shared
    for stream in streams:
        stream.gate.set()
    shared.close()


@pytest.mark.parametrize("count", [1, 2, 7, 16, 33])
def test_results_come_in_order_whoever_computed_them(two, count):
    _, shared = two
    found = shared(numbered(0, count)).probabilities
    assert found.ravel().tolist() == list(range(count))


def test_parts_go_to_the_streams_in_turn(two):
    streams, shared = two
    for batch in range(5):
        shared(numbered(10 * batch, 2 * PART))
    assert [len(stream.parts) for stream in streams] == [5, 5]


def test_a_batch_is_begun_before_the_one_before_is_done(two):
    (slow, other), shared = two
    slow.gate.clear()
    first = shared.start(numbered(0, 2 * PART))
    second = shared.start(numbered(100, 2 * PART))
    # The other stream does its part of the first, and then all of the second.
    assert values(second) == list(range(100, 100 + 2 * PART))
    assert len(slow.parts) == 1 and len(other.parts) == 3
    slow.gate.set()
    assert values(first) == list(range(2 * PART))


class Shared:
    """A runtime on streams."""

    overlaps = True

    def __init__(self, shared):
        self.start = shared.start

    def __call__(self, batch):
        raise AssertionError("every batch is started on")


def test_batches_in_turn_are_begun_early_and_no_further_than_one_ahead(two):
    streams, shared = two
    begun = []

    def batches():
        for number in range(5):
            begun.append(number)
            yield numbered(10 * number, 2 * PART)

    outputs = outputs_in_turn(Shared(shared), batches())
    for number in range(5):
        found = next(outputs).probabilities[:, 0]
        assert list(found) == list(range(10 * number, 10 * number + 2 * PART))
        assert begun == list(range(min(number + 2, 5)))
    assert not list(outputs)


def test_what_was_begun_of_them_is_cancelled_when_nobody_wants_it(two):
    streams, shared = two
    batches = [numbered(0, 2 * PART), numbered(100, 8 * PART)]
    begun = []

    def start(batch):
        begun.append(shared.start(batch))
        if len(begun) == 1:
            values(begun[0])
            for stream in streams:
                stream.gate.clear()
        return begun[-1]

    runtime = Shared(shared)
    runtime.start = start
    outputs = outputs_in_turn(runtime, batches)
    next(outputs)
    outputs.close()
    assert begun[1]._begun[-1].cancelled()
    for stream in streams:
        stream.gate.set()
    shared.close()
    # Two of the first batch, and what each stream had begun of the second.
    assert sum(len(stream.parts) for stream in streams) <= 4


def test_closing_waits_for_what_is_computed_and_drops_the_rest(two):
    streams, shared = two
    begun = held_up(streams, shared)
    closing = threading.Thread(target=shared.close)
    closing.start()
    while not begun._begun[-1].cancelled():
        time.sleep(0.001)
    assert closing.is_alive()
    for stream in streams:
        stream.gate.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert [len(stream.parts) for stream in streams] == [1, 1]


def test_what_is_cancelled_is_not_begun_and_the_next_batch_comes_at_once(two):
    streams, shared = two
    dropped = held_up(streams, shared)
    dropped.cancel()
    for stream in streams:
        stream.gate.set()
    assert values(shared.start(numbered(100, 2 * PART))) == list(range(100, 100 + 2 * PART))
    assert sum(len(stream.parts) for stream in streams) == 4


def test_a_stream_that_fails_is_told_and_used_again(two):
    streams, shared = two
    with pytest.raises(ValueError, match="spoilt"):
        shared(numbered(250, 6))
    before = [len(stream.parts) for stream in streams]
    for _ in range(3):
        assert len(shared(numbered(0, 2 * PART)).probabilities) == 2 * PART
    assert [len(stream.parts) - had for stream, had in zip(streams, before, strict=True)] == [3, 3]


def test_a_single_slice_or_stream_takes_no_thread(two):
    streams, shared = two
    shared(numbered(0, 1))
    alone = Stream()
    only = Streams([alone])
    assert shared.several and not only.several
    assert values(only.start(numbered(0, 9))) == list(range(9))
    assert alone.parts == [list(range(9))]
    here = {threading.current_thread().name}
    assert alone.thread_names == here
    assert streams[0].thread_names | streams[1].thread_names == here


@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO], ids=str)
def test_a_runtime_overlaps_batches_if_it_has_several_streams(tmp_path, runtime):
    bundle = calibrated_bundle(tmp_path / "tiny")
    images = tiny_images(12)
    for streams in (1, 2):
        options = RuntimeOptions(
            Precision.INT8, runtime=runtime, parallelism=Parallelism(1, streams)
        )
        with open_runtime(bundle, options) as run:
            assert isinstance(run, OverlappingRuntime)
            assert run.overlaps is (streams > 1)
            batches = [images[first : first + 4] for first in (0, 4, 8)]
            expected = [run(batch) for batch in batches]
            begun = [run.start(batch) for batch in batches]
            found = [each.result().probabilities for each in begun]
        np.testing.assert_array_equal(found, expected)
