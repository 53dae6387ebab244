"""Animated PNG and WebP: every frame is a slice, and none is lost without a word."""

import struct

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError, UnsupportedScanError
from neuroscan_edge.scans import Limits, ScanFault
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import decoded, encoded, noise, png_chunk, png_file

FRAMES = [noise((37, 53)) // 2 + np.uint8(40 * index) for index in range(3)]
WIDE = [frame.astype(np.uint16) * 100 for frame in FRAMES]


def read(data, **limits):
    return list(read_raster(data, "slice", Limits(**limits)))


def animated(file_format, frames=FRAMES, mode="L", **options):
    first, *others = (Image.fromarray(frame) for frame in frames)
    if mode != "L":
        first, *others = (image.convert(mode) for image in (first, *others))
    return encoded(first, file_format, save_all=True, append_images=others, **options)


def changed(data, name, at, value):
    """Change a chunk of a PNG at a byte of its body."""
    place = data.index(name)
    size = int.from_bytes(data[place - 4 : place], "big")
    body = data[place + 4 : place + 4 + size]
    body = body[:at] + value + body[at + len(value) :]
    return data[: place - 4] + png_chunk(name, body) + data[place + 8 + size :]


ANIMATIONS = {
    "PNG": animated("PNG"),
    "PNG, RGB": animated("PNG", mode="RGB"),
    "PNG, RGBA": animated("PNG", mode="RGBA"),
    "PNG, a still image first": animated("PNG", default_image=True),
    "WebP": animated("WEBP", mode="RGB", lossless=True),
    "WebP, RGBA": animated("WEBP", mode="RGBA", lossless=True),
}


@pytest.mark.parametrize("data", ANIMATIONS.values(), ids=ANIMATIONS.keys())
def test_every_frame_is_a_slice(data):
    scans = decoded(read(data))
    assert [scan.provenance.frame for scan in scans] == [0, 1, 2]
    assert [scan.pixels.tolist() for scan in scans] == [frame.tolist() for frame in FRAMES]


def by_hand(frames, colour):
    """An animated PNG of whole frames, as Pillow does not write every depth rightly."""
    stills = [png_file(frame, colour) for frame in frames]
    height, width = frames[0].shape[:2]
    data_at, end = stills[0].index(b"IDAT") - 4, stills[0].index(b"IEND") - 4
    out = stills[0][:data_at] + png_chunk(b"acTL", struct.pack(">II", len(frames), 0))
    for index, still in enumerate(stills):
        sequence = max(2 * index - 1, 0)
        fields = (sequence, width, height, 0, 0, 1, 10, 0, 0)
        out += png_chunk(b"fcTL", struct.pack(">IIIIIHHBB", *fields))
        body = still[data_at + 8 : still.index(b"IEND") - 8]
        if index:
            out += png_chunk(b"fdAT", struct.pack(">I", sequence + 1) + body)
        else:
            out += png_chunk(b"IDAT", body)
    return out + stills[0][end:]


def test_frames_of_16_bits():
    scans = decoded(read(by_hand(WIDE, "grey")))
    assert len(scans) == 3
    for scan, frame in zip(scans, WIDE, strict=True):
        low, high = np.percentile(frame, (0.5, 99.5))
        expected = np.clip((frame - low) / (high - low) * 255, 0, 255)
        assert np.abs(scan.pixels - expected).max() <= 0.5 + 1e-9


def test_frames_in_colour_of_16_bits_are_told():
    frames = [np.repeat(frame[..., None], 3, axis=2) for frame in WIDE[:2]]
    first, fault = read(by_hand(frames, "rgb"))
    assert np.array_equal(first.pixels, read(png_file(frames[0], "rgb"))[0].pixels)
    with pytest.raises(UnsupportedScanError, match="frame 1 of a PNG in colour of 16 bits"):
        _ = fault.pixels


def test_frames_that_are_not_there_are_told():
    *scans, fault = read(changed(ANIMATIONS["PNG"], b"acTL", 0, struct.pack(">I", 6)))
    assert [scan.pixels.tolist() for scan in decoded(scans)] == [each.tolist() for each in FRAMES]
    with pytest.raises(CorruptScanError, match="frames 4 to 5.* are not read either"):
        _ = fault.pixels


def test_frames_beyond_those_that_are_stated_are_told():
    *scans, fault = read(changed(ANIMATIONS["PNG"], b"acTL", 0, struct.pack(">I", 2)))
    assert len(decoded(scans)) == 2
    assert fault.provenance.frame == 2
    with pytest.raises(CorruptScanError, match="has 2 frames and holds 3"):
        _ = fault.pixels


def test_no_frame_after_a_damaged_one_is_shown():
    """It would be drawn over the one before that."""
    data = ANIMATIONS["PNG"]
    damaged = changed(data, b"fdAT", 4, b"\xff\xff\xff")
    first, fault = read(damaged)
    assert np.array_equal(first.pixels, FRAMES[0])
    assert isinstance(fault, ScanFault)
    with pytest.raises(CorruptScanError, match="the PNG is damaged.* frames 2 to 2"):
        _ = fault.pixels


def test_frames_are_limited():
    for data in (ANIMATIONS["PNG"], ANIMATIONS["WebP"]):
        assert len(read(data, frames=3, file_pixels=3 * 37 * 53)) == 3
        with pytest.raises(ScanTooLargeError, match="has 3 frames; the limit is 2"):
            read(data, frames=2)
        with pytest.raises(ScanTooLargeError, match="3 frames of 53x37 pixels"):
            read(data, file_pixels=3 * 37 * 53 - 1)


def test_a_still_image_has_one_frame():
    for file_format in ("PNG", "WEBP"):
        data = encoded(np.dstack([FRAMES[0]] * 3), file_format)
        assert len(read(data, file_pixels=1, frames=1)) == 1
