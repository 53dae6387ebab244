"""Image and DICOM files built in memory, and the conditions that tests put around them."""

import contextlib
import io
import os
import resource
import shutil
import signal
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from neuroscan_edge.scans import ScanFault

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR_TYPES = {"grey": 0, "rgb": 2, "palette": 3, "grey+alpha": 4, "rgba": 6}
ORIENTATIONS = range(1, 9)

SOP_UID = "1.2.826.0.1.3680043.8.498.1"
SERIES_UID = "1.2.826.0.1.3680043.8.498.2"
STUDY_UID = "1.2.826.0.1.3680043.8.498.3"

PATIENT_NAME = "Oyelaran^Wilhelmina"
PATIENT_ID = "MRN-7741902"
BIRTH_DATE = "19470223"
# Every part that names the patient, so that half a quotation is found too.
PATIENT_WORDS = ("Oyelaran", "Wilhelmina", "7741902", "19470223")

NOBODY = 65534


def noise(shape, dtype=np.uint8, high=None):
    limit = int(np.iinfo(dtype).max) + 1 if high is None else high
    return np.random.default_rng(2024).integers(0, limit, shape).astype(dtype)


def encoded(image, file_format, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def png_chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_header(width, height, bits=8, colour="grey"):
    fields = (width, height, bits, PNG_COLOUR_TYPES[colour], 0, 0, 0)
    return PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *fields))


def png_file(samples, colour, chunks=()):
    """(H, W) or (H, W, C) of uint8 or uint16 as a PNG; `chunks` come before the data."""
    rows = samples.astype(samples.dtype.newbyteorder(">"))
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    height, width = samples.shape[:2]
    return b"".join(
        [
            png_header(width, height, samples.dtype.itemsize * 8, colour),
            *(png_chunk(name, body) for name, body in chunks),
            png_chunk(b"IDAT", zlib.compress(data)),
            png_chunk(b"IEND", b""),
        ]
    )


def declared_png(width, height):
    """A few bytes that claim to be an image of that size."""
    data = png_chunk(b"IDAT", zlib.compress(bytes(64)))
    return png_header(width, height) + data + png_chunk(b"IEND", b"")


def declared_bmp(width, height):
    core = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 64, 0, 0, 54) + core + bytes(10)


def declared_jpeg(width, height):
    data = encoded(np.zeros((8, 8), np.uint8), "JPEG")
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", height, width) + data[start + 4 :]


def declared_tiff(width, height):
    return tiff_file([np.zeros((1, 1), np.uint8)], declared=[(width, height)])


def tiff_file(pages, orientations=None, declared=None, order="<", white_is_zero=False):
    """Uncompressed TIFF of (H, W) or (H, W, C) arrays, uint8, uint16 or float32."""
    orientations = orientations or [None] * len(pages)
    declared = declared or [None] * len(pages)
    out = bytearray({"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8))
    plan = zip(pages, orientations, declared, strict=True)
    for number, (samples, orientation, size) in enumerate(plan, 1):
        channels = 1 if samples.ndim == 2 else samples.shape[2]
        width, height = size or samples.shape[1::-1]
        bits = samples.dtype.itemsize * 8
        data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
        tags = {
            256: ("I", [width]),
            257: ("I", [height]),
            258: ("H", [bits] * channels),
            259: ("H", [1]),
            262: ("H", [2 if channels > 2 else 0 if white_is_zero else 1]),
            273: ("I", [0]),
            277: ("H", [channels]),
            278: ("I", [height]),
            279: ("I", [len(data)]),
            284: ("H", [1]),
            339: ("H", [3 if samples.dtype.kind == "f" else 1] * channels),
        }
        if orientation is not None:
            tags[274] = ("H", [orientation])
        if channels in {2, 4}:
            tags[338] = ("H", [2])
        directory = len(out)
        after = directory + 2 + 12 * len(tags) + 4
        tail = bytearray()
        entries = bytearray()
        for tag, (kind, values) in sorted(tags.items()):
            body = struct.pack(f"{order}{len(values)}{kind}", *values)
            if tag == 273:
                body = struct.pack(order + "I", after + 64)
            if len(body) > 4:
                body, tail = struct.pack(order + "I", after + len(tail)), tail + body
            code = {"H": 3, "I": 4}[kind]
            entries += struct.pack(order + "HHI", tag, code, len(values)) + body.ljust(4, b"\0")
        end = after + 64 + len(data)
        end += end % 2
        following = end if number < len(pages) else 0
        out += struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", following)
        out += tail.ljust(64, b"\0") + data
        out += bytes(end - len(out))
    return bytes(out)


def dicom_dataset(stored, **elements):
    """A single-frame MR image that names a patient; an element given as None is left out."""
    bits = stored.dtype.itemsize * 8
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = SOP_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.StudyInstanceUID = STUDY_UID
    dataset.Modality = "MR"
    dataset.PatientName = PATIENT_NAME
    dataset.PatientID = PATIENT_ID
    dataset.PatientBirthDate = BIRTH_DATE
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = bits
    dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    dataset.PixelRepresentation = 1 if stored.dtype.kind == "i" else 0
    dataset.PixelData = stored.tobytes() + bytes(stored.nbytes % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for keyword, value in elements.items():
        if value is None:
            del dataset[keyword]
        else:
            setattr(dataset, keyword, value)
    return dataset


def dicom_bytes(dataset, transfer_syntax=ExplicitVRLittleEndian):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = SOP_UID
    meta.TransferSyntaxUID = transfer_syntax
    dataset.file_meta = meta
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def dicom_file(stored, **elements):
    return dicom_bytes(dicom_dataset(stored, **elements))


def voi_lut(entries, first, bits):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return Sequence([item])


def swapped(data, old, new):
    """Replace one value by another of the same length, past any validation on writing."""
    assert len(old) == len(new)
    assert data.count(old) == 1
    return data.replace(old, new)


@contextlib.contextmanager
def as_nobody():
    """Run without the superuser's rights, which no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def public_folder():
    """A temporary folder that every user can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for place, folders, _ in os.walk(folder):
            for name in folders:
                os.chmod(os.path.join(place, name), 0o700)
        shutil.rmtree(folder)


@contextlib.contextmanager
def address_space(headroom_bytes):
    """Let the process grow by no more than this: a larger allocation is a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + headroom_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def within_seconds(seconds):
    """Interrupt what blocks, so that a hang is a failure."""

    def give_up(*_):
        raise AssertionError(f"still blocked after {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def decoded(slices):
    """The scans of a file; raises the error of the first slice that cannot be decoded."""
    # To its end, so that it leaves nothing open, before any of them is looked at.
    scans = list(slices)
    for scan in scans:
        if isinstance(scan, ScanFault):
            raise scan.error
    return scans
