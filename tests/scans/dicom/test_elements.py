"""What is missing or unreadable in a header is named, and no exception's name stands for it."""

import re

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanError,
    UnsupportedScanError,
)
from neuroscan_edge.scans import Limits, ScanFault
from neuroscan_edge.scans.dicom.elements import (
    decimals,
    is_stated,
    items,
    named,
    required_number,
    text,
    texts,
    unsigned_words,
    whole_number,
)
from neuroscan_edge.scans.dicom.reader import read_dicom
from support.dicom_cases import item, multi_frame
from support.expected_pixels import assert_rounded, by_percentile
from support.phantoms import head
from support.scan_cases import PATIENT_NAME, PATIENT_WORDS, decoded, dicom_bytes, dicom_dataset

HEAD = head(64, 1000).astype(np.uint16)
BITS = {"BitsStored": 12, "HighBit": 11}
PYTHON_NAME = re.compile(r"\b\w*(Error|Exception|Warning)\b")
SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]


def read(data):
    return decoded(read_dicom(data, "slice.dcm", Limits()))


def with_element(keyword, vr, raw, syntax=ExplicitVRLittleEndian):
    """A file in which one element has these very bytes."""
    dataset = dicom_dataset(HEAD, **BITS)
    if keyword in dataset:
        del dataset[keyword]
    tag = pydicom.datadict.tag_for_keyword(keyword)
    data = dicom_bytes(dataset, syntax)
    group, element = tag >> 16, tag & 0xFFFF
    explicit = syntax == ExplicitVRLittleEndian
    new = group.to_bytes(2, "little") + element.to_bytes(2, "little")
    new += (
        vr.encode() + len(raw).to_bytes(2, "little") if explicit else len(raw).to_bytes(4, "little")
    )
    # In order, so that a parser that looks for it finds it.
    for other in sorted(int(each) for each in list(dataset._dict) if each > tag):
        marker = (other >> 16).to_bytes(2, "little") + (other & 0xFFFF).to_bytes(2, "little")
        marker += dataset[other].VR.encode() if explicit else b""
        at = data.index(marker, 132)
        return data[:at] + new + raw + data[at:]
    raise AssertionError("no element follows")


NEEDED = ("Rows", "Columns", "BitsAllocated", "BitsStored")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("keyword", NEEDED)
def test_missing_element_is_named(keyword, syntax):
    data = dicom_bytes(dicom_dataset(HEAD, **{**BITS, keyword: None}), syntax)
    with pytest.raises(CorruptScanError, match=re.escape(f"{named(keyword)} is missing")):
        read(data)


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("keyword", NEEDED)
def test_empty_element_is_named(keyword, syntax):
    with pytest.raises(CorruptScanError, match=re.escape(f"{named(keyword)} is empty")):
        read(with_element(keyword, "US", b"", syntax))


@pytest.mark.parametrize("keyword", [*NEEDED, "HighBit", "PixelRepresentation"])
@pytest.mark.parametrize("raw", [b"\x40\0\x40\0", b"\x40\0\x40\0\x40\0"], ids=["two", "three"])
def test_several_values_are_named(keyword, raw):
    with pytest.raises(CorruptScanError, match=re.escape(named(keyword))):
        read(with_element(keyword, "US", raw))


@pytest.mark.parametrize("keyword", [*NEEDED, "HighBit", "PixelRepresentation", "NumberOfFrames"])
@pytest.mark.parametrize("vr", ["LO", "IS", "DS"])
def test_text_for_a_number_is_named_and_not_quoted(keyword, vr):
    raw = PATIENT_NAME.encode() + b" " * (len(PATIENT_NAME) % 2)
    with pytest.raises(CorruptScanError, match=re.escape(named(keyword))) as caught:
        read(with_element(keyword, vr, raw))
    assert not any(word in str(caught.value) for word in PATIENT_WORDS)


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "HighBit", "NumberOfFrames"])
def test_missing_element_with_one_meaning_is_not_needed(keyword):
    dataset = dicom_dataset(HEAD, **BITS)
    dataset.NumberOfFrames = "1"
    del dataset[keyword]
    (scan,) = read(dicom_bytes(dataset))
    assert_rounded(scan.pixels, by_percentile(HEAD))
    assert scan.findings == ()


