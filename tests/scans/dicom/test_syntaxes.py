import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from neuroscan_edge.errors import CorruptScanError, ScanError, UnsupportedScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom import rle
from neuroscan_edge.scans.dicom.reader import read_dicom
from support.dicom_cases import compressed, encapsulated_frames, lossless_jpeg, lossless_jpeg_file
from support.expected_pixels import assert_rounded, by_percentile
from support.scan_cases import (
    address_space,
    dicom_dataset,
    encoded,
    noise,
    within_seconds,
)

HEADROOM_BYTES = 200 << 20
NEAR = 3


def read_one(data):
    (scan,) = read_dicom(data, "slice.dcm", Limits())
    return scan.pixels


def elements(bits, signed=False):
    return {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": int(signed)}


UNSIGNED = {
    "8 bit": (noise((37, 46)), elements(8)),
    "10 bit": (noise((37, 46), np.uint16, high=1 << 10), elements(10)),
    "12 bit": (noise((37, 46), np.uint16, high=1 << 12), elements(12)),
    "16 bit": (noise((37, 46), np.uint16), elements(16)),
}
SIGNED = {
    "12 bit signed": (
        (noise((37, 46), np.uint16, high=1 << 12).astype(np.int16) - 2048),
        elements(12, signed=True),
    ),
    "16 bit signed": (noise((37, 46), np.uint16).view(np.int16), elements(16, signed=True)),
}
STORED = UNSIGNED | SIGNED
every_depth = pytest.mark.parametrize(("stored", "header"), STORED.values(), ids=STORED.keys())


@every_depth
@pytest.mark.parametrize(
    "syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless], ids=lambda uid: uid.keyword
)
def test_lossless_compression_gives_the_stored_values(stored, header, syntax):
    data = compressed(dicom_dataset(stored, **header), syntax)
    assert_rounded(read_one(data), by_percentile(stored))


@every_depth
@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1], ids=lambda uid: uid.keyword)
def test_lossless_jpeg_gives_the_stored_values(stored, header, syntax):
    predictor = 1 if syntax == JPEGLosslessSV1 else 6
    data = lossless_jpeg_file(stored, syntax, {"predictor": predictor}, **header)
    assert_rounded(read_one(data), by_percentile(stored))


@pytest.mark.parametrize(("stored", "header"), UNSIGNED.values(), ids=UNSIGNED.keys())
def test_near_lossless_jpeg_ls(stored, header):
    top = (1 << header["BitsStored"]) - 1
    window = {
        "WindowCenter": str(top / 2),
        "WindowWidth": str(top),
        "VOILUTFunction": "LINEAR_EXACT",
    }
    data = compressed(dicom_dataset(stored, **header, **window), JPEGLSNearLossless, jls_error=NEAR)
    exact = stored * (255 / top)
    assert np.abs(read_one(data) - exact).max() <= NEAR * 255 / top + 0.5 + 1e-9


def test_lossy_jpeg_2000():
    stored = np.add.outer(np.arange(64) * 2, np.arange(64) * 2).astype(np.uint8)
    data = compressed(dicom_dataset(stored), JPEG2000, j2k_cr=[4])
    assert np.abs(read_one(data) - by_percentile(stored)).mean() < 2


# A ramp of 33x40 pixels, encoded by OpenJPH 0.26.3.
HIGH_THROUGHPUT = bytes.fromhex(
    "ff4fff5100294000000000280000002100000000000000000000002800000021000000000000000000010f01"
    "01ff50000800020000000aff52000c00020001000504044001ff5c0013208890909090909090909090909088"
    "8888ff64001700014f70656e4a50482056657220302e32362e332eff90000a00000000007c0001ff93c0002b"
    "00150015f1cff5cfe602c33400c00013006dfb000b7400c0001500adb5000230027600c00015c06cd9d8d8b2"
    "fdd8031fd7e18b7800c000169032994c2693c964b2eff0423a7a7a71027a00c0002dc08ee3388ee3388ee338"
    "8ee338cefc7f80223a7a7a7a7a7a7a70827f00ffd9"
)
RAMP = np.add.outer(np.arange(33) * 60, np.arange(40) * 40).astype(np.uint16)


