"""Pages of a TIFF: a bad one costs no other, and none shows the pixels of another."""

import struct

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits, ScanFault
from neuroscan_edge.scans.faults import MOST_FAULTS
from neuroscan_edge.scans.grey import luma
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import decoded, encoded, noise, tiff_file

ONE_GREY_LEVEL = 1
GREY = noise((37, 53))


def read(data):
    return list(read_raster(data, "slice", Limits()))


def bad_pages(pages, bad, fault):
    declared = [None] * len(pages)
    if fault == "declared too large":
        declared[bad] = (30000, 30000)
    else:
        pages[bad] = np.full(GREY.shape, np.nan, np.float32)
    return tiff_file(pages, declared=declared)


@pytest.mark.parametrize(
    ("bad", "fault"),
    [(0, "not finite"), (2, "not finite"), (3, "not finite"), (2, "declared too large")],
)
def test_a_bad_page_costs_no_other(bad, fault):
    pages = [GREY + np.uint8(index) for index in range(4)]
    scans = list(read_raster(bad_pages(list(pages), bad, fault), "slice", Limits()))
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2, 3]
    for index, scan in enumerate(scans):
        assert isinstance(scan, ScanFault) is (index == bad)
        if index != bad:
            assert np.array_equal(scan.pixels, pages[index])


def striped(pages, **changes):
    """A TIFF of which a page's strips are of 8 rows; changes cut the list of them."""
    first, *others = (Image.fromarray(page) for page in pages)
    data = encoded(first, "TIFF", save_all=True, append_images=others, tiffinfo={278: 8}, **changes)
    return bytearray(data)


def with_fewer_strips(data, page, count):
    """Let the directory of a page list the first of its strips only."""
    order, at = "<", struct.unpack_from("<I", data, 4)[0]
    for _ in range(page):
        entries = struct.unpack_from(order + "H", data, at)[0]
        at = struct.unpack_from(order + "I", data, at + 2 + 12 * entries)[0]
    for entry in range(struct.unpack_from(order + "H", data, at)[0]):
        place = at + 2 + 12 * entry
        if struct.unpack_from(order + "H", data, place)[0] in (273, 279):
            assert struct.unpack_from(order + "I", data, place + 4)[0] > count >= 2
            struct.pack_into(order + "I", data, place + 4, count)
    return bytes(data)


PAGES = [np.full((64, 48), level, np.uint8) for level in (10, 120, 240)]


def test_strips_of_whole_pages_are_read():
    scans = read(bytes(striped(PAGES)))
    assert [scan.pixels.tolist() for scan in scans] == [page.tolist() for page in PAGES]


def test_a_page_of_too_few_strips_does_not_show_the_page_before():
    data = with_fewer_strips(striped(PAGES), 1, 4)
    first, fault, third = read_raster(data, "slice", Limits())
    assert np.array_equal(first.pixels, PAGES[0])
    assert np.array_equal(third.pixels, PAGES[2])
    with pytest.raises(CorruptScanError, match="1536 of 3072 pixels"):
        _ = fault.pixels


def test_a_single_page_of_too_few_strips_is_truncated():
    with pytest.raises(CorruptScanError, match="truncated"):
        decoded(read(with_fewer_strips(striped(PAGES[:1]), 0, 3)))


def test_separate_planes_and_tiles_cover_their_page():
    rgb = np.stack([PAGES[1], PAGES[0], PAGES[2]], axis=-1)
    planes = np.moveaxis(rgb, 2, 0)
    for compression in (None, "tiff_lzw"):
        data = (
            planar_tiff(planes)
            if compression is None
            else encoded(Image.fromarray(rgb), "TIFF", compression=compression)
        )
        (scan,) = read(data)
        assert np.abs(scan.pixels.astype(int) - luma(rgb)).max() <= ONE_GREY_LEVEL


def planar_tiff(planes):
    """Uncompressed TIFF of planes, (C, H, W) uint8, one strip each."""
    count, height, width = planes.shape
    start = 8 + count * height * width
    tags = {
        256: [width], 257: [height], 258: [8] * count, 259: [1], 262: [2],
        273: [8 + index * height * width for index in range(count)], 277: [count], 278: [height],
        279: [height * width] * count, 284: [2],
    }  # fmt: skip
    after, body, entries = start + 2 + 12 * len(tags) + 4, b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", after + len(body))
        body += b"" if len(values) == 1 else packed
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return struct.pack("<2sHI", b"II", 42, start) + planes.tobytes() + directory + body


def test_a_missing_plane_is_truncated():
    rgb = np.stack([PAGES[1], PAGES[0], PAGES[2]])
    with pytest.raises(CorruptScanError, match="truncated"):
        decoded(read(with_fewer_strips(bytearray(planar_tiff(rgb)), 0, 2)))


def test_after_many_bad_pages_the_rest_is_not_tried():
    count = MOST_FAULTS + 4
    data = tiff_file([GREY] * count, declared=[None, *[(30000, 30000)] * (count - 1)])
    first, *faults = read_raster(data, "slice", Limits())
    assert np.array_equal(first.pixels, GREY)
    assert [fault.provenance.frame for fault in faults] == list(range(1, MOST_FAULTS + 1))
    assert "pages 9 to 11 are not tried" in str(faults[-1].error)
    assert not any("tried" in str(fault.error) for fault in faults[:-1])
