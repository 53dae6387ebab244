"""Threads and streams: what is measured, what is kept, and that results stay the same."""

import json
import os

import numpy as np
import pytest

from neuroscan_edge.errors import SpecError
from neuroscan_edge.runtimes import (
    Parallelism,
    RuntimeInfo,
    RuntimeOptions,
    choose_runtime,
    open_runtime,
    tune,
)
from neuroscan_edge.runtimes import thread_tuning as tuning_module
from neuroscan_edge.runtimes.onnxrt import runner as onnxruntime_
from neuroscan_edge.runtimes.ov import runner as openvino_
from neuroscan_edge.runtimes.parallelism import (
    cache_path,
    candidates,
    measured_best,
    random_slices,
    read_parallelism,
    shares,
    unmeasured,
    write_parallelism,
)
from neuroscan_edge.runtimes.protocol import Outputs
from neuroscan_edge.spec import Precision, RuntimeName
from support.tiny_models import calibrated_bundle, tiny_images

KEY = {"cpu": "one", "batch": "many slices"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    return calibrated_bundle(tmp_path_factory.mktemp("parallelism") / "tiny")


class TimedRuntime:
    """Takes what `cost` says on a fake clock."""

    info = RuntimeInfo("fake", "1", "cpu", Precision.INT8, "0" * 64)

    def __init__(self, clock, cost):
        self.clock, self.cost, self.closed = clock, cost, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def __call__(self, batch):
        self.clock.now += self.cost
        return np.zeros((len(batch), 4), np.float32)


class HurriedRuntime(TimedRuntime):
    """Takes `cost` for a batch alone, and half of it where the next is begun before."""

    overlaps = True

    def start(self, batch):
        return HurriedBatch(self, batch)


class HurriedBatch:
    def __init__(self, runtime, batch):
        self.runtime, self.batch = runtime, batch

    def result(self):
        self.runtime.clock.now += self.runtime.cost // 2
        return Outputs(np.zeros((len(self.batch), 4), np.float32))

    def cancel(self):
        pass


class DisturbedRuntime(TimedRuntime):
    """Something else takes a while of the machine each time it is opened."""

    def __enter__(self):
        self.disturbed = 6
        return self

    def __call__(self, batch):
        self.disturbed -= 1
        self.clock.now += 5_000_000 * (self.disturbed > 0)
        return super().__call__(batch)


class Clock:
    now = 0

    def __call__(self):
        return self.now


def measured(costs, kinds=None):
    clock, opened = Clock(), []

    def open_with(choice):
        kind = (kinds or {}).get(choice, TimedRuntime)
        opened.append(kind(clock, costs[choice]))
        return opened[-1]

    best, medians = measured_best(open_with, tuple(costs), tiny_images(4), clock)
    assert all(each.closed for each in opened)
    return best, medians


def test_the_fastest_is_taken():
    slow, fast = Parallelism(4), Parallelism(2, 2)
    best, medians = measured({slow: 10_000_000, fast: 8_000_000})
    assert best == fast
    assert medians == {"1 x 4 threads": 10, "2 x 2 threads": 8}


def test_batches_follow_each_other_as_in_a_run():
    one, two = Parallelism(4), Parallelism(2, 2)
    costs = {one: 10_000_000, two: 12_000_000}
    best, medians = measured(costs, {two: HurriedRuntime})
    assert best == two
    assert medians == {"1 x 4 threads": 10, "2 x 2 threads": 6}


def test_what_disturbs_a_few_short_calls_decides_nothing():
    default, other = Parallelism(2), Parallelism(2, spinning=True)
    costs = {default: 10_000_000, other: 9_000_000}
    best, medians = measured(costs, {other: DisturbedRuntime})
    assert best == other
    assert medians[str(other)] == 9


def test_the_default_stays_for_less_than_chance():
    default, other = Parallelism(4), Parallelism(2, 2)
    assert measured({default: 10_000_000, other: 9_800_000})[0] == default


def test_what_is_measured_depends_on_cores_and_batch():
    assert candidates(2, 16) == (Parallelism(2), Parallelism(1, 2))
    assert candidates(8, 16) == (
        Parallelism(8), Parallelism(4, 2), Parallelism(2, 4), Parallelism(1, 8),
    )  # fmt: skip
    assert candidates(8, 2) == (Parallelism(8), Parallelism(4, 2))
    assert candidates(2, 1) == (Parallelism(2), Parallelism(2, spinning=True))
    assert candidates(1, 16) == (Parallelism(1),)


def test_noise_is_not_zeros(calibrated):
    noise = random_slices(calibrated.preprocessing, 3)
    assert noise.shape == (3, 32, 32, 1)
    assert noise.dtype == np.uint8
    assert noise.std() > 60


@pytest.mark.parametrize(("count", "streams"), [(16, 2), (5, 2), (1, 4), (7, 3), (2, 8)])
def test_a_batch_is_shared_out_whole_and_evenly(count, streams):
    parts = [list(range(count))[share] for share in shares(count, streams)]
    assert sum(parts, []) == list(range(count))
    assert len(parts) == min(count, streams)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("count", "streams", "sizes"),
    [
        (16, 2, [4] * 4),
        (10, 2, [3, 3, 2, 2]),
        (18, 4, [3, 3, 2, 2, 2, 2, 2, 2]),
        (8, 2, [4, 4]),
        (3, 2, [2, 1]),
        (9, 1, [3, 3, 3]),
        (2, 4, [1, 1]),
    ],
)
def test_a_part_is_no_larger_than_asked_and_rounds_are_of_equal_parts(count, streams, sizes):
    parts = [list(range(count))[share] for share in shares(count, streams, at_most=4)]
    assert [len(part) for part in parts] == sizes
    assert sum(parts, []) == list(range(count))


