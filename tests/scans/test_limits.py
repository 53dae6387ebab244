"""What a file may cost beyond what its size lets expect."""

import io
import zlib

import numpy as np
import pytest

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans import limits as decoding_cost
from neuroscan_edge.scans.limits import (
    INFLATED_BYTES,
    INFLATION,
    MOST_JPEG_SCANS,
    BoundedReads,
    check_jpeg_scans,
    inflated,
)
from neuroscan_edge.scans.raster.reader import read_raster
from support.scan_cases import encoded, noise


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}], ids=str)
def test_real_jpegs_have_few_scans(options):
    check_jpeg_scans(encoded(noise((300, 300, 3)), "JPEG", **options))


def test_a_jpeg_of_too_many_scans():
    check_jpeg_scans(b"\xff\xda" * MOST_JPEG_SCANS)
    with pytest.raises(CorruptScanError, match="more than 100 scans"):
        check_jpeg_scans(b"\xff\xda" * (MOST_JPEG_SCANS + 1))


def test_one_that_would_be_decoded_at_once_but_for_its_scans():
    whole = encoded(np.repeat(noise((64, 64, 1)), 3, axis=2), "JPEG")
    (scan,) = read_raster(whole, "whole.jpg", Limits())
    assert scan.facts.colour is False
    more = whole[whole.index(b"\xff\xda") : -2] * MOST_JPEG_SCANS
    with pytest.raises(CorruptScanError, match="more than 100 scans"):
        next(read_raster(whole[:-2] + more + whole[-2:], "more.jpg", Limits()))


def test_what_inflates_little_may_be_large():
    data = noise((INFLATED_BYTES + 5_000_000,)).tobytes()
    assert inflated(deflated(data), len(data)) == data
    with pytest.raises(ScanTooLargeError, match=f"beyond {len(data) - 1} bytes"):
        inflated(deflated(data), len(data) - 1)


def test_what_inflates_much_must_be_small():
    inflated(deflated(bytes(INFLATED_BYTES)), 1 << 30)
    with pytest.raises(ScanTooLargeError, match=f"beyond {INFLATED_BYTES} bytes"):
        inflated(deflated(bytes(INFLATED_BYTES + 1)), 1 << 30)


def test_the_ratio_counts_beyond():
    noisy, blank = noise((1_000_000,)).tobytes(), bytes(12_000_000)
    assert len(noisy + blank) > INFLATED_BYTES
    data = deflated(noisy + blank)
    assert len(noisy + blank) < INFLATION * len(data)
    assert inflated(data, 1 << 30) == noisy + blank


def test_a_cut_stream_is_for_the_reader_to_refuse():
    whole = noise((5000,)).tobytes()
    assert whole.startswith(inflated(deflated(whole)[:-400], 1 << 30))
    assert inflated(b"", 1 << 30) == b""


def test_reads_are_counted(monkeypatch):
    monkeypatch.setattr(decoding_cost, "MOST_READS", 3)
    file = BoundedReads(b"abcdef")
    assert [file.read(2) for _ in range(3)] == [b"ab", b"cd", b"ef"]
    with pytest.raises(CorruptScanError, match="more than 3 pieces"):
        file.read(2)


def test_bounded_reads_are_a_file():
    data = noise((1000,)).tobytes()
    bounded, plain = BoundedReads(data), io.BytesIO(data)
    for file in (bounded, plain):
        file.seek(100)
    assert bounded.read(7) == plain.read(7)
    assert bounded.tell() == plain.tell()
    assert bounded.read() == plain.read() == np.frombuffer(data, np.uint8)[107:].tobytes()
