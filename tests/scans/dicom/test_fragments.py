"""Offset tables that lie: each row its own slice or an error, never a neighbour."""

import struct

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits, Scan, ScanFault
from neuroscan_edge.scans.dicom.fragments import EncapsulatedFrames
from neuroscan_edge.scans.dicom.reader import read_dicom
from support.dicom_cases import lossless_jpeg, multi_frame
from support.expected_pixels import by_percentile
from support.phantoms import head
from support.scan_cases import dicom_bytes, encoded

SIDE = 64
STORED = np.stack([head(SIDE, 255, seed) for seed in range(3)]).astype(np.uint8)
LOSSY_LEVELS = 20
ITEM = b"\xfe\xff\x00\xe0"


def compressed_frames(syntax):
    if syntax == JPEGBaseline8Bit:
        return [encoded(frame, "JPEG", quality=95) for frame in STORED]
    if syntax == JPEGLosslessSV1:
        return [lossless_jpeg(frame, 8) for frame in STORED]
    frames = []
    for stored in STORED:
        dataset = multi_frame(stored[None])
        dataset.file_meta = pydicom_meta()
        compress(dataset, syntax, generate_instance_uid=False)
        data = dataset.PixelData
        frames.append(next(iter(values(data)[1:])))
    return frames


def pydicom_meta():
    meta = Dataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta


def values(data):
    """The values of items, the first of them the table's."""
    found, at = [], 0
    while data[at : at + 4] == ITEM:
        (length,) = struct.unpack_from("<I", data, at + 4)
        found.append(data[at + 8 : at + 8 + length])
        at += 8 + length
    return found


SYNTAXES = [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless]
FRAMES = {syntax: compressed_frames(syntax) for syntax in SYNTAXES}


def pieces(frame, count):
    """A frame cut into so many fragments of an even length."""
    frame += bytes(len(frame) % 2)
    size = -(-len(frame) // count)
    size += size % 2
    return [frame[start : start + size] for start in range(0, len(frame), size)]


def fragments_of(syntax, parts):
    return [piece for frame in FRAMES[syntax] for piece in pieces(frame, parts)]


def offsets_of(fragments, parts):
    offsets, at = [], 0
    for index, fragment in enumerate(fragments):
        if index % parts == 0:
            offsets.append(at)
        at += 8 + len(fragment)
    return offsets


def stack(syntax, fragments, basic=(), extended=None, frames=3):
    dataset = multi_frame(STORED)
    if frames is None:
        del dataset.NumberOfFrames
    table = struct.pack(f"<{len(basic)}I", *basic)
    items = (ITEM + struct.pack("<I", len(each)) + each for each in (table, *fragments))
    dataset.PixelData = b"".join(items)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    if extended is not None:
        offsets, lengths = extended
        dataset.ExtendedOffsetTable = struct.pack(f"<{len(offsets)}Q", *offsets)
        dataset.ExtendedOffsetTableLengths = struct.pack(f"<{len(lengths)}Q", *lengths)
    return dicom_bytes(dataset, syntax)


def read(data):
    return list(read_dicom(data, "stack.dcm", Limits()))


def assert_own_slices(scans, lossy):
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2]
    for scan, stored in zip(scans, STORED, strict=True):
        assert isinstance(scan, Scan), scan.error
        difference = np.abs(scan.pixels - by_percentile(stored))
        assert difference.max() <= (LOSSY_LEVELS if lossy else 1)


# Of offsets, to what a writer made of them.
TABLES = {
    "right": lambda right: right,
    "zeros": lambda right: [0] * len(right),
    "from the file's beginning": lambda right: [each + 1000 for each in right],
    "from the table's beginning": lambda right: [each + 8 + 4 * len(right) for each in right],
    "of the values": lambda right: [each + 8 for each in right],
    "one frame late": lambda right: [*right[1:], right[-1] + 9000],
    "one frame early": lambda right: [0, *right[:-1]],
    "too short": lambda right: right[:-1],
    "of the first alone": lambda right: right[:1],
    "too long": lambda right: [*right, right[-1] + 8],
    "overlapping": lambda right: [each // 2 for each in right],
    "beyond the data": lambda right: [each + (1 << 30) for each in right],
    "the last repeated": lambda right: [*right[:-1], right[-2]],
    "ones": lambda right: [0xFFFFFFFF] * len(right),
    "none": lambda right: [],
}
every_table = pytest.mark.parametrize("change", TABLES.values(), ids=TABLES)
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)


@every_syntax
@every_table
@pytest.mark.parametrize("parts", [1, 2], ids=["one fragment", "two fragments"])
def test_basic_offset_table(syntax, change, parts):
    fragments = fragments_of(syntax, parts)
    table = change(offsets_of(fragments, parts))
    assert_own_slices(read(stack(syntax, fragments, table)), syntax == JPEGBaseline8Bit)