def test_an_answer_is_kept_for_this_user_alone():
    write_parallelism(KEY, Parallelism(1, 2), {"1 x 2 threads": 3.0})
    path = cache_path(KEY)
    assert read_parallelism(KEY) == Parallelism(1, 2)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_parallelism({**KEY, "cpu": "another"}) is None
    path.chmod(0o622)
    assert read_parallelism(KEY) is None, "another user could have written it"


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: "{",
        lambda stored: "[]",
        lambda stored: json.dumps({**stored, "schema": 99}),
        lambda stored: json.dumps({**stored, "key": {}}),
        lambda stored: json.dumps({**stored, "parallelism": {"threads": "x"}}),
        lambda stored: json.dumps(
            {**stored, "parallelism": {"threads": -1, "streams": 0, "spinning": False}}
        ),
        lambda stored: json.dumps(
            {**stored, "parallelism": {"threads": 1, "streams": 255, "spinning": False}}
        ),
    ],
    ids=["torn", "a list", "newer", "another key", "no number", "out of range", "too many cores"],
)
def test_a_damaged_answer_is_measured_again(damage, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    write_parallelism(KEY, Parallelism(1, 2), {})
    path = cache_path(KEY)
    path.write_text(damage(json.loads(path.read_text())))
    path.chmod(0o600)
    assert read_parallelism(KEY) is None


@pytest.mark.parametrize("runtime", [RuntimeName.ONNXRUNTIME, RuntimeName.OPENVINO], ids=str)
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8], ids=str)
@pytest.mark.parametrize("count", [1, 2, 5, 16])
def test_streams_do_not_change_results_or_share_them(calibrated, runtime, count, precision):
    images = tiny_images(count, seed=count)
    one = RuntimeOptions(precision, runtime=runtime, threads=1)
    three = RuntimeOptions(precision, runtime=runtime, parallelism=Parallelism(1, 3))
    with open_runtime(calibrated, one) as run:
        expected = run(images)
    with open_runtime(calibrated, three) as run:
        found = run(images)
        kept = found.copy()
        run(tiny_images(count, seed=99))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(found, kept)


