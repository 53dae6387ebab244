"""The journal: what is torn, altered or held elsewhere is recognised; a full disk spares it."""

import errno
import os

import pytest

from neuroscan_edge.system import journal as module
from neuroscan_edge.system.journal import Journal, JournalError

RECORDS = [{"number": 1}, {"text": "caf\udce9 \n line"}, {"number": 3}]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.journal"
    with Journal(path) as journal:
        for record in RECORDS:
            journal.append(record)
    return path


def read(path):
    with Journal(path) as journal:
        return list(journal.records())


def test_records_come_back(path):
    assert read(path) == RECORDS


@pytest.mark.parametrize("cut", range(1, 22))
def test_a_torn_tail_is_dropped_wherever_it_is_torn(path, cut):
    path.write_bytes(path.read_bytes()[:-cut])
    assert read(path) == RECORDS[:2]
    with Journal(path) as journal:
        list(journal.records())
        journal.append({"number": 4})
        journal.cut()
    assert read(path) == [*RECORDS[:2], {"number": 4}]


def test_an_altered_record_ends_what_is_believed(path):
    data = path.read_bytes()
    path.write_bytes(data.replace(b"caf", b"cup"))
    assert read(path) == RECORDS[:1]


def test_zeros_where_a_power_cut_lost_the_tail_are_no_record(path):
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert read(path) == RECORDS


def test_a_second_holder_is_refused(path):
    with Journal(path), pytest.raises(JournalError, match="in use"):
        Journal(path)
    Journal(path).close()


def test_a_removed_journal_is_another_file_to_who_opens_it_next(path):
    with Journal(path) as journal:
        journal.remove()
        with Journal(path) as other:
            assert list(other.records()) == []


def test_a_full_disk_leaves_what_was_there(path, monkeypatch):
    written = []

    def full(file, view, offset):
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(len(view))
        return os_pwrite(file, view[:5], offset)

    os_pwrite = os.pwrite
    before = path.read_bytes()
    with Journal(path) as journal:
        list(journal.records())
        monkeypatch.setattr(module.os, "pwrite", full)
        with pytest.raises(OSError, match="No space"):
            journal.append({"number": 4})
        assert path.read_bytes() == before
        monkeypatch.setattr(module.os, "pwrite", os_pwrite)
        journal.append({"number": 5})
    assert read(path) == [*RECORDS, {"number": 5}]


def test_the_disk_is_forced_once_a_period_and_at_the_end(tmp_path, monkeypatch):
    forced = []
    now = [100.0]
    monkeypatch.setattr(module.os, "fsync", forced.append)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Journal(tmp_path / "b.journal", sync_every_s=1.0) as journal:
        for _ in range(10):
            journal.append({})
            now[0] += 0.3
        assert len(forced) == 2
    assert len(forced) == 3
