import io
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from neuroscan_edge.errors import CorruptScanError, RejectedScanError, ScanError, UsageError
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.spec import Finding
from support.dicom_cases import item
from support.scan_cases import SOP_UID, decoded, dicom_file, noise, swapped

SLICE = dicom_file(noise((6, 7)))
SHIPPED = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"


def record(reference, kind="IMAGE", **elements):
    named = {} if reference is None else {"ReferencedFileID": reference}
    return item(DirectoryRecordType=kind, RecordInUseFlag=65535, **named, **elements)


def directory(*records):
    dataset = Dataset()
    dataset.FileSetID = "DISC"
    dataset.DirectoryRecordSequence = Sequence(records)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = SOP_UID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def disc(folder, *references, records=()):
    """Slices in a folder, and a DICOMDIR that lists them in that order."""
    for reference in references:
        path = folder.joinpath(*reference)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SLICE)
    path = folder / "DICOMDIR"
    path.write_bytes(directory(*(record(list(each)) for each in references), *records))
    return path


def names(files, folder):
    return [file.relative_to(folder).as_posix() for file in files]


def test_given_by_name_it_stands_for_its_images_in_its_order(tmp_path):
    path = disc(tmp_path, ("B", "IM2"), ("A", "IM1"), ("IM3",))
    found = find_scans([path])
    assert names(found.files, tmp_path) == ["B/IM2", "A/IM1", "IM3"]
    assert all(len(list(read_scans(file))) == 1 for file in found.files)


def test_in_a_folder_it_is_neither_listed_nor_counted(tmp_path):
    disc(tmp_path, ("A", "IM1"), ("IM3",))
    (tmp_path / "unlisted.dcm").write_bytes(SLICE)
    found = find_scans([tmp_path])
    assert names(found.files, tmp_path) == ["A/IM1", "IM3", "unlisted.dcm"]
    assert found.skipped == 0


def test_it_is_known_by_its_content_under_any_name(tmp_path):
    disc(tmp_path, ("A", "IM1")).rename(tmp_path / "index")
    assert names(find_scans([tmp_path]).files, tmp_path) == ["A/IM1"]
    assert names(find_scans([tmp_path / "index"]).files, tmp_path) == ["A/IM1"]


def test_read_as_a_scan_it_is_no_image(tmp_path):
    path = disc(tmp_path, ("A", "IM1"))
    with pytest.raises(RejectedScanError) as caught:
        decoded(read_scans(path))
    assert caught.value.finding == Finding.NOT_AN_IMAGE


def test_names_in_another_case(tmp_path):
    path = disc(tmp_path, ("PAT", "IM1"), ("PAT", "IM2"))
    (tmp_path / "PAT").rename(tmp_path / "pat")
    (tmp_path / "pat" / "IM1").rename(tmp_path / "pat" / "im1")
    found = names(find_scans([path]).files, tmp_path)
    assert found == ["pat/im1", "pat/IM2"]


def test_missing_file_is_listed_so_that_it_is_reported(tmp_path):
    path = disc(tmp_path, ("A", "IM1"), ("A", "IM2"))
    (tmp_path / "A" / "IM2").unlink()
    assert names(find_scans([path]).files, tmp_path) == ["A/IM1", "A/IM2"]


def test_only_images_in_use_are_listed_and_each_once(tmp_path):
    more = [
        record(["A", "SR1"], kind="SR DOCUMENT"),
        record(None, kind="PATIENT"),
        record(["A", "IM1"]),
        item(DirectoryRecordType="IMAGE", RecordInUseFlag=0, ReferencedFileID=["A", "GONE"]),
    ]
    path = disc(tmp_path, ("A", "IM1"), records=more)
    assert names(find_scans([path]).files, tmp_path) == ["A/IM1"]


SPELLINGS = {
    "slash": ["A/IM1"],
    "slash in a part": ["A/B", "IM1"],
    "dot before": [".", "A", "IM1"],
    "dot and slash before": ["./A/IM1"],
    "dot in the middle": ["A", ".", "IM1"],
    "backslash before": ["", "A", "IM1"],
    "lower case": ["a", "im1"],
    "lower case with slashes": ["a/im1"],
    "blanks behind": ["A  ", "IM1   "],
    "blanks before": [" A", " IM1"],
    "blanks and slashes": ["A / IM1 "],
}


