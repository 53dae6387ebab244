"""Paths kept as text: a sequence like any other, in a fraction of the memory."""

import tracemalloc
from pathlib import Path

import pytest

from neuroscan_edge.scans import path_list as module
from neuroscan_edge.scans.path_list import Paths

GIVEN = [
    Path("scans/a.png"), Path("scans/b.png"), Path("b.dcm"), Path("caf\udce9.png"), Path("/"),
    Path("."), Path("/c"), Path("../d/.e"),
]  # fmt: skip


def test_what_was_put_in_comes_out():
    paths = Paths(GIVEN[:1])
    for path in GIVEN[1:]:
        paths.append(path)
    assert list(paths) == GIVEN
    assert [paths[index] for index in (0, -1)] == [GIVEN[0], GIVEN[-1]]
    assert list(paths[1:]) == GIVEN[1:]
    assert paths == GIVEN and paths == Paths(GIVEN) and paths != GIVEN[1:]
    assert len(paths) == 8 and GIVEN[1] in paths and Path("c.dcm") not in paths
    assert not Paths()
    with pytest.raises(IndexError):
        paths[8]


def test_going_through_them_leaves_nothing_behind():
    count = 5000
    tracemalloc.start()
    try:
        paths = Paths(Path(f"a/folder/of/scans/{index:06}.png") for index in range(count))
        for path in paths:
            str(path)
        # Not what Python keeps of its own: its table of interned names may grow meanwhile.
        own = tracemalloc.Filter(True, module.__file__)
        kept = tracemalloc.take_snapshot().filter_traces([own])
        size = sum(each.size for each in kept.traces)
    finally:
        tracemalloc.stop()
    # Ten for the name, sixteen for where it ends and its folder; some 350 as a used Path.
    assert size / count < 40
