"""Pages of a TIFF: a bad one costs no other, and none shows the pixels of another."""

import contextlib
import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import Limits, ScanFault
from neuroscan_edge.scans.faults import MOST_FAULTS
from neuroscan_edge.scans.grey import luma
from neuroscan_edge.scans.raster.reader import read_raster
from neuroscan_edge.scans.raster.signature import has_signature
from support.scan_cases import PATIENT_NAME, decoded, encoded, noise, tiff_file
from support.tiff_writing import Page, Storage, written

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


def subfile(kind, level, shape=(37, 53), **tags):
    samples = np.full((*shape, 1), level, np.uint8)
    changes = {254: ("I", [kind]), **{int(name[1:]): tag for name, tag in tags.items()}}
    return Page(samples, 8, tags=changes)


def levels(data):
    return [int(scan.pixels[0, 0]) for scan in decoded(read(data))]


def test_reduced_copies_and_masks_are_no_slices():
    """Bit 0 is a reduced copy, bit 1 a page of several, bit 2 a mask."""
    pages = [subfile(kind, 10 + kind) for kind in range(8)]
    pages.append(subfile(0, 90, t262=("H", [4])))
    scans = decoded(read(written(pages, Storage())))
    assert [int(scan.pixels[0, 0]) for scan in scans] == [10, 12]
    assert [scan.provenance.frame for scan in scans] == [0, 1]


@pytest.mark.parametrize(("old", "is_slice"), [(1, True), (2, False), (3, True)])
def test_the_old_tag_for_reduced_copies(old, is_slice):
    pages = [subfile(0, 10), subfile(0, 20, t255=("H", [old]))]
    assert levels(written(pages, Storage())) == [10, 20][: 1 + is_slice]


@pytest.mark.parametrize("kind", [1, 4])
def test_a_file_of_nothing_else_is_named(kind):
    with pytest.raises(UnsupportedScanError, match="only reduced copies or masks"):
        read(written([subfile(kind, 10)] * 2, Storage()))


def stack(count, **options):
    """A stack as ImageJ writes large ones: all slices under one directory."""
    slices = np.stack([np.full((37, 53), 100 * (1 + index), np.uint16) for index in range(count)])
    slices[:, 0, 0] = 0
    buffer = io.BytesIO()
    options = {"imagej": True, "metadata": {"axes": "ZYX"}, **options}
    tifffile.imwrite(buffer, slices, truncate=True, photometric="minisblack", **options)
    data = buffer.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        assert len(file.pages) == 1
    return data


STACKS = {
    "ImageJ": {},
    "ImageJ, little endian": {"byteorder": "<"},
    "ImageJ, in strips": {"rowsperstrip": 5},
    "tifffile": {"imagej": False, "metadata": {}},
    "tifffile, BigTIFF": {"imagej": False, "metadata": {}, "bigtiff": True},
}


@pytest.mark.parametrize("options", STACKS.values(), ids=STACKS.keys())
def test_a_stack_under_one_directory(options):
    scans = decoded(read(stack(5, **options)))
    assert [scan.provenance.frame for scan in scans] == list(range(5))
    for scan in scans:
        # Alike but for their level, which the percentiles take away.
        assert scan.pixels[0, 0] == 0
        assert np.all(scan.pixels[1:] == 255)


def one_directory(slices, **tags):
    """Slices one after the other, of which the directory names the first only."""
    tags = {int(name[1:]): tag for name, tag in tags.items()}
    page = Page(slices[0][..., None], 8, tags={279: ("I", [slices[0].nbytes]), **tags})
    return written([page], Storage(block=(37,)), blocks=[slices.tobytes()])


def test_the_slices_of_a_stack_are_each_their_own():
    slices = np.stack([noise((37, 53)) + np.uint8(index) for index in range(4)])
    said = list(b"ImageJ=1.54f\nimages=4\nslices=4\n\0")
    data = as_text(one_directory(slices, t270=("B", said)))
    assert [scan.pixels.tolist() for scan in decoded(read(data))] == slices.tolist()


def as_text(data):
    """Give the description its type: the writer knows numbers only."""
    at = data.index(struct.pack("<HH", 270, 1))
    return data[: at + 2] + b"\x02\x00" + data[at + 4 :]


def test_channels_and_frames_of_a_stack_are_slices_too():
    values = np.arange(2 * 3 * 2 * 37 * 53, dtype=np.uint16).reshape(2, 3, 2, 37, 53)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, imagej=True, metadata={"axes": "TZCYX"}, truncate=True)
    assert len(decoded(read(buffer.getvalue()))) == 12