HIGH_THROUGHPUT_SYNTAXES = [HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K]


@pytest.mark.parametrize("syntax", HIGH_THROUGHPUT_SYNTAXES, ids=lambda uid: uid.keyword)
def test_high_throughput_jpeg_2000(syntax):
    data = encapsulated_frames(dicom_dataset(RAMP), [HIGH_THROUGHPUT], syntax)
    assert_rounded(read_one(data), by_percentile(RAMP))


def test_jpeg_gives_what_pillow_decodes():
    stored = np.add.outer(np.arange(40) * 3, np.arange(56)).astype(np.uint8)
    frame = encoded(stored, "JPEG", quality=80)
    data = encapsulated_frames(dicom_dataset(stored), [frame], JPEGBaseline8Bit)
    with Image.open(io.BytesIO(frame)) as image:
        assert_rounded(read_one(data), by_percentile(np.asarray(image)))


def frames_of(data, count=1):
    dataset = pydicom.dcmread(io.BytesIO(data))
    return generate_frames(dataset.PixelData, number_of_frames=count)


def stream(stored, syntax):
    if syntax in {JPEGLossless, JPEGLosslessSV1}:
        return lossless_jpeg(stored, stored.dtype.itemsize * 8)
    if syntax == JPEGBaseline8Bit:
        return encoded(stored, "JPEG")
    return next(frames_of(compressed(dicom_dataset(stored), syntax)))


CHECKED = [JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, RLELossless]
every_checked = pytest.mark.parametrize("syntax", CHECKED, ids=lambda uid: uid.keyword)


@every_checked
@pytest.mark.parametrize("shape", [(36, 46), (37, 45)], ids=str)
def test_smaller_stream_is_refused(syntax, shape):
    frame = stream(noise(shape), syntax)
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], syntax)
    with pytest.raises(CorruptScanError):
        read_one(data)


# Run-length streams state no size: a longer one is cut to the header's.
@pytest.mark.parametrize("syntax", CHECKED[:-1], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("shape", [(37, 47), (38, 46), (46, 37)], ids=str)
def test_larger_or_turned_stream_is_refused(syntax, shape):
    frame = stream(noise(shape), syntax)
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], syntax)
    with pytest.raises(CorruptScanError):
        read_one(data)


def resized(syntax, rows, columns):
    """A small stream that claims to be of another size."""
    frame = stream(noise((37, 46)), syntax)
    if syntax == JPEG2000Lossless:
        at = frame.index(b"\xff\x51") + 6
        return frame[:at] + struct.pack(">II", columns, rows) + frame[at + 8 :]
    marker = {JPEGBaseline8Bit: b"\xff\xc0", JPEGLossless: b"\xff\xc3"}.get(syntax, b"\xff\xf7")
    at = frame.index(marker) + 5
    return frame[:at] + struct.pack(">HH", rows, columns) + frame[at + 4 :]


@pytest.mark.parametrize(
    "syntax",
    [JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, JPEG2000Lossless],
    ids=lambda uid: uid.keyword,
)
def test_stream_that_claims_more_than_the_header_takes_no_memory(syntax):
    frame = resized(syntax, 60000, 60000)
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], syntax)
    with (
        within_seconds(10),
        address_space(HEADROOM_BYTES),
        pytest.raises(CorruptScanError, match="60000x60000"),
    ):
        read_one(data)


def test_jpeg_2000_of_countless_tiles_is_refused():
    frame = stream(noise((210, 340)), JPEG2000Lossless)
    at = frame.index(b"\xff\x51") + 22
    frame = frame[:at] + struct.pack(">II", 1, 1) + frame[at + 8 :]
    data = encapsulated_frames(dicom_dataset(noise((210, 340))), [frame], JPEG2000Lossless)
    with within_seconds(10), pytest.raises(UnsupportedScanError, match="71400 tiles"):
        read_one(data)


def test_jpeg_ls_that_replaces_its_size_is_refused():
    frame = stream(noise((37, 46)), JPEGLSLossless)
    oversize = b"\xff\xf8" + struct.pack(">HBBII", 12, 4, 4, 60000, 60000)
    frame = frame[:2] + oversize + frame[2:]
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], JPEGLSLossless)
    with within_seconds(10), pytest.raises(CorruptScanError, match="its own size"):
        read_one(data)


