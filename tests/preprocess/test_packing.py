"""Packing and launch geometry: pure functions, no device."""

import re
import struct

import numpy as np
import pytest

from neuroscan_edge.errors import (
    CorruptScanError,
    DevicePreprocessingError,
    ScanTooLargeError,
    SpecError,
)
from neuroscan_edge.preprocess.launch_geometry import (
    SCRATCH_LIMIT_BYTES,
    SIGNATURES,
    THREADS,
    Geometry,
)
from neuroscan_edge.preprocess.packing import (
    MAX_SOURCE_PIXELS,
    SLICE,
    check_slice,
    pack,
    packed_bytes,
    pieces,
)
from neuroscan_edge.scans import Limits
from neuroscan_edge.spec import Preprocessing
from support.emulation.emulator import KERNEL_SOURCE

POISON = 0xCD


def numbered(*shape):
    return (np.arange(np.prod(shape)) % 251).astype(np.uint8).reshape(shape)


def test_a_packed_batch_is_a_table_and_pixels_with_nothing_between():
    slices = [numbered(3, 5), numbered(1, 1), numbered(4, 2)]
    into = np.full(200, POISON, np.uint8)
    packed = pack(slices, Preprocessing(height=6, width=4, tile_grid=(1, 1)), into)
    assert len(packed) == packed_bytes(slices) == 3 * 32 + 15 + 1 + 8
    assert np.shares_memory(packed, into) and (into[len(packed) :] == POISON).all()
    table = packed[:96].view(SLICE)
    assert table["offset"].tolist() == [96, 111, 112]
    assert table["height"].tolist() == [3, 1, 4] and table["width"].tolist() == [5, 1, 2]
    assert table["scale_y"].tolist() == [1 / (6 / 3), 1 / (6 / 1), 1 / (6 / 4)]
    assert table["scale_x"].tolist() == [1 / (4 / 5), 1 / (4 / 1), 1 / (4 / 2)]
    for entry, pixels in zip(table, slices, strict=True):
        found = packed[entry["offset"] :][: pixels.size]
        assert found.tobytes() == pixels.tobytes()


def test_views_are_packed_as_their_pixels():
    pixels = numbered(9, 8)
    for view in (pixels[::-1], pixels[:, ::-1], pixels.T, pixels[2:-3, 1:-1]):
        into = np.zeros(packed_bytes([view]), np.uint8)
        assert pack([view], Preprocessing(), into)[SLICE.itemsize :].tobytes() == view.tobytes()


def test_the_table_is_what_the_kernel_reads():
    text = KERNEL_SOURCE.read_text()
    fields = re.search(r"struct Slice \{(.*?)\};", text, re.DOTALL)[1]
    kinds = {"unsigned long long": "<u8", "int": "<i4", "double": "<f8"}
    found = []
    for line in re.findall(r"^\s*([^;/]+);", fields, re.MULTILINE):
        kind = next(kind for kind in kinds if line.startswith(kind))
        found += [(name.strip(), kinds[kind]) for name in line[len(kind) :].split(",")]
    assert np.dtype(found) == SLICE
    assert f"sizeof(Slice) == {SLICE.itemsize}" in text


def test_signatures_and_threads_are_the_kernels():
    text = KERNEL_SOURCE.read_text()
    assert f"constexpr int BINS = {THREADS};" in text
    for kernel, signature in SIGNATURES.items():
        listed = re.search(rf"^{kernel}\((.*?)\) {{$", text, re.DOTALL | re.MULTILINE)[1]
        kinds = ""
        for each in listed.split(","):
            kinds += "P" if "*" in each else {"int": "i", "float": "f"}[each.split()[0]]
        assert kinds == signature


@pytest.mark.parametrize(
    ("pixels", "error", "says"),
    [
        (np.zeros((0, 7), np.uint8), CorruptScanError, "0x7 and has no pixel"),
        (np.zeros((7, 0), np.uint8), CorruptScanError, "7x0 and has no pixel"),
        (
            np.broadcast_to(np.uint8(0), (1 << 12, (1 << 12) + 1)),
            ScanTooLargeError,
            f"16781312 pixels; the GPU takes at most {MAX_SOURCE_PIXELS}",
        ),
        (np.zeros((7, 7), np.uint16), SpecError, "uint16"),
        (np.zeros((7, 7, 1), np.uint8), SpecError, r"\(7, 7, 1\)"),
    ],
    ids=["no rows", "no columns", "too large", "16 bits", "three axes"],
)
def test_what_the_kernels_cannot_read_is_refused(pixels, error, says):
    with pytest.raises(error, match=says):
        check_slice(pixels)