def test_a_stack_of_colour():
    rgb = noise((3, 37, 53, 3))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, rgb, imagej=True, metadata={"axes": "ZYXS"}, truncate=True)
    scans = decoded(read(buffer.getvalue()))
    assert [scan.pixels.tolist() for scan in scans] == [luma(each).tolist() for each in rgb]


def test_a_stack_that_is_cut_tells_what_is_missing():
    data = stack(5)
    slices = read(data[: -37 * 53 * 2 - 7])
    *whole, fault = slices
    assert len(decoded(whole)) == 3
    assert fault.provenance.frame == 3
    with pytest.raises(CorruptScanError, match="says that it holds 5 images, and 3 of them"):
        _ = fault.pixels


def test_a_description_of_more_than_there_is():
    """As of a file that was cropped to its first slice, or compressed."""
    data = encoded(
        Image.fromarray(GREY), "TIFF", compression="tiff_lzw", description="ImageJ=1.5\nimages=3\n"
    )
    first, fault = read(data)
    assert np.array_equal(first.pixels, GREY)
    with pytest.raises(CorruptScanError, match="3 images, and 1 of them"):
        _ = fault.pixels


@pytest.mark.parametrize(
    "text", ["images=-3", "images=99999999999999999999", "images=x", "slices=0"]
)
def test_a_description_that_makes_no_sense(text):
    data = encoded(Image.fromarray(GREY), "TIFF", description=f"ImageJ=1.5\n{text}\n")
    try:
        slices = read(data)
    except ScanTooLargeError:
        assert "999" in text
    else:
        assert np.array_equal(slices[0].pixels, GREY)


def test_slices_of_a_stack_are_limited():
    data = stack(5)
    assert len(list(read_raster(data, "slice", Limits(frames=5)))) == 5
    with pytest.raises(ScanTooLargeError, match="holds 5 images; the limit is 4"):
        list(read_raster(data, "slice", Limits(frames=4)))


def test_planes_of_metamorph_are_slices():
    slices = np.stack([noise((37, 53)) + np.uint8(index) for index in range(3)])
    planes = [(1 << 16) + index for index in range(3)]
    data = one_directory(slices, t33628=("I", [0]), t33629=("I", planes))
    scans = decoded(read(data))
    assert [scan.pixels.tolist() for scan in scans] == slices.tolist()


def test_several_directories_with_a_description_are_so_many_slices():
    buffer = io.BytesIO()
    slices = np.stack([noise((37, 53)) + np.uint8(index) for index in range(3)])
    tifffile.imwrite(buffer, slices, imagej=True, metadata={"axes": "ZYX"})
    scans = decoded(read(buffer.getvalue()))
    assert [scan.pixels.tolist() for scan in scans] == slices.tolist()


@pytest.mark.parametrize("big", [False, True])
def test_a_next_page_that_is_not_in_the_file_is_told(big):
    data = bytearray(written([Page(GREY[..., None], 8)] * 2, Storage(big=big)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        offset = file.pages[1].offset
    letter = "<Q" if big else "<I"
    link = data.index(struct.pack(letter, offset))
    struct.pack_into(letter, data, link, len(data) + 1000)
    first, fault = read(bytes(data))
    assert np.array_equal(first.pixels, GREY)
    assert fault.provenance.frame == 1
    with pytest.raises(CorruptScanError, match="before the directory of its next page"):
        _ = fault.pixels


def test_a_damaged_directory_costs_its_page_only():
    data = bytearray(written([Page(GREY[..., None], 8)] * 3, Storage()))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        offset = file.pages[1].offset
    # The type of every second entry of the second page.
    for entry in range(0, 10, 2):
        struct.pack_into("<H", data, offset + 2 + 12 * entry + 2, 4000)
    first, fault, third = read(bytes(data))
    assert np.array_equal(first.pixels, third.pixels)
    with pytest.raises(CorruptScanError, match="TIFF tag 256 cannot be read"):
        _ = fault.pixels


@pytest.mark.parametrize("order", ["<", ">"])
def test_big_tiff_is_known_by_its_first_bytes(order):
    data = written([Page(GREY[..., None], 8)], Storage(big=True, order=order))
    assert has_signature(data[:132])
    assert np.array_equal(read(data)[0].pixels, GREY)


def test_nothing_of_a_description_is_said(capfd, caplog):
    page = Page(
        GREY[..., None], 8, tags={270: ("B", list(PATIENT_NAME.encode())), 42113: ("B", [65])}
    )
    data = written([page, Page(GREY[..., None], 8, 999)], Storage())
    with contextlib.suppress(ScanError):
        decoded(read(data))
    said = "".join(capfd.readouterr()) + caplog.text
    assert said == ""