@pytest.mark.parametrize("reference", SPELLINGS.values(), ids=SPELLINGS.keys())
@pytest.mark.filterwarnings("ignore")
def test_names_that_are_spelt_otherwise(tmp_path, reference):
    files = [("A", "IM1"), ("A", "B", "IM1")]
    path = disc(tmp_path, *files)
    path.write_bytes(directory(record(reference)))
    (found,) = names(find_scans([path]).files, tmp_path)
    assert found == ("A/B/IM1" if "B" in "".join(reference) else "A/IM1")


@pytest.mark.filterwarnings("ignore")
def test_several_spellings_of_one_file_are_one(tmp_path):
    path = disc(tmp_path, ("A", "IM1"))
    spelt = [record(["A", "IM1"]), record(["A/IM1"]), record(["a", "im1 "]), record(["./A/IM1"])]
    path.write_bytes(directory(*spelt))
    assert names(find_scans([path]).files, tmp_path) == ["A/IM1"]


def test_folders_that_were_unpacked_into_names(tmp_path):
    path = disc(tmp_path, ("A", "IM1"))
    (tmp_path / "A" / "IM1").rename(tmp_path / "A\\IM1")
    assert names(find_scans([path]).files, tmp_path) == ["A\\IM1"]


OUTSIDE = {
    "parent": ["..", "secret.dcm"],
    "parent in the middle": ["A", "..", "..", "secret.dcm"],
    "separator": ["../secret.dcm"],
    "separator in the middle": ["A/../../secret.dcm"],
    "dot, then parent": [".", "..", "secret.dcm"],
    "backslash, then parent": ["", "..", "secret.dcm"],
    "absolute": ["/etc/passwd"],
    "two slashes": ["//etc/passwd"],
    "dots alone": ["./."],
    "drive": ["C:/secret.dcm"],
    "the folder itself": ["."],
    "empty part": ["A", "", "IM1"],
    "other separator": ["C:"],
}


@pytest.mark.parametrize("reference", OUTSIDE.values(), ids=OUTSIDE.keys())
@pytest.mark.filterwarnings("ignore")
def test_path_outside_its_folder_is_refused(tmp_path, reference):
    (tmp_path / "secret.dcm").write_bytes(SLICE)
    folder = tmp_path / "disc"
    path = disc(folder, ("A", "IM1"), records=[record(reference)])
    with pytest.raises(UsageError, match="outside its folder") as caught:
        find_scans([path])
    assert "secret" not in str(caught.value)
    assert "passwd" not in str(caught.value)


def test_link_out_of_its_folder_is_refused(tmp_path):
    (tmp_path / "secret.dcm").write_bytes(SLICE)
    path = disc(tmp_path / "disc", ("A", "IM1"), ("A", "IM2"))
    (tmp_path / "disc" / "A" / "IM2").unlink()
    (tmp_path / "disc" / "A" / "IM2").symlink_to("../../secret.dcm")
    with pytest.raises(UsageError, match="outside its folder"):
        find_scans([path])


def test_damaged_directory_is_reported(tmp_path):
    path = tmp_path / "DICOMDIR"
    whole = directory(record(["A", "IM1"]))
    path.write_bytes(swapped(whole, b"\x04\x00\x20\x12SQ", b"\x04\x00\x20\x12ZZ"))
    (file,) = find_scans([path]).files or [path]
    assert file == path
    with pytest.raises((CorruptScanError, RejectedScanError)):
        decoded(read_scans(file))


@pytest.mark.parametrize("length", [0, 100, 200, 300, 380])
def test_cut_directory_ends_in_a_row_or_nothing(tmp_path, length):
    path = tmp_path / "DICOMDIR"
    path.write_bytes(directory(record(["A", "IM1"]))[:length])
    for file in find_scans([path]).files:
        with pytest.raises(ScanError):
            decoded(read_scans(file))


def test_a_shipped_file_set(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "set")
    path = tmp_path / "set" / "DICOMDIR"
    found = find_scans([path]).files
    assert len(found) == 31
    assert len(set(found)) == len(found)
    for file in found:
        (scan,) = read_scans(file)
        assert scan.pixels.shape == (16, 16)
        assert scan.pixels.dtype == np.uint8
