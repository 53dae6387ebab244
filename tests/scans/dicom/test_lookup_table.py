"""Lookup tables whose descriptor says something else than the table or the pixels."""

import numpy as np
import pytest
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans import Limits
from neuroscan_edge.scans.dicom.reader import read_dicom
from support.dicom_cases import item
from support.expected_pixels import assert_rounded, by_percentile
from support.phantoms import head
from support.scan_cases import decoded, dicom_bytes, dicom_dataset, noise

HEAD = head(64, 1000)
SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
every_syntax = pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)


def read_one(data):
    (scan,) = decoded(read_dicom(data, "slice.dcm", Limits()))
    return scan.pixels


def lut(table, entries, first, bits, vr="US", order="<"):
    """A table whose descriptor is three words, whatever its representation."""
    words = [value & 0xFFFF for value in (entries, first, bits)]
    if vr == "SS":
        words = [value - 65536 if value > 32767 else value for value in words]
    sequence = item()
    sequence.add_new("LUTDescriptor", vr, words)
    sequence.add_new("LUTData", "OW", np.asarray(table).astype(f"{order}u2").tobytes())
    return Sequence([sequence])


def file_of(stored, syntax, kind="VOILUTSequence", *, table, descriptor, vr="US", **elements):
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    sequence = lut(table, *descriptor, vr, order)
    dataset = dicom_dataset(stored, **{kind: sequence}, **elements)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = stored.byteswap().tobytes()
    if syntax == ImplicitVRLittleEndian:
        # The writer would look the sign up; the file has none.
        sequence[0]["LUTDescriptor"].VR = vr
    return dicom_bytes(dataset, syntax)


def looked_up(values, table, first):
    return np.asarray(table)[np.clip(values - first, 0, len(table) - 1)].astype(np.float64)


TABLE_12 = np.rint(4095 * np.linspace(0, 1, 4096) ** 0.5).astype(np.uint16)


@every_syntax
@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned pixels", "signed pixels"])
@pytest.mark.parametrize("slope", [1, 4])
def test_negative_first_value_whatever_says_its_sign(syntax, vr, signed, slope):
    values = HEAD * slope - 1024
    stored = (HEAD - 300).astype(np.int16) if signed else HEAD.astype(np.uint16)
    elements = {
        "BitsStored": 12,
        "HighBit": 11,
        "RescaleSlope": str(slope),
        "RescaleIntercept": str(-1024 + (300 * slope if signed else 0)),
    }
    data = file_of(stored, syntax, table=TABLE_12, descriptor=(4096, -1024, 12), vr=vr, **elements)
    assert_rounded(read_one(data), looked_up(values, TABLE_12, -1024) * (255 / 4095))


@every_syntax
@pytest.mark.parametrize("vr", ["US", "SS"])
def test_first_value_above_32767(syntax, vr):
    stored = (HEAD * 8 + 40000).astype(np.uint16)
    table = np.rint(4095 * np.linspace(0, 1, 8192)).astype(np.uint16)
    data = file_of(stored, syntax, table=table, descriptor=(8192, 40000, 12), vr=vr)
    assert_rounded(read_one(data), looked_up(stored.astype(int), table, 40000) * (255 / 4095))


@every_syntax
@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("pixels", ["unsigned", "signed"])
def test_modality_lut_of_negative_values(syntax, vr, pixels):
    stored = (HEAD - 500).astype(np.int16)
    table = (np.arange(2000) * 3).astype(np.uint16)
    if pixels == "unsigned":
        # Bits above the stored ones are the sign's, which the header denies.
        elements = {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 0}
        stored = stored.view(np.uint16)
    else:
        elements = {"BitsStored": 12, "HighBit": 11}
    data = file_of(
        stored,
        syntax,
        "ModalityLUTSequence",
        table=table,
        descriptor=(2000, -600, 16),
        vr=vr,
        **elements,
    )
    assert_rounded(read_one(data), by_percentile(looked_up(HEAD - 500, table, -600)))


