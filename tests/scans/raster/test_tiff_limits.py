"""Directories of TIFF and EXIF that cost more than they weigh."""

import struct

import numpy as np
import pytest

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError
from neuroscan_edge.scans.raster.tiff_limits import (
    MOST_ENTRIES,
    MOST_STRIPS,
    MOST_VALUE_BYTES,
    check_directories,
)
from support.scan_cases import encoded, noise, tiff_file

GREY = noise((12, 17))


def directory(entries, following, order="<"):
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", following)


def chain(count, order="<"):
    """Empty directories, one after the other."""
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8)
    places = [8 + 6 * index for index in range(count)]
    return head + b"".join(directory([], place, order) for place in [*places[1:], 0]) + bytes(8)


@pytest.mark.parametrize(
    "data",
    [
        encoded(GREY, "TIFF"),
        encoded(GREY, "TIFF", compression="tiff_lzw"),
        encoded(GREY, "TIFF", big_tiff=True),
        tiff_file([GREY] * 3, order=">"),
        encoded(GREY, "PNG"),
        b"",
        b"II*\0",
    ],
    ids=["pillow", "lzw", "BigTIFF", "three pages", "PNG", "empty", "cut"],
)
def test_real_files_pass(data):
    check_directories(data, 3)


@pytest.mark.parametrize("order", ["<", ">"])
def test_pages_are_counted_up_to_the_limit(order):
    check_directories(chain(50, order), 50)
    with pytest.raises(ScanTooLargeError, match="more than 49 pages"):
        check_directories(chain(50, order), 49)


@pytest.mark.parametrize("back_to", [8, 14])
def test_a_loop_ends(back_to):
    data = chain(2)[:16] + struct.pack("<I", back_to) + bytes(8)
    check_directories(data, 2)


def test_a_chain_that_leaves_the_file_ends():
    check_directories(b"II*\0" + struct.pack("<I", 8) + directory([], 10**9) + bytes(8), 1)
    check_directories(b"II*\0" + struct.pack("<I", 10**9) + bytes(8), 1)


def test_directories_that_lie_in_each_other():
    """Each begins 12 bytes after the last and claims 65,535 entries."""
    pages = 4
    entries = 65_535
    data = bytearray(8 + 12 * pages + 2 + 12 * entries + 4)
    data[:8] = b"II*\0" + struct.pack("<I", 8)
    for page in range(pages):
        start = 8 + 12 * page
        struct.pack_into("<H", data, start, entries)
        struct.pack_into("<I", data, start + 2 + 12 * entries, start + 12)
    with pytest.raises(CorruptScanError, match=f"the limit is {MOST_ENTRIES}"):
        check_directories(bytes(data), 1024)


def test_entries_that_all_name_the_whole_file():
    padding = bytes(1 << 20)
    entries = [(40_000 + index, 7, 1 << 20, 0) for index in range(20)]
    data = b"II*\0" + struct.pack("<I", 8) + directory(entries, 0) + padding
    with pytest.raises(CorruptScanError, match=f"the limit is {MOST_VALUE_BYTES}"):
        check_directories(data, 1)
    check_directories(data[:300_000], 1)


def test_more_strips_than_any_page_has():
    for tag in (273, 279, 324, 325):
        data = b"II*\0" + struct.pack("<I", 8) + directory([(tag, 4, MOST_STRIPS + 1, 0)], 0)
        with pytest.raises(CorruptScanError, match="strips"):
            check_directories(data + bytes(8), 1)


def test_big_tiff_is_followed_too():
    entries = [(40_000 + index, 7, 1 << 20, 0) for index in range(20)]
    body = struct.pack("<Q", 20) + b"".join(struct.pack("<HHQQ", *each) for each in entries)
    data = b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + body + bytes(8) + bytes(1 << 20)
    with pytest.raises(CorruptScanError, match=f"the limit is {MOST_VALUE_BYTES}"):
        check_directories(data, 1)
    endless = b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 1 << 60) + bytes(np.uint8(40))
    with pytest.raises(CorruptScanError, match="entries"):
        check_directories(endless, 1)
