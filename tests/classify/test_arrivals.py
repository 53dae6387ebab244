"""Which files are whole and new: by a clock that obeys, on a real file system."""

import os

import pytest

from neuroscan_edge.classify.arrivals import Arrivals

PNG = b"\x89PNG\r\n\x1a\n"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def arrivals(clock):
    return Arrivals(settle_s=2.0, clock=clock)


def names(arrivals):
    return [arrival.path.name for arrival in arrivals.whole()]


def test_a_file_is_taken_once_it_stood_still(tmp_path, clock, arrivals):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    arrivals.note(path)
    assert names(arrivals) == []
    clock.now = 1.9
    assert names(arrivals) == []
    with path.open("ab") as file:
        file.write(b"more")
    # It grew: the time begins anew, told of it or not.
    clock.now = 2.1
    assert names(arrivals) == []
    clock.now = 4.0
    assert names(arrivals) == []
    clock.now = 4.2
    assert names(arrivals) == ["a.png"]
    assert names(arrivals) == [] and arrivals.waiting == 0


def test_what_was_taken_is_not_taken_again_unless_it_changes(tmp_path, clock, arrivals):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    arrivals.note(path)
    arrivals.whole()
    clock.now = 3.0
    (taken,) = arrivals.whole()
    arrivals.note(path)
    clock.now = 9.0
    assert names(arrivals) == []
    # Another run that knows of it does not take it either.
    later = Arrivals([taken.identity], settle_s=0.0, clock=clock)
    later.note(path)
    assert names(later) == []
    path.write_bytes(PNG + b"new content")
    arrivals.note(path)
    arrivals.whole()
    clock.now = 12.0
    assert names(arrivals) == ["a.png"]


def test_a_file_that_is_moved_in_is_whole_at_once(tmp_path, clock, arrivals):
    outside = tmp_path / "a.partial"
    outside.write_bytes(PNG)
    written = outside.stat().st_mtime - 60
    os.utime(outside, (written, written))
    inside = tmp_path / "a.png"
    outside.rename(inside)
    arrivals.note(inside)
    assert names(arrivals) == ["a.png"]


@pytest.mark.parametrize("name", ["a.png.partial", "a.PART", "a.tmp", ".a.png", "b.dcm.filepart"])
def test_names_of_unfinished_files_are_left_alone(tmp_path, clock, arrivals, name):
    path = tmp_path / name
    path.write_bytes(PNG)
    arrivals.note(path)
    assert arrivals.waiting == 0


def test_a_file_that_goes_away_is_forgotten(tmp_path, clock, arrivals):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    arrivals.note(path)
    arrivals.whole()
    path.unlink()
    clock.now = 5.0
    assert names(arrivals) == [] and arrivals.waiting == 0


def test_what_is_no_scan_is_passed_over(tmp_path, clock, arrivals):
    for name, data in (("notes.txt", b"text"), ("IM0001", bytes(128) + b"DICM"), ("b", PNG)):
        (tmp_path / name).write_bytes(data)
        arrivals.note(tmp_path / name)
    arrivals.note(tmp_path)
    arrivals.whole()
    clock.now = 3.0
    assert names(arrivals) == ["IM0001", "b"]


def test_what_is_taken_back_comes_again(tmp_path, clock, arrivals):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    arrivals.note(path)
    arrivals.whole()
    clock.now = 3.0
    arrivals.again(arrivals.whole())
    arrivals.whole()
    clock.now = 6.0
    assert names(arrivals) == ["a.png"]