@every_syntax
@every_table
def test_extended_offset_table(syntax, change):
    fragments = fragments_of(syntax, 1)
    right = offsets_of(fragments, 1)
    lengths = change([len(each) for each in fragments])
    data = stack(syntax, fragments, extended=(change(right), lengths))
    assert_own_slices(read(data), syntax == JPEGBaseline8Bit)


@every_syntax
@every_table
def test_frames_that_are_not_declared(syntax, change):
    fragments = fragments_of(syntax, 2)
    data = stack(syntax, fragments, change(offsets_of(fragments, 2)), frames=None)
    assert_own_slices(read(data), syntax == JPEGBaseline8Bit)


@every_syntax
@pytest.mark.parametrize("extended", [False, True], ids=["basic", "extended"])
def test_another_order_in_the_table_is_an_error(syntax, extended):
    fragments = fragments_of(syntax, 1)
    first, second, third = offsets_of(fragments, 1)
    table, lengths = [first, third, second], [len(each) for each in fragments]
    data = (
        stack(syntax, fragments, extended=(table, lengths))
        if extended
        else stack(syntax, fragments, table)
    )
    (fault,) = read(data)
    assert isinstance(fault, ScanFault)
    assert "another order" in str(fault.error)


@every_syntax
@pytest.mark.parametrize("bad", range(3))
@pytest.mark.parametrize("junk", [b"", b"\0" * 64, b"\xff" * 64], ids=["empty", "zeros", "ones"])
@pytest.mark.parametrize("table", ["right", "none"])
def test_a_frame_that_is_junk_moves_no_other(syntax, bad, junk, table):
    fragments = fragments_of(syntax, 1)
    fragments[bad] = junk
    scans = read(stack(syntax, fragments, TABLES[table](offsets_of(fragments, 1))))
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2]
    for index, scan in enumerate(scans):
        assert isinstance(scan, Scan) == (index != bad)
        if index != bad:
            levels = LOSSY_LEVELS if syntax == JPEGBaseline8Bit else 1
            assert np.abs(scan.pixels - by_percentile(STORED[index])).max() <= levels


@every_syntax
@pytest.mark.parametrize("kept", range(1, 6))
def test_a_cut_file_gives_no_neighbour(syntax, kept):
    """Of frames in two fragments each only some are left, with the table of all."""
    whole = fragments_of(syntax, 2)
    scans = read(stack(syntax, whole[:kept], offsets_of(whole, 2)))
    assert scans
    for scan in scans:
        if isinstance(scan, Scan) and scan.provenance.frame < kept // 2:
            expected = by_percentile(STORED[scan.provenance.frame])
            levels = LOSSY_LEVELS if syntax == JPEGBaseline8Bit else 1
            assert np.abs(scan.pixels - expected).max() <= levels
        elif isinstance(scan, Scan):
            # The beginning of a frame, decoded as far as it goes.
            differences = [np.abs(scan.pixels - by_percentile(each)).mean() for each in STORED]
            assert int(np.argmin(differences)) == scan.provenance.frame
    assert isinstance(scans[-1], ScanFault)


def test_empty_fragments_between_the_others_are_none():
    frames = FRAMES[JPEGLSLossless]
    fragments = [pieces(frames[0], 1)[0], b"", pieces(frames[1], 1)[0], pieces(frames[2], 1)[0]]
    assert_own_slices(read(stack(JPEGLSLossless, fragments)), lossy=False)


def test_pixel_data_without_a_table():
    """Some writers begin with the first frame."""
    data = stack(JPEG2000Lossless, fragments_of(JPEG2000Lossless, 1))
    assert data.count(ITEM + bytes(4)) == 1
    assert_own_slices(read(data.replace(ITEM + bytes(4), b"")), lossy=False)


def begins(data):
    return data[:1] == b"<"


def ends(data):
    return data.endswith(b">")


def items(*fragments, table=b""):
    return b"".join(ITEM + struct.pack("<I", len(each)) + each for each in (table, *fragments))


def test_fragments_that_nothing_tells_apart_are_refused():
    with pytest.raises(CorruptScanError, match="4 fragments"):
        EncapsulatedFrames(items(b"xx", b"xx", b"xx", b"xx"), 2, begins, ends)


def test_a_valid_table_tells_apart_what_signatures_cannot():
    table = struct.pack("<2I", 0, 20)
    frames = EncapsulatedFrames(items(b"ab", b"cd", b"ef", table=table), 2, begins, ends)
    assert [frames[0], frames[1]] == [b"abcd", b"ef"]


def test_an_item_that_is_longer_than_the_data_is_its_last():
    data = items(b"<a>") + ITEM + struct.pack("<I", 900) + b"<b"
    frames = EncapsulatedFrames(data, 2, begins, ends)
    assert [frames[0], frames[1]] == [b"<a>", b"<b"]


def test_no_item_is_refused():
    with pytest.raises(CorruptScanError, match="no fragment"):
        EncapsulatedFrames(b"\xff\xd8\xff\xe0", 1, begins, ends)
