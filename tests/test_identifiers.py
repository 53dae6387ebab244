"""A DICOM file full of identifiers goes through everything: none of them comes out.

Every attribute of the dictionary that can hold text, a name or a date holds a marker, and so do
private elements, nested items, the preamble and the file's meta information. Damaged and malformed
variants of the file reach the errors.
"""

import io
import json
import logging
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.errors import ScanError
from neuroscan_edge.scans import read_scans
from support.places import ROOT

MARK = "ZQX"
DATE, TIME = "19470223", "041957"
NUMBER = "74019026"
FORMATS = ("table", "csv", "jsonl", "parquet")
SYNTAXES = {"explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}

_TEXT = {"PN": 60, "LO": 60, "SH": 16, "LT": 60, "ST": 60, "UT": 60, "UC": 60, "AE": 16, "CS": 16}
_FIXED = {"DA": DATE, "DT": DATE + TIME, "TM": TIME, "AS": "077Y", "IS": NUMBER, "DS": NUMBER}
# Commands, meta information, image, pixels.
_GROUPS_KEPT = {0x0000, 0x0002, 0x0028, 0x7FE0}
# Without these as they must be it would be no image; the variants below attack them one by one.
_OF_THE_IMAGE = {"SpecificCharacterSet", "Modality", "ImageType", "BodyPartExamined"}
_OF_THE_IMAGE |= {"NumberOfFrames", "BurnedInAnnotation", "PhotometricInterpretation"}


def marked(vr: str, number: int) -> str:
    return f"{MARK}{number:05}{'Wilhelmina' * 5}"[: _TEXT[vr]] if vr in _TEXT else _FIXED[vr]


def full_of_identifiers() -> Dataset:
    dataset = Dataset()
    filled = 0
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        group = tag >> 16
        if (
            not keyword
            or retired
            or group in {0x0000, 0x0002, 0x0028, 0x7FE0}
            or keyword in _OF_THE_IMAGE
        ):
            continue
        if vr in _TEXT or vr in _FIXED:
            filled += 1
            with pydicom.config.disable_value_validation():
                dataset.add_new(tag, vr, marked(vr, filled))
    assert filled > 1500
    nested = Dataset()
    nested.PatientName = f"{MARK}^Nested"
    nested.PatientID = f"{MARK}-nested"
    dataset.RequestAttributesSequence = Sequence([nested])
    block = dataset.private_block(0x0009, f"{MARK} CREATOR", create=True)
    block.add_new(0x01, "LO", f"{MARK} private")
    block.add_new(0x02, "PN", f"{MARK}^Private")
    block.add_new(0x03, "UN", f"{MARK} unknown".encode())
    dataset.Modality = "MR"
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3"
    dataset.StudyInstanceUID = "1.2"
    dataset.PatientSex = "F"
    pixels = np.random.default_rng(3).integers(0, 4096, (48, 48), np.uint16)
    dataset.Rows = dataset.Columns = 48
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    return dataset


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = "1.2.3.1"
    meta.TransferSyntaxUID = syntax
    meta.ImplementationVersionName = f"{MARK} VERSION"
    meta.SourceApplicationEntityTitle = f"{MARK} SOURCE"
    meta.PrivateInformationCreatorUID = "1.2.3.4"
    meta.PrivateInformation = f"{MARK} information ".encode()
    dataset.file_meta = meta
    dataset.preamble = (f"{MARK} preamble ".encode() * 10)[:128]
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def replaced(data: bytes, tag: bytes, vr: bytes, value: bytes) -> bytes:
    """Put another value, of another length, where an explicit short element of this tag stands."""
    start = data.index(tag + vr)
    length = int.from_bytes(data[start + 6 : start + 8], "little")
    value += b" " * (len(value) % 2)
    head = tag + vr + len(value).to_bytes(2, "little")
    return data[:start] + head + value + data[start + 8 + length :]


def variants() -> dict[str, bytes]:
    """The file, and what is wrong with others like it."""
    data = written(full_of_identifiers())
    text = f"{MARK}^Wilhelmina {DATE}".encode()
    made = {name: written(full_of_identifiers(), syntax) for name, syntax in SYNTAXES.items()}
    for share in (10, 30, 50, 70, 90, 99):
        made[f"cut at {share} percent"] = data[: len(data) * share // 100]
    places = {
        "rows": (b"\x28\x00\x10\x00", b"US", b"ZQ"),
        "frames": (b"\x28\x00\x08\x00", b"IS", text),
        "photometric interpretation": (b"\x28\x00\x04\x00", b"CS", text),
        "SOP class": (b"\x08\x00\x16\x00", b"UI", text),
        "SOP instance": (b"\x08\x00\x18\x00", b"UI", text),
        "modality": (b"\x08\x00\x60\x00", b"CS", text),
        "series": (b"\x20\x00\x0e\x00", b"UI", text),
        "study": (b"\x20\x00\x0d\x00", b"UI", text),
        "transfer syntax": (b"\x02\x00\x10\x00", b"UI", text),
        "sex": (b"\x10\x00\x40\x00", b"CS", text),
        "age": (b"\x10\x00\x10\x10", b"AS", text),
        "birth date": (b"\x10\x00\x30\x00", b"DA", text),
        "name of bytes": (b"\x10\x00\x10\x00", b"PN", text + b"\xff\xfe\x1b\x5b"),
        "series number": (b"\x20\x00\x11\x00", b"IS", text),
    }
    whole = full_of_identifiers()
    whole.NumberOfFrames = 1
    base = written(whole)
    for name, place in places.items():
        made[name] = replaced(base, *place)
    for keyword, value in {
        "SpecificCharacterSet": f"{MARK}_CHARSET",
        "BodyPartExamined": f"{MARK}PART",
        "ImageType": [MARK, f"{MARK}B", f"{MARK}C"],
        "BurnedInAnnotation": MARK,
        "VOILUTFunction": MARK,
        "WindowCenter": NUMBER,
        "RescaleType": MARK,
        "PixelData": f"{MARK}".encode() * 2,
        "NumberOfFrames": 7,
        "SamplesPerPixel": 3,
        "BitsAllocated": 7,
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11",
    }.items():
        changed = full_of_identifiers()
        with pydicom.config.disable_value_validation():
            setattr(changed, keyword, value)
            if keyword in {"VOILUTFunction", "WindowCenter"}:
                changed.WindowCenter, changed.WindowWidth = 40, 80
                setattr(changed, keyword, value)
            if keyword == "SOPClassUID":
                del changed.PixelData
            made[keyword] = written(changed)
    return made


with warnings.catch_warnings():
    # What is written here is meant to be odd.
    warnings.simplefilter("ignore")
    VARIANTS = variants()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("identifiers")
    for number, data in enumerate(VARIANTS.values()):
        (place / f"{number:03}.dcm").write_bytes(data)
    return place


def leaks(text: str | bytes) -> list[str]:
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    words = (MARK, "Wilhelmina", DATE, TIME, NUMBER, "Nested", "077Y")
    return [word for word in words if word.encode().lower() in text.lower()]


def test_the_file_is_full_of_them_and_can_be_classified():
    assert leaks(VARIANTS["explicit"]) == [MARK, "Wilhelmina", DATE, TIME, NUMBER, "Nested", "077Y"]
    assert VARIANTS["explicit"].count(MARK.encode()) > 1000
    assert all(MARK.encode() in data for data in VARIANTS.values())


@pytest.mark.parametrize("form", FORMATS)
def test_no_form_of_results_holds_one(folder, bundle, tmp_path, form):
    output = tmp_path / f"results.{form}"
    line = [sys.executable, "-X", "dev", "-m", "neuroscan_edge", "classify", str(folder)]
    options = ["--model", str(bundle.folder), "--format", form, "--output", str(output)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "always"}
    done = subprocess.run(
        [*line, *options, "--group", "study", "--sort", "risk"],
        capture_output=True,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 1, done.stderr.decode()
    assert leaks(done.stdout + done.stderr) == []
    assert leaks(output.read_bytes()) == []
    if form == "parquet":
        import pyarrow.parquet

        assert leaks(repr(pyarrow.parquet.read_table(output).to_pylist())) == []
    if form == "jsonl":
        records = [json.loads(line) for line in output.read_text().splitlines()]
        classified = [each for each in records if each["prediction"]]
        assert len(classified) >= 10
        assert {each["level"] for each in records} == {"slice", "series", "study"}
        assert sum(each["error"] is not None for each in records) >= 8
        assert "1.2.3.1" in {each["sop_instance_uid"] for each in records}


def test_no_summary_holds_one(folder, bundle, tmp_path, caplog):
    results = tmp_path / "results.jsonl"
    run = CliRunner().invoke
    options = ["--model", str(bundle.folder), "--output", str(results), "--group", "study"]
    outputs = [tmp_path / "page.html", tmp_path / "figures.json"]
    arguments = ["--html", str(outputs[0]), "--json", str(outputs[1])]
    with caplog.at_level(logging.DEBUG):
        run(app, ["classify", str(folder), *options])
        done = run(app, ["summarize", str(results), "--demographics", *arguments])
    assert done.exit_code == 0, done.output
    assert leaks(done.output) == []
    assert leaks(caplog.text) == []
    for output in outputs:
        assert leaks(output.read_bytes()) == []
        assert str(folder) not in output.read_text(), "a page names no file"


@pytest.mark.parametrize("name", VARIANTS)
def test_no_error_quotes_one_with_all_its_causes(folder, name):
    path = folder / f"{list(VARIANTS).index(name):03}.dcm"
    try:
        scans = list(read_scans(path))
    except ScanError as error:
        assert leaks("".join(traceback.format_exception(error))) == []
    else:
        assert leaks(repr([scan.provenance for scan in scans])) == []