def test_what_is_decoded_within_the_limits_is_taken():
    assert Limits().image_pixels <= MAX_SOURCE_PIXELS
    check_slice(np.broadcast_to(np.uint8(0), (1, MAX_SOURCE_PIXELS)))


@pytest.mark.parametrize(
    ("most", "limit_bytes", "cut"),
    [
        (8, 1 << 20, [(0, 5)]),
        (2, 1 << 20, [(0, 2), (2, 4), (4, 5)]),
        (8, 2 * (100 + SLICE.itemsize), [(0, 2), (2, 3), (3, 5)]),
        (8, 10, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]),
    ],
    ids=["one piece", "too many", "too large", "each too large alone"],
)
def test_pieces(most, limit_bytes, cut):
    slices = [numbered(10, 10)] * 2 + [numbered(30, 30)] + [numbered(10, 10)] * 2
    found = [(each.start, each.stop) for each in pieces(slices, most, limit_bytes)]
    assert found == cut
    assert list(pieces([], most, limit_bytes)) == []


@pytest.mark.parametrize(
    ("spec", "tile", "clip_limit"),
    [
        (Preprocessing(), (28, 28), 6),
        (Preprocessing(tile_grid=(9, 8)), (29, 25), 5),
        (Preprocessing(tile_grid=(1, 1), clip_limit=0.001), (224, 224), 1),
        (Preprocessing(4096, 4096, tile_grid=(1, 1), clip_limit=1e4), (4096, 4096), 655360000),
        (Preprocessing(height=4, width=5, tile_grid=(2, 4)), (2, 3), 1),
    ],
    ids=["default", "undivided", "one count", "largest", "padding longer than the image"],
)
def test_tiles_and_clip_limit(spec, tile, clip_limit):
    geometry = Geometry(spec)
    assert (geometry.tile_height, geometry.tile_width) == tile
    assert geometry.clip_limit == clip_limit


def test_launches_of_the_default_spec():
    geometry = Geometry(Preprocessing())
    first, second = geometry.launches(64, packed=1 << 20, output=1 << 24, scratch=1 << 28)
    assert (first.kernel, first.grid) == ("equalisation_luts", (64, 64))
    assert first.arguments[:4] == (1 << 20, 1 << 20, 1 << 24, 1 << 28)
    assert first.arguments[4:] == (224, 224, 8, 28, 28, 6, np.float32(255) / np.float32(784), 0)
    assert (second.kernel, second.grid) == ("blend", (49, 64))
    assert geometry.scratch_bytes(64) == 64 * 64 * 256


def test_every_argument_packs_by_its_signature():
    for launch in Geometry(Preprocessing()).launches(3, 1, 2, 3):
        packed = struct.pack(SIGNATURES[launch.kernel], *launch.arguments)
        assert struct.unpack(SIGNATURES[launch.kernel], packed) == launch.arguments


def test_batches_beyond_the_scratch_memory_go_in_turns():
    # 2^19 tiles: 128 MiB of tables a slice, two at once.
    spec = Preprocessing(height=1024, width=512, tile_grid=(512, 1024))
    geometry = Geometry(spec)
    assert geometry.turn(5) == 2 and geometry.scratch_bytes(2) <= SCRATCH_LIMIT_BYTES
    launches = geometry.launches(5, packed=0, output=0, scratch=0)
    assert [(each.kernel, each.grid[1]) for each in launches] == [
        ("equalisation_luts", 2),
        ("blend", 2),
    ] * 2 + [("equalisation_luts", 1), ("blend", 1)]
    tables = [each.arguments[0] for each in launches[::2]]
    places = [each.arguments[2] for each in launches[::2]]
    assert tables == [0, 2 * SLICE.itemsize, 4 * SLICE.itemsize]
    assert places == [0, 2 * geometry.plane_bytes, 4 * geometry.plane_bytes]
    assert [each.arguments[0] for each in launches[1::2]] == places


def test_a_spec_of_too_many_tiles_is_refused():
    spec = Preprocessing(height=2048, width=2048, tile_grid=(2048, 1024))
    with pytest.raises(DevicePreprocessingError, match="2048x1024 tiles.*--preprocess cpu"):
        Geometry(spec)
