import os
from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.errors import ScanError, UsageError
from neuroscan_edge.scans import find_scans, read_scans
from support.scan_cases import as_nobody, dicom_file, encoded, noise, public_folder, within_seconds

PNG = encoded(noise((6, 7)), "PNG")
DICOM = dicom_file(noise((6, 7)))


def put(folder, *names, data=PNG):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(discovery, folder):
    return [file.relative_to(folder).as_posix() for file in discovery.files]


def test_folder_is_listed_by_name(tmp_path):
    put(tmp_path, "c.png", "a.png", "b.png", "B.png", "10.png", "9.png")
    found = find_scans([tmp_path])
    expected = ["10.png", "9.png", "B.png", "a.png", "b.png", "c.png"]
    assert names(found, tmp_path) == expected
    assert found.skipped == 0


def test_folders_are_entered_depth_first_in_place(tmp_path):
    put(tmp_path, "b/2.png", "b/1.png", "a/z/deep.png", "a/m.png", "c.png", "a.png")
    expected = ["a/m.png", "a/z/deep.png", "a.png", "b/1.png", "b/2.png", "c.png"]
    assert names(find_scans([tmp_path]), tmp_path) == expected


def test_order_does_not_depend_on_creation(tmp_path):
    wanted = [f"{index:03}.png" for index in range(50)]
    put(tmp_path / "up", *wanted)
    put(tmp_path / "down", *reversed(wanted))
    listed = [names(find_scans([tmp_path / side]), tmp_path / side) for side in ("up", "down")]
    assert listed == [wanted, wanted]


def test_inputs_keep_their_order(tmp_path):
    put(tmp_path, "z.png", "folder/b.png", "folder/a.png", "m.png")
    inputs = [tmp_path / "z.png", tmp_path / "folder", tmp_path / "m.png"]
    found = find_scans(inputs)
    assert names(found, tmp_path) == ["z.png", "folder/a.png", "folder/b.png", "m.png"]


def test_paths_are_as_the_user_wrote_them(tmp_path, monkeypatch):
    put(tmp_path, "scans/a.png")
    monkeypatch.chdir(tmp_path)
    found = find_scans([Path("scans"), Path("scans/a.png")])
    assert [str(file) for file in found.files] == ["scans/a.png", "scans/a.png"]


@pytest.mark.parametrize(
    "hidden",
    [".a.png", ".cache/a.png", "sub/.a.png", "sub/.git/objects/a.png", "._a.png"],
)
def test_hidden_entries_are_passed_over(tmp_path, hidden):
    put(tmp_path, "seen.png", hidden)
    found = find_scans([tmp_path])
    assert names(found, tmp_path) == ["seen.png"]
    assert found.skipped == 0


def test_hidden_inputs_are_read_when_named(tmp_path):
    put(tmp_path, ".hidden/a.png", ".b.png")
    found = find_scans([tmp_path / ".hidden", tmp_path / ".b.png"])
    assert names(found, tmp_path) == [".hidden/a.png", ".b.png"]


def test_other_files_are_skipped_and_counted(tmp_path):
    put(tmp_path, "notes.txt", "sub/table.csv", "sub/README", data=b"three slices")
    put(tmp_path, "empty", data=b"")
    put(tmp_path, "a.png")
    found = find_scans([tmp_path])
    assert names(found, tmp_path) == ["a.png"]
    assert found.skipped == 4


SUFFIXES = ["png", "jpg", "jpeg", "jpe", "tif", "tiff", "bmp", "dib", "webp", "dcm", "dicom"]


@pytest.mark.parametrize("suffix", [*SUFFIXES, "PNG", "DCM", "Jpg"])
def test_suffix_of_an_image_is_enough(tmp_path, suffix):
    put(tmp_path, f"a.{suffix}", data=b"")
    found = find_scans([tmp_path])
    assert names(found, tmp_path) == [f"a.{suffix}"]
    assert found.skipped == 0


CONTENTS = {
    "DICOM": DICOM,
    **{name: encoded(noise((6, 7)), name) for name in ("PNG", "JPEG", "TIFF", "BMP", "WEBP")},
}


