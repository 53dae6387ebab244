"""Files prepared ahead: in groups where that is safe, and never more than a bounded number."""

import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.classify import prefetch as prefetching
from neuroscan_edge.classify.decoders import Prepared
from neuroscan_edge.classify.output.position import Position
from neuroscan_edge.classify.prefetch import Prefetch
from neuroscan_edge.scans import Provenance

PIXELS = np.zeros((2, 2), np.uint8)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """However busy this machine is."""
    monkeypatch.setattr(prefetching, "QUICK_S", 60.0)


class Preparing:
    """Prepares files of one slice, or of as many as their name says, and notes what it was given.

    Parameters
    ----------
    fails_at, waits_at : str
        The name of a file that raises, and of one that waits until it `may_go_on`.
    stops_at : sequence of str
        Names of files that are answered only alone.
    error : str
        Of every slice.
    delay_s : float
        Before every file.
    """

    def __init__(
        self,
        fails_at: str = "",
        waits_at: str = "",
        stops_at: Sequence[str] = (),
        error: str = "",
        delay_s: float = 0,
    ) -> None:
        self.groups: list[list[str]] = []
        self.may_go_on = threading.Event()
        self._fails_at, self._waits_at, self._stops_at = fails_at, waits_at, stops_at
        self.error, self._delay_s = error or None, delay_s
        self._lock = threading.Lock()

    def __call__(self, paths: Sequence[Path]) -> Iterator[list[Prepared]]:
        with self._lock:
            self.groups.append([path.name for path in paths])
        for path in paths:
            if path.name == self._fails_at:
                raise OSError(path.name)
            if path.name == self._waits_at:
                assert self.may_go_on.wait(20)
            if path.name in self._stops_at and len(paths) > 1:
                return
            time.sleep(self._delay_s)
            slices = int(path.suffix[1:] or 1)
            yield [
                Prepared(Provenance(str(path), frame), PIXELS, self.error)
                for frame in range(slices)
            ]


def prefetch(
    names: Iterable[str], prepare: Preparing, workers: int = 1, ahead: int = 8, together: int = 4
) -> Prefetch:
    return Prefetch(map(Path, names), prepare, lambda: None, workers, ahead, most_together=together)


def names(count: int) -> list[str]:
    return [f"{index:03d}" for index in range(count)]


def test_all_come_in_order_whatever_they_are_grouped_by():
    files = names(100)
    files[40] += ".7"
    files[41] += ".2"
    prepare = Preparing()
    placed = list(prefetch(files, prepare, workers=3))
    expected = [(file, frame) for file in files for frame in range(int(Path(file).suffix[1:] or 1))]
    found = [(each.item.provenance.path, each.item.provenance.frame) for each in placed]
    assert found == expected
    assert sorted(itertools.chain(*prepare.groups)) == sorted(files)
    assert placed[-1].after == Position(100)
    assert placed[42].after == Position(40, 3)


def test_files_are_asked_for_together_once_one_is_seen_to_be_a_single_slice():
    prepare = Preparing()
    list(prefetch(names(60), prepare))
    lengths = [len(group) for group in prepare.groups]
    assert lengths[:9] == [1] * 9
    assert set(lengths[9:-1]) == {4}


@pytest.mark.parametrize(("workers", "ahead", "most"), [(4, 8, 2), (8, 4, 1), (1, 64, 4)])
def test_a_group_leaves_work_for_every_worker(workers, ahead, most):
    prepare = Preparing()
    list(prefetch(names(200), prepare, workers, ahead))
    assert max(map(len, prepare.groups)) == most


@pytest.mark.parametrize("count", [0, 1])
def test_few_files_start_no_thread(count):
    prepare = Preparing()
    prefetched = prefetch(names(count), prepare)
    threads = threading.active_count()
    assert [each.after for each in prefetched] == [Position(1)] * count
    assert threading.active_count() == threads
    assert prepare.groups == [[name] for name in names(count)]


def test_unless_asked_to_none_are():
    prepare = Preparing()
    list(prefetch(names(60), prepare, together=1))
    assert set(map(len, prepare.groups)) == {1}


def test_files_of_several_slices_are_begun_one_by_one():
    prepare = Preparing()
    list(prefetch([f"{name}.3" for name in names(60)], prepare))
    assert set(map(len, prepare.groups)) == {1}


@pytest.mark.parametrize("prepare", [Preparing(error="timeout: x"), Preparing(delay_s=0.004)])
def test_so_are_faulty_and_slow_ones(prepare, monkeypatch):
    if not prepare.error:
        monkeypatch.setattr(prefetching, "QUICK_S", 0.002)
    assert len(list(prefetch(names(60), prepare))) == 60
    assert set(map(len, prepare.groups)) == {1}


def test_what_a_group_leaves_out_is_asked_for_again_in_its_place():
    prepare = Preparing(stops_at=("020", "021", "040"))
    placed = list(prefetch(names(60), prepare, workers=2))
    assert [each.item.provenance.path for each in placed] == names(60)
    assert [each.after.files for each in placed] == list(range(1, 61))
    assert ["020"] in prepare.groups and ["021"] in prepare.groups


def test_after_one_of_several_slices_they_are_again():
    prepare = Preparing()
    list(prefetch([*names(30), *(f"{name}.2" for name in names(60))], prepare))
    lengths = [len(group) for group in prepare.groups]
    assert 4 in lengths and lengths[-40:] == [1] * 40


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_few_are_begun_before_they_are_taken(workers):
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield "one"

    prefetched = prefetch(endless(), Preparing(), workers)
    for number in range(1, 200):
        next(prefetched)
        assert len(taken) <= number + 8 + 4 * workers
    prefetched.close()


def test_what_is_left_of_a_group_is_ready():
    prepare = Preparing(waits_at="013")
    prefetched = prefetch(names(40), prepare)
    for _ in range(10):
        next(prefetched)
    assert ["009", "010", "011", "012"] in prepare.groups
    assert prefetched.has_ready(3) and not prefetched.has_ready(4)
    prepare.may_go_on.set()
    assert len(list(prefetched)) == 30


def test_an_error_is_raised_in_its_groups_place():
    prefetched = prefetch(names(60), Preparing(fails_at="050"))
    found = []
    with pytest.raises(OSError, match="050"):
        for each in prefetched:
            found.append(each.item.provenance.path)
    assert found == names(60)[: len(found)]
    assert 50 - 4 < len(found) <= 50