# Bits stated, largest entry, and what stands for white.
TOPS = {
    "14 bits in 16": (16, 16383, 16383),
    "12 bits in 16": (16, 4095, 4095),
    "8 bits in 16": (16, 255, 255),
    "odd largest in 16": (16, 10000, 10000),
    "10 bits in 12": (12, 1023, 1023),
    "all 12": (12, 4095, 4095),
    "not quite all 12": (12, 4000, 4095),
    "all 16": (16, 65535, 65535),
    "16 bits stated as 12": (12, 65535, 65535),
    "12 bits stated as 8": (8, 4095, 4095),
    "16 bits stated as 8": (8, 65535, 65535),
}


@pytest.mark.parametrize(("bits", "largest", "white"), TOPS.values(), ids=TOPS)
def test_bits_that_the_entries_do_not_need(bits, largest, white):
    table = np.rint(np.linspace(0, largest, 1024)).astype(np.uint16)
    data = file_of(
        HEAD.astype(np.uint16), ExplicitVRLittleEndian, table=table, descriptor=(1024, 0, bits)
    )
    exact = looked_up(HEAD, table, 0) * (255 / white)
    assert np.abs(read_one(data) - exact).max() <= 0.5 + 1e-9


@every_syntax
@pytest.mark.parametrize("bits", [8, 16], ids=["8 stated", "16 stated"])
@pytest.mark.parametrize("count", [256, 255], ids=["even", "odd"])
def test_one_byte_an_entry(syntax, bits, count):
    stored = head(64, count - 1).astype(np.uint8)
    table = np.arange(count, dtype=np.uint8)[::-1]
    sequence = item(LUTDescriptor=[count, 0, bits])
    sequence.add_new("LUTData", "OW", table.tobytes() + bytes(count % 2))
    dataset = dicom_dataset(stored, VOILUTSequence=Sequence([sequence]))
    data = dicom_bytes(dataset, syntax)
    largest = count - 1
    white = 255 if bits == 8 else largest
    assert_rounded(read_one(data), looked_up(stored.astype(int), table, 0) * (255 / white))


def without(keyword):
    sequence = lut(TABLE_12, 4096, 0, 12)
    del sequence[0][keyword]
    return sequence


def descriptor(*words):
    sequence = lut(TABLE_12, 4096, 0, 12)
    sequence[0].LUTDescriptor = list(words)
    return sequence


DAMAGED = {
    "no descriptor": (without("LUTDescriptor"), "LUT Descriptor"),
    "no data": (without("LUTData"), "LUT Data"),
    "two words": (descriptor(4096, 0), "LUT Descriptor"),
    "four words": (descriptor(4096, 0, 12, 1), "LUT Descriptor"),
    "7 bits": (descriptor(4096, 0, 7), "7 bits"),
    "32 bits": (descriptor(4096, 0, 32), "32 bits"),
    "more entries than there are": (descriptor(5000, 0, 12), "4096 of 5000"),
    "65536 entries": (descriptor(0, 0, 12), "4096 of 65536"),
}


@pytest.mark.parametrize(("sequence", "words"), DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("kind", ["VOILUTSequence", "ModalityLUTSequence"])
def test_damaged_tables_are_named(sequence, words, kind):
    data = dicom_bytes(dicom_dataset(noise((64, 64), np.uint16), **{kind: sequence}))
    with pytest.raises(CorruptScanError, match=words):
        read_one(data)


def test_entries_after_the_last_are_not_used():
    table = np.concatenate([TABLE_12, np.full(500, 60000, np.uint16)])
    data = file_of(
        HEAD.astype(np.uint16), ExplicitVRLittleEndian, table=table, descriptor=(4096, 0, 12)
    )
    assert_rounded(read_one(data), looked_up(HEAD, TABLE_12, 0) * (255 / 4095))
