import struct

import numpy as np
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from neuroscan_edge.errors import UnsupportedScanError
from neuroscan_edge.scans import find_scans, read_scans
from neuroscan_edge.scans.dicom.signature import HEAD_BYTES, is_directory, starts_as_data_set
from support.dicom_cases import compressed
from support.expected_pixels import assert_rounded, by_percentile
from support.scan_cases import decoded, dicom_bytes, dicom_dataset, encoded, noise

STORED = noise((9, 14), np.uint16)


def bare(transfer_syntax, **elements):
    """The data set alone: no preamble, no prefix, no meta information."""
    stored = STORED.byteswap() if transfer_syntax == ExplicitVRBigEndian else STORED
    dataset = dicom_dataset(STORED, PixelData=stored.tobytes(), **elements)
    whole = dicom_bytes(dataset, transfer_syntax)
    return whole[132 + 12 + struct.unpack_from("<I", whole, 132 + 8)[0] :]


def with_meta(transfer_syntax):
    """Meta information and data set, but no preamble and no prefix."""
    return dicom_bytes(dicom_dataset(STORED), transfer_syntax)[132:]


BARE = {
    "explicit": bare(ExplicitVRLittleEndian),
    "implicit": bare(ImplicitVRLittleEndian),
    "big endian": bare(ExplicitVRBigEndian),
    "character set first": bare(ExplicitVRLittleEndian, SpecificCharacterSet="ISO_IR 100"),
    "implicit, character set first": bare(
        ImplicitVRLittleEndian, SpecificCharacterSet="ISO_IR 100"
    ),
    "image type first": bare(
        ImplicitVRLittleEndian, ImageType=["ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"]
    ),
    "meta information, explicit": with_meta(ExplicitVRLittleEndian),
    "meta information, implicit": with_meta(ImplicitVRLittleEndian),
    "meta information, deflated": with_meta(DeflatedExplicitVRLittleEndian),
}


@pytest.mark.parametrize("name", ["IM0001", "slice.dcm", "slice.ima", "slice.txt"])
@pytest.mark.parametrize("data", BARE.values(), ids=BARE.keys())
def test_file_without_preamble_is_found_and_read(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    assert find_scans([tmp_path]).files == [path]
    (scan,) = read_scans(path)
    assert_rounded(scan.pixels, by_percentile(STORED))


def test_compressed_file_without_meta_information_says_so(tmp_path):
    whole = compressed(dicom_dataset(STORED), RLELossless)
    path = tmp_path / "IM0001"
    path.write_bytes(whole[132 + 12 + struct.unpack_from("<I", whole, 132 + 8)[0] :])
    with pytest.raises(UnsupportedScanError, match="does not say how"):
        decoded(read_scans(path))


def element(group, number, representation, value, order="<"):
    tag = struct.pack(order + "HH", group, number)
    return tag + representation + struct.pack(order + "H", len(value)) + value


CHARSET = element(8, 5, b"CS", b"ISO_IR 100")
MODALITY = element(8, 0x60, b"CS", b"MR")

NOT_DICOM = {
    "nothing": b"",
    "zeros": bytes(HEAD_BYTES),
    "ones": b"\xff" * HEAD_BYTES,
    "text": b"three slices, see the other folder\n" * 20,
    "PNG": encoded(noise((6, 7)), "PNG"),
    "one element": CHARSET,
    "one element, then zeros": CHARSET + bytes(64),
    "descending elements": MODALITY + CHARSET,
    "same element twice": CHARSET + CHARSET,
    "unknown representation": element(8, 5, b"XX", b"ISO_IR 100") + MODALITY,
    "odd length": element(8, 5, b"CS", b"ISO_IR 10") + MODALITY,
    "another first group": element(0x10, 0x10, b"PN", b"A^") + element(0x10, 0x20, b"LO", b"1 "),
    "late first element": MODALITY + element(8, 0x70, b"LO", b"XX"),
    "very long value": struct.pack("<HHI", 8, 5, 1 << 20) + bytes(200),
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(200),
}


@pytest.mark.parametrize("head", NOT_DICOM.values(), ids=NOT_DICOM.keys())
def test_other_content_is_no_data_set(head):
    assert not starts_as_data_set(head[:HEAD_BYTES])


def test_two_elements_are_a_data_set():
    assert starts_as_data_set(CHARSET + MODALITY + bytes(4))
    big = element(8, 5, b"CS", b"ISO_IR 100", ">") + element(8, 0x60, b"CS", b"MR", ">")
    assert starts_as_data_set(big + bytes(4))


def test_random_bytes_are_no_data_set():
    generator = np.random.default_rng(11)
    for _ in range(2000):
        assert not starts_as_data_set(generator.bytes(HEAD_BYTES))


def test_image_is_no_directory():
    assert not is_directory(dicom_bytes(dicom_dataset(STORED))[:HEAD_BYTES])
