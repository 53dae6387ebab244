import hashlib
import os
import stat
from pathlib import Path

import pytest

from neuroscan_edge.errors import UsageError
from neuroscan_edge.system.files import check_place, sha256_file, whole_file, write_whole

PREVIOUS = b"what stood there before"
ABOVE_ONE_CHUNK_BYTES = (1 << 20) + 17


class Interrupted(BaseException):
    """Like KeyboardInterrupt, no Exception."""


INTERRUPTIONS = {
    "exception": ValueError,
    "keyboard interrupt": KeyboardInterrupt,
    "system exit": SystemExit,
    "generator exit": GeneratorExit,
    "other base exception": Interrupted,
}


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_file_is_written_whole(tmp_path):
    target = tmp_path / "model.json"
    with whole_file(target) as file:
        file.write(b"one ")
        file.write(b"two")
    assert target.read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["model.json"]


def test_name_appears_only_at_the_end(tmp_path):
    target = tmp_path / "model.json"
    with whole_file(target) as file:
        file.write(b"half")
        file.flush()
        assert not target.exists()
    assert target.exists()


def test_previous_content_is_readable_while_writing(tmp_path):
    target = tmp_path / "model.json"
    target.write_bytes(PREVIOUS)
    with whole_file(target) as file:
        file.write(b"new")
        file.flush()
        assert target.read_bytes() == PREVIOUS
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("interruption", INTERRUPTIONS.values(), ids=INTERRUPTIONS.keys())
def test_nothing_is_left_after_an_interruption(tmp_path, interruption):
    with pytest.raises(interruption), whole_file(tmp_path / "model.json") as file:
        file.write(b"half")
        raise interruption
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("interruption", INTERRUPTIONS.values(), ids=INTERRUPTIONS.keys())
def test_previous_content_survives_an_interruption(tmp_path, interruption):
    target = tmp_path / "model.json"
    target.write_bytes(PREVIOUS)
    target.chmod(0o640)
    with pytest.raises(interruption), whole_file(target) as file:
        file.write(b"half")
        raise interruption
    assert target.read_bytes() == PREVIOUS
    assert mode(target) == 0o640
    assert os.listdir(tmp_path) == ["model.json"]


def test_nothing_is_left_when_the_name_cannot_be_taken(tmp_path):
    target = tmp_path / "model.json"
    target.mkdir()
    (target / "kept").write_bytes(PREVIOUS)
    with pytest.raises(OSError), whole_file(target) as file:
        file.write(b"new")
    assert os.listdir(tmp_path) == ["model.json"]
    assert (target / "kept").read_bytes() == PREVIOUS


def test_a_temporary_file_already_removed_does_not_hide_the_error(tmp_path):
    with pytest.raises(ValueError, match="the real one"), whole_file(tmp_path / "model.json"):
        for name in os.listdir(tmp_path):
            os.unlink(tmp_path / name)
        raise ValueError("the real one")


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "absent" / "model.json", b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600), (0o000, 0o666)],
    ids=["022", "002", "077", "000"],
)
def test_mode_follows_the_umask(tmp_path, umask, mask, expected):
    umask(mask)
    target = tmp_path / "model.json"
    write_whole(target, b"new")
    assert mode(target) == expected
    assert os.umask(mask) == mask


def test_write_whole(tmp_path):
    target = tmp_path / "model.json"
    write_whole(target, b"first")
    write_whole(target, b"second")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["model.json"]


@pytest.mark.parametrize(
    "size_bytes", [0, 1, 1 << 20, ABOVE_ONE_CHUNK_BYTES], ids=["empty", "one", "chunk", "more"]
)
def test_sha256_of_a_file(tmp_path, size_bytes):
    data = bytes(index % 251 for index in range(size_bytes))
    path = tmp_path / "data"
    path.write_bytes(data)
    assert sha256_file(path) == hashlib.sha256(data).hexdigest()


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_place(tmp_path / "record.json")
    check_place(Path("record.json"))
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        check_place(tmp_path / "nowhere" / "record.json")
    with pytest.raises(UsageError, match="is a folder; name a file"):
        check_place(tmp_path)
