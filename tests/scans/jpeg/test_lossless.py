import numpy as np
import pytest

from neuroscan_edge.errors import CorruptScanError, ScanError, UnsupportedScanError
from neuroscan_edge.scans.jpeg import lossless as jpeg_lossless
from neuroscan_edge.scans.jpeg.markers import segments
from support.dicom_cases import lossless_jpeg
from support.scan_cases import noise

PREDICTORS = range(1, 8)
SMOOTH = (np.add.outer(np.arange(23), np.arange(31) * 3) * 17).astype(np.uint16)
NOISY = noise((19, 33), np.uint16)
EXTREMES = np.tile(np.array([[0, 65535], [32768, 0], [65535, 32767]], np.uint16), (4, 5))

# A 6x5 frame of 16 bits, encoded by another encoder (GDCM 3.2.6).
FOREIGN = bytes.fromhex(
    "ffd8ffc3000b100005000601011100ffc4001c0000010403010000000000000000000000010002040a090f10"
    "07ffda0008010100010000e2dd3881b8f1d64b0b6979624878d42492d4570957dfa3df92c61fffd9"
)
FOREIGN_SAMPLES = np.array(
    [
        [0, 1, 65535, 40000, 7, 7],
        [300, 301, 299, 65000, 12, 0],
        [1, 2, 3, 4, 5, 6],
        [65535, 65535, 0, 0, 32768, 32767],
        [9, 1000, 100, 10, 1, 0],
    ],
    np.uint16,
)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("samples", [SMOOTH, NOISY, EXTREMES], ids=["smooth", "noisy", "extremes"])
def test_every_predictor_is_undone(samples, predictor):
    decoded = jpeg_lossless.decode(lossless_jpeg(samples, 16, predictor))
    assert decoded.dtype == np.uint16
    assert np.array_equal(decoded, samples)


@pytest.mark.parametrize("precision", range(2, 17))
def test_every_precision(precision):
    samples = noise((7, 9), np.uint16, high=1 << precision)
    assert np.array_equal(jpeg_lossless.decode(lossless_jpeg(samples, precision)), samples)


@pytest.mark.parametrize("predictor", PREDICTORS)
@pytest.mark.parametrize("restart_rows", [1, 4, 19, 40])
def test_restart_intervals(predictor, restart_rows):
    stream = lossless_jpeg(NOISY, 16, predictor, restart_rows=restart_rows)
    assert np.array_equal(jpeg_lossless.decode(stream), NOISY)


def test_point_transform():
    stream = lossless_jpeg(NOISY, 16, shift=3)
    assert np.array_equal(jpeg_lossless.decode(stream), NOISY >> 3 << 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 2)], ids=str)
def test_narrow_frames(shape):
    samples = noise(shape, np.uint16)
    for predictor in PREDICTORS:
        assert np.array_equal(jpeg_lossless.decode(lossless_jpeg(samples, 16, predictor)), samples)


def test_streams_longer_than_a_block():
    samples = noise((400, 300), np.uint16)
    stream = lossless_jpeg(samples, 16)
    assert len(stream) > 2 * jpeg_lossless._BLOCK_BYTES
    assert np.array_equal(jpeg_lossless.decode(stream), samples)


def test_stream_of_another_encoder():
    assert np.array_equal(jpeg_lossless.decode(FOREIGN), FOREIGN_SAMPLES)


def test_every_cut_is_refused():
    stream = lossless_jpeg(SMOOTH, 16)
    for length in range(len(stream) - 4):
        with pytest.raises(ScanError):
            jpeg_lossless.decode(stream[:length])


def test_every_changed_byte_is_decoded_or_refused():
    stream = lossless_jpeg(noise((6, 7), np.uint16), 16, predictor=7, restart_rows=2)
    size_at = stream.index(b"\xff\xc3") + 5
    for at in set(range(len(stream))) - set(range(size_at, size_at + 4)):
        for value in {0, 1, 127, 255, stream[at] ^ 1}:
            damaged = stream[:at] + bytes([value]) + stream[at + 1 :]
            try:
                assert jpeg_lossless.decode(damaged).shape == (6, 7)
            except ScanError:
                continue


def test_other_processes_are_unsupported():
    stream = lossless_jpeg(SMOOTH, 8)
    for marker in (0xC0, 0xC1, 0xC2, 0xC5, 0xC9, 0xCB):
        other = stream.replace(b"\xff\xc3", bytes([0xFF, marker]), 1)
        with pytest.raises(UnsupportedScanError, match="lossless"):
            jpeg_lossless.decode(other)


def test_impossible_code_table():
    stream = lossless_jpeg(SMOOTH, 16)
    at = stream.index(b"\xff\xc4") + 5
    with pytest.raises(CorruptScanError, match="code table"):
        jpeg_lossless.decode(stream[:at] + b"\x03" + stream[at + 1 :])


def test_restart_interval_of_part_of_a_row():
    stream = lossless_jpeg(NOISY, 16, restart_rows=2)
    at = stream.index(b"\xff\xdd") + 4
    with pytest.raises(CorruptScanError, match="restart"):
        jpeg_lossless.decode(stream[:at] + b"\x00\x07" + stream[at + 2 :])


@pytest.mark.parametrize("data", [b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xda\x00\x01", b"text"])
def test_no_jpeg(data):
    with pytest.raises(CorruptScanError):
        list(segments(data))