def test_missing_photometric_interpretation_is_named():
    data = dicom_bytes(dicom_dataset(HEAD, PhotometricInterpretation=None, **BITS))
    with pytest.raises(UnsupportedScanError, match=r"Photometric Interpretation \(0028,0004\)"):
        read(data)


@pytest.mark.parametrize("number", ["0", "-3"])
def test_impossible_number_of_frames_is_named(number):
    data = with_element("NumberOfFrames", "IS", number.encode() + b" " * (len(number) % 2))
    with pytest.raises(CorruptScanError, match="Number of Frames"):
        read(data)


SEQUENCES = (
    "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence",
    "ModalityLUTSequence",
    "VOILUTSequence",
)


@pytest.mark.parametrize("keyword", SEQUENCES)
def test_sequence_that_is_none_is_named(keyword):
    dataset = dicom_dataset(HEAD, **BITS)
    dataset.add_new(pydicom.datadict.tag_for_keyword(keyword), "LO", "NONE")
    with pytest.raises(CorruptScanError, match=re.escape(named(keyword))):
        read(dicom_bytes(dataset))


def test_no_reason_is_the_name_of_an_exception():
    """Every byte of the header set to something else, every length cut: a word for each."""
    whole = dicom_bytes(multi_frame(np.stack([HEAD[:16, :16]] * 2), shared=item(), **BITS))
    end = whole.index(b"\xe0\x7f\x10\x00OW") + 12
    said = set()
    for at in range(132, end):
        for value in (0x00, 0xFF, 0x41):
            said |= reasons(whole[:at] + bytes([value]) + whole[at + 1 :])
        said |= reasons(whole[:at])
    assert len(said) > 20
    assert [reason for reason in said if PYTHON_NAME.search(reason)] == []
    assert [reason for reason in said if "; " not in reason and ": " not in reason] == []


def reasons(data):
    try:
        faults = [scan.error for scan in read_all(data) if isinstance(scan, ScanFault)]
    except ScanError as error:
        faults = [error]
    # Of sound files without a slice there is nothing to be done.
    return {str(error) for error in faults if not isinstance(error, RejectedScanError)}


def read_all(data):
    return list(read_dicom(data, "slice.dcm", Limits()))


def dataset_of(*elements):
    dataset = Dataset()
    for element in elements:
        dataset.add(element)
    return dataset


def test_numbers_of_a_dataset_made_in_memory():
    dataset = Dataset()
    dataset.Rows = 5
    dataset.WindowCenter = ["5", "7.5"]
    dataset.PixelPaddingValue = -3
    assert required_number(dataset, "Rows") == 5
    assert decimals(dataset, "WindowCenter") == [5.0, 7.5]
    assert decimals(dataset, "WindowWidth") == []
    assert whole_number(dataset, "Columns") is None


def test_words_are_unsigned():
    dataset = dataset_of(DataElement(0x00283002, "SS", [5, -2, 16]))
    assert unsigned_words(dataset, "LUTDescriptor") == [5, 65534, 16]
    assert unsigned_words(dataset, "LUTData") is None


def test_texts_are_stripped():
    dataset = dataset_of(DataElement(0x00080008, "CS", ["ORIGINAL ", " PRIMARY"]))
    assert texts(dataset, "ImageType") == ["ORIGINAL", "PRIMARY"]
    assert text(dataset, "ImageType") == "ORIGINAL"
    assert text(dataset, "Modality") == ""
    assert not is_stated(dataset, "Modality")


def test_items_of_an_empty_sequence():
    dataset = Dataset()
    dataset.VOILUTSequence = Sequence([])
    assert list(items(dataset, "VOILUTSequence")) == []
    assert list(items(dataset, "ModalityLUTSequence")) == []