@pytest.mark.parametrize(
    ("name", "module"),
    [(RuntimeName.ONNXRUNTIME, onnxruntime_), (RuntimeName.OPENVINO, openvino_)],
    ids=["onnxruntime", "openvino"],
)
def test_a_stream_takes_a_part_at_a_time(calibrated, monkeypatch, name, module):
    real, sizes = module._run, []

    def watched(*given):
        outputs = real(*given)
        sizes.append(len(outputs.probabilities))
        return outputs

    monkeypatch.setattr(module, "_run", watched)
    options = RuntimeOptions(Precision.FP32, runtime=name, parallelism=Parallelism(1, 2))
    with open_runtime(calibrated, options) as run:
        sizes.clear()
        run(tiny_images(14))
    assert sorted(sizes) == [3, 3, 4, 4]


def tuned(bundle, *, slices=10_000, again=False, runtime=RuntimeName.ONNXRUNTIME, **options):
    chosen = RuntimeOptions(Precision.INT8, runtime=runtime, **options)
    choice = choose_runtime(bundle, chosen)
    return tune(bundle, choice, chosen, batch_size=16, slices=slices, again=again)


def test_tuning_measures_once_then_remembers(calibrated, monkeypatch):
    monkeypatch.setattr(tuning_module, "usable_cores", lambda: 2)
    asked = []

    def fake_best(open_with, choices, batch):
        asked.append(choices)
        with open_with(choices[1]) as run:
            assert run(batch).shape == (16, 4)
        return choices[1], {"a": 1.0}

    monkeypatch.setattr(tuning_module, "measured_best", fake_best)
    first, second = tuned(calibrated), tuned(calibrated, slices=3)
    assert (first.reason, second.reason) == ("measured now", "measured before")
    assert first.options.on_cpu == second.options.on_cpu == Parallelism(1, 2)
    assert len(asked) == 1
    assert tuned(calibrated, again=True).reason == "measured now"


@pytest.mark.parametrize(
    ("runtime", "expected"),
    [(RuntimeName.ONNXRUNTIME, Parallelism(1, 2)), (RuntimeName.OPENVINO, Parallelism())],
    ids=str,
)
def test_few_slices_are_not_worth_measuring(calibrated, monkeypatch, runtime, expected):
    monkeypatch.setattr(tuning_module, "usable_cores", lambda: 2)
    found = tuned(calibrated, slices=4095, runtime=runtime)
    assert (found.reason, found.options.on_cpu) == ("default", expected)


@pytest.mark.parametrize(
    ("runtime", "most"), [(RuntimeName.ONNXRUNTIME, 16), (RuntimeName.OPENVINO, 4)], ids=str
)
def test_streams_that_are_models_of_their_own_are_few(calibrated, monkeypatch, runtime, most):
    monkeypatch.setattr(tuning_module, "usable_cores", lambda: 16)
    asked = []

    def fake_best(open_with, choices, batch):
        asked.extend(choices)
        return choices[0], {"a": 1.0}

    monkeypatch.setattr(tuning_module, "measured_best", fake_best)
    tuned(calibrated, runtime=runtime)
    assert max(each.streams for each in asked) == most


def test_unmeasured_every_core_gets_a_part_or_all_share_each_operator():
    assert unmeasured(4, 16) == Parallelism(1, 4)
    assert unmeasured(4, 15) == unmeasured(2, 1) == unmeasured(1, 16) == Parallelism()


def test_threads_asked_for_are_left_alone(calibrated):
    found = tuned(calibrated, threads=1)
    assert (found.reason, found.options.on_cpu) == ("asked for", Parallelism(1))


@pytest.mark.parametrize("fields", [{"threads": -1}, {"streams": 0}, {"streams": 1000}])
def test_parallelism_out_of_range_is_refused(fields):
    with pytest.raises(SpecError):
        Parallelism(**fields)
