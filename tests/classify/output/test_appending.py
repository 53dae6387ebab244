"""Results that grow: exactly once, wherever the program ended between journal and results."""

import errno
import os

import pytest

from neuroscan_edge.classify.output import appending as module
from neuroscan_edge.classify.output.appending import WatchedOutput
from neuroscan_edge.errors import OutputError, UsageError
from neuroscan_edge.system.journal import JournalError

ONE, TWO = b"1" * 16, b"2" * 16


@pytest.fixture
def output(tmp_path):
    path = tmp_path / "results.jsonl"
    with WatchedOutput(path) as written:
        written.append("first\n", [ONE])
        written.append("caf\udce9\nthird\n", [TWO])
    return path


WHOLE = b"first\ncaf\xe9\nthird\n"


def test_what_was_written_is_there_and_known(output):
    assert output.read_bytes() == WHOLE
    with WatchedOutput(output) as again:
        assert again.seen == {ONE, TWO}
        again.append("fourth\n", [])
    assert output.read_bytes() == WHOLE + b"fourth\n"


@pytest.mark.parametrize("cut", range(0, 11))
def test_the_last_results_are_completed_wherever_they_were_cut(output, cut):
    output.write_bytes(WHOLE[: len(WHOLE) - cut])
    with WatchedOutput(output) as again:
        assert again.seen == {ONE, TWO}
    assert output.read_bytes() == WHOLE


def test_a_record_that_was_torn_never_happened(output):
    journal = output.with_name("results.jsonl.watch")
    journal.write_bytes(journal.read_bytes()[:-3])
    output.write_bytes(b"first\n")
    with WatchedOutput(output) as again:
        assert again.seen == {ONE}
        again.append("second\n", [TWO])
    assert output.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("change", [b"first\nother results\n", b"f", WHOLE + b"more", None])
def test_results_that_were_changed_are_refused(output, change):
    if change is None:
        output.unlink()
    else:
        output.write_bytes(change)
    with pytest.raises(JournalError, match="not as the last watch left it"):
        WatchedOutput(output)
    with WatchedOutput(output, restart=True) as anew:
        assert anew.seen == set()
    assert output.read_bytes() == b""


def test_results_of_others_are_not_appended_to(tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text("of another\n")
    with pytest.raises(UsageError, match="no watch has written"):
        WatchedOutput(path)
    assert path.read_text() == "of another\n"


def test_a_full_disk_loses_nothing(output, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with WatchedOutput(output) as written, monkeypatch.context() as patched:
        # The journal has it, and the results do not.
        patched.setattr(WatchedOutput, "_write", full)
        with pytest.raises(OutputError, match="free some space"):
            written.append("fourth\n", [])
    assert output.read_bytes() == WHOLE
    WatchedOutput(output).close()
    assert output.read_bytes() == WHOLE + b"fourth\n"


def test_a_second_watch_is_refused(output):
    with WatchedOutput(output), pytest.raises(JournalError, match="in use"):
        WatchedOutput(output)


def test_what_follows_is_forced_to_the_disk_first(output, monkeypatch):
    forced = []
    monkeypatch.setattr(module.os, "fsync", forced.append)
    with WatchedOutput(output) as written:
        forced.clear()
        written.append("fourth\n", [])
        assert len(forced) == 2