@pytest.mark.parametrize("data", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113619.2", "slice.bak"])
def test_content_of_an_image_is_enough(tmp_path, name, data):
    put(tmp_path, name, data=data)
    assert names(find_scans([tmp_path]), tmp_path) == [name]


def test_named_file_is_listed_whatever_it_is(tmp_path):
    put(tmp_path, "notes.txt", data=b"three slices")
    found = find_scans([tmp_path / "notes.txt"])
    assert found.files == [tmp_path / "notes.txt"]
    assert found.skipped == 0


def test_same_input_twice_is_read_twice(tmp_path):
    put(tmp_path, "a.png")
    assert names(find_scans([tmp_path, tmp_path / "a.png"]), tmp_path) == ["a.png", "a.png"]


@pytest.mark.parametrize("inputs", [["absent"], ["a.png", "absent"], ["a.png/below"]], ids=str)
def test_missing_input_is_a_usage_error(tmp_path, inputs):
    put(tmp_path, "a.png")
    with pytest.raises(UsageError, match="does not exist"):
        find_scans([tmp_path / name for name in inputs])


def test_empty_folder_and_no_input_find_nothing(tmp_path):
    for found in (find_scans([tmp_path]), find_scans([])):
        assert list(found.files) == []
        assert found.skipped == 0


def test_loop_of_links_ends(tmp_path):
    put(tmp_path, "a/a.png", "b.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "here").symlink_to(".")
    with within_seconds(20):
        assert names(find_scans([tmp_path]), tmp_path) == ["a/a.png", "b.png"]


def test_folder_linked_twice_is_entered_once(tmp_path):
    put(tmp_path, "scans/real/a.png")
    (tmp_path / "scans" / "again").symlink_to("real")
    (tmp_path / "scans" / "zagain").symlink_to("real")
    assert names(find_scans([tmp_path / "scans"]), tmp_path / "scans") == ["again/a.png"]


def test_linked_file_is_listed(tmp_path):
    put(tmp_path, "elsewhere/a.png")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "link.png").symlink_to("../elsewhere/a.png")
    (tmp_path / "scans" / "link").symlink_to("../elsewhere/a.png")
    assert names(find_scans([tmp_path / "scans"]), tmp_path / "scans") == ["link", "link.png"]


def test_dangling_link_with_an_image_suffix_is_reported(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "gone").symlink_to("nowhere")
    found = find_scans([tmp_path])
    assert names(found, tmp_path) == ["gone.png"]
    assert found.skipped == 1
    with pytest.raises(ScanError, match="cannot be read"):
        list(read_scans(found.files[0]))


def test_dangling_link_given_by_name_is_reported(tmp_path):
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    assert names(find_scans([tmp_path / "gone.png"]), tmp_path) == ["gone.png"]


@pytest.mark.parametrize("name", ["self.png", "self"])
def test_link_to_itself_does_not_stop_the_search(tmp_path, name):
    put(tmp_path, "a.png", "z.png")
    (tmp_path / name).symlink_to(name)
    found = find_scans([tmp_path])
    assert {"a.png", "z.png"} <= set(names(found, tmp_path))


def test_link_to_itself_given_by_name_is_reported(tmp_path):
    (tmp_path / "self.png").symlink_to("self.png")
    (file,) = find_scans([tmp_path / "self.png"]).files
    with pytest.raises(ScanError):
        list(read_scans(file))


def test_pipe_does_not_block(tmp_path):
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    with within_seconds(20):
        found = find_scans([tmp_path])
    assert names(found, tmp_path) == ["a.png", "pipe.png"]
    assert found.skipped == 1


def test_locked_subfolder_is_reported_not_lost():
    with public_folder() as folder:
        put(folder, "a.png", "locked/b.png", "z.png")
        (folder / "locked").chmod(0)
        with as_nobody():
            found = find_scans([folder])
            assert names(found, folder) == ["a.png", "locked", "z.png"]
            with pytest.raises(ScanError, match="cannot be listed") as caught:
                list(read_scans(folder / "locked"))
            assert caught.value.kind == "unreadable"
            (scan,) = read_scans(folder / "a.png")
    assert isinstance(scan.pixels, np.ndarray)


def test_locked_folder_given_by_name_is_a_usage_error():
    with public_folder() as folder:
        put(folder, "locked/b.png")
        (folder / "locked").chmod(0)
        with as_nobody(), pytest.raises(UsageError, match="cannot be listed"):
            find_scans([folder / "locked"])


def test_file_below_a_locked_folder_given_by_name_is_one_of_our_errors():
    with public_folder() as folder:
        put(folder, "locked/b.png")
        (folder / "locked").chmod(0)
        with as_nobody():
            try:
                (file,) = find_scans([folder / "locked" / "b.png"]).files
            except UsageError:
                return
            with pytest.raises(ScanError):
                list(read_scans(file))


def test_folder_that_can_be_listed_but_not_entered_is_reported():
    with public_folder() as folder:
        put(folder, "a.png", "list-only/b.png", "list-only/sub/c.png")
        (folder / "list-only").chmod(0o744)
        with as_nobody():
            found = find_scans([folder])
            assert names(found, folder) == ["a.png", "list-only/b.png", "list-only/sub"]
            for file in found.files[1:]:
                with pytest.raises(ScanError):
                    list(read_scans(file))


def test_link_into_a_locked_folder_does_not_stop_the_search():
    with public_folder() as folder:
        put(folder, "scans/a.png", "scans/z.png", "locked/sub/b.png")
        (folder / "scans" / "link").symlink_to("../locked/sub")
        (folder / "scans" / "link.png").symlink_to("../locked/sub/b.png")
        (folder / "locked").chmod(0)
        with as_nobody():
            found = find_scans([folder / "scans"])
    assert {"a.png", "link.png", "z.png"} <= set(names(found, folder / "scans"))


def test_unreadable_file_with_an_image_suffix_is_listed():
    with public_folder() as folder:
        put(folder, "a.png", "locked.png")
        (folder / "locked.png").chmod(0)
        with as_nobody():
            assert names(find_scans([folder]), folder) == ["a.png", "locked.png"]


def test_names_that_are_no_text(tmp_path):
    put(tmp_path, "a.png")
    odd = os.path.join(os.fsencode(tmp_path), b"caf\xe9.png")
    with open(odd, "wb") as file:
        file.write(PNG)
    found = find_scans([tmp_path])
    assert [os.fsencode(file.name) for file in found.files] == [b"a.png", b"caf\xe9.png"]


def test_mixed_input(tmp_path):
    put(tmp_path, "series/IM2", "series/IM1", data=DICOM)
    put(tmp_path, "series/.DS_Store", "series/report.txt", data=b"text")
    put(tmp_path, "one.png", "more/x.tif")
    put(tmp_path, "odd.txt", data=b"text")
    inputs = ["odd.txt", "series", "one.png", "more"]
    found = find_scans([tmp_path / name for name in inputs])
    expected = ["odd.txt", "series/IM1", "series/IM2", "one.png", "more/x.tif"]
    assert names(found, tmp_path) == expected
    assert found.skipped == 1