def test_colour_stream_under_a_grey_header_is_refused():
    frame = encoded(noise((37, 46, 3)), "JPEG")
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], JPEGBaseline8Bit)
    with pytest.raises(CorruptScanError, match="3 components"):
        read_one(data)


def test_more_bits_than_allocated_are_refused():
    frame = lossless_jpeg(noise((37, 46), np.uint16), 16)
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame], JPEGLosslessSV1)
    with pytest.raises(CorruptScanError, match="16 bits"):
        read_one(data)


def test_lossy_jpeg_of_12_bits_is_unsupported():
    frame = bytearray(encoded(noise((37, 46)), "JPEG"))
    at = frame.index(b"\xff\xc0")
    frame[at + 1], frame[at + 4] = 0xC1, 12
    dataset = dicom_dataset(noise((37, 46), np.uint16, high=4096), **elements(12))
    data = encapsulated_frames(dataset, [bytes(frame)], JPEGExtended12Bit)
    with pytest.raises(UnsupportedScanError, match="12 bits"):
        read_one(data)


def test_other_transfer_syntax_is_named():
    data = encapsulated_frames(dicom_dataset(noise((37, 46))), [bytes(64)], MPEG2MPML)
    with pytest.raises(UnsupportedScanError, match="MPEG2"):
        read_one(data)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_absent_decoder_is_named_with_what_installs_it(syntax, monkeypatch):
    data = compressed(dicom_dataset(noise((37, 46))), syntax)

    class Absent:
        available_plugins = ()

    monkeypatch.setattr("neuroscan_edge.scans.dicom.pixels.get_decoder", lambda uid: Absent)
    with pytest.raises(UnsupportedScanError, match="pip install py"):
        read_one(data)


@every_checked
def test_every_cut_ends_in_a_scan_or_a_scan_error(syntax):
    frame = stream(noise((37, 46)), syntax)
    for length in range(2, len(frame), max(len(frame) // 60, 1)):
        data = encapsulated_frames(dicom_dataset(noise((37, 46))), [frame[:length]], syntax)
        try:
            with within_seconds(10):
                assert read_one(data).shape == (37, 46)
        except ScanError:
            continue


def test_compressed_data_under_an_uncompressed_syntax_is_refused():
    data = compressed(dicom_dataset(noise((37, 46))), RLELossless)
    data = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0")
    with pytest.raises(CorruptScanError, match="compressed"):
        read_one(data)


RUNS = {
    "literal": (b"\x02abc", b"abc"),
    "repeat": (b"\xfea", b"aaa"),
    "no operation": (b"\x80\x02abc", b"abc"),
    "mixed": (b"\xff\x07\x01xy\x80\xfez", b"\x07\x07xyzzz"),
}


@pytest.mark.parametrize(("runs", "decoded"), RUNS.values(), ids=RUNS.keys())
def test_runs(runs, decoded):
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    assert rle.decode(header + runs, len(decoded), 1)[:, 0].tobytes() == decoded


def test_run_length_bomb_takes_no_memory():
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    bomb = header + b"\x81\x00" * (16 << 20)
    with within_seconds(10), address_space(HEADROOM_BYTES):
        assert not rle.decode(bomb, 100, 1).any()


BAD_RUNS = {
    "no header": bytes(63),
    "no segment": struct.pack("<16I", 0, *[0] * 15) + b"\x02abc",
    "two segments": struct.pack("<16I", 2, 64, 66, *[0] * 13) + b"\x02abc",
    "16 segments": struct.pack("<16I", 16, *[64] * 15) + b"\x02abc",
    "segment beyond the end": struct.pack("<16I", 1, 999, *[0] * 14) + b"\x02abc",
    "segment in the header": struct.pack("<16I", 1, 8, *[0] * 14) + b"\x02abc",
    "too short": struct.pack("<16I", 1, 64, *[0] * 14) + b"\x01ab",
}


@pytest.mark.parametrize("data", BAD_RUNS.values(), ids=BAD_RUNS.keys())
def test_bad_runs(data):
    with pytest.raises(CorruptScanError):
        rle.decode(data, 3, 1)
