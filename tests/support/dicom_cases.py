"""DICOM files of several frames and of each compression, built in memory."""

import struct

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
)

from support.scan_cases import dicom_bytes, dicom_dataset


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def group(**macros):
    """A functional group: each macro is a sequence of one item."""
    return item(**{keyword: Sequence([item(**elements)]) for keyword, elements in macros.items()})


def multi_frame(stored, per_frame=None, shared=None, **elements):
    """(N, H, W) as an enhanced MR image; `per_frame` and `shared` are functional groups."""
    dataset = dicom_dataset(
        stored[0], SOPClassUID=EnhancedMRImageStorage, NumberOfFrames=str(len(stored)), **elements
    )
    dataset.PixelData = stored.tobytes() + bytes(stored.nbytes % 2)
    if per_frame is not None:
        dataset.PerFrameFunctionalGroupsSequence = Sequence(per_frame)
    if shared is not None:
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    return dataset


def compressed(dataset, transfer_syntax, **options):
    """The file as pydicom's encoders write it."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.compress(transfer_syntax, generate_instance_uid=False, **options)
    return dicom_bytes(dataset, transfer_syntax)


def encapsulated_frames(dataset, frames, transfer_syntax):
    dataset.PixelData = encapsulate(list(frames))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dicom_bytes(dataset, transfer_syntax)


def lossless_jpeg_file(stored, transfer_syntax=JPEGLosslessSV1, options=None, **elements):
    """(H, W) as a DICOM file of one lossless JPEG frame."""
    elements = {"BitsStored": stored.dtype.itemsize * 8, **elements}
    elements["HighBit"] = elements["BitsStored"] - 1
    frame = lossless_jpeg(stored, elements["BitsStored"], **(options or {}))
    return encapsulated_frames(dicom_dataset(stored, **elements), [frame], transfer_syntax)


def lossless_jpeg(stored, precision, predictor=1, shift=0, restart_rows=0):
    """Encode (H, W) sample by sample, as ITU-T T.81 annex H is written."""
    rows, columns = stored.shape
    samples = (stored.astype(np.int64) & ((1 << precision) - 1)) >> shift
    origin = 1 << (precision - shift - 1)
    intervals, bits = [], []
    first_row = 0
    for y in range(rows):
        if restart_rows and y and y % restart_rows == 0:
            intervals.append(stuffed(bits))
            bits, first_row = [], y
        for x in range(columns):
            left = samples[y, x - 1] if x else None
            above = samples[y - 1, x] if y > first_row else None
            corner = samples[y - 1, x - 1] if x and y > first_row else None
            if left is None and above is None:
                guess = origin
            elif above is None:
                guess = left
            elif left is None:
                guess = above
            else:
                guess = [
                    left,
                    above,
                    corner,
                    left + above - corner,
                    left + ((above - corner) >> 1),
                    above + ((left - corner) >> 1),
                    (left + above) >> 1,
                ][predictor - 1]
            difference = int(samples[y, x] - guess) % 65536
            difference -= 65536 if difference > 32768 else 0
            category = abs(difference).bit_length()
            bits.append(CODES[category])
            if 0 < category < 16:
                value = difference if difference > 0 else difference + (1 << category) - 1
                bits.append(f"{value:0{category}b}")
    intervals.append(stuffed(bits))
    data = b""
    for index, interval in enumerate(intervals):
        data += interval + (bytes([0xFF, 0xD0 + index % 8]) if index + 1 < len(intervals) else b"")
    counts = bytes(sum(len(code) == length for code in CODES) for length in range(1, 17))
    table = b"\0" + counts + bytes(range(17))
    frame = struct.pack(">BHHBBBB", precision, rows, columns, 1, 1, 0x11, 0)
    scan = bytes([1, 1, 0, predictor, 0, shift])
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xC3, frame),
            segment(0xC4, table),
            segment(0xDD, struct.pack(">H", restart_rows * columns)) if restart_rows else b"",
            segment(0xDA, scan),
            data,
            b"\xff\xd9",
        ]
    )


# Canonical codes for the categories 0 to 16: 1, 2, ... 8 bits, then nine of 12 bits.
LENGTHS = [*range(1, 9), *[12] * 9]


def canonical(lengths):
    code, last, codes = 0, lengths[0], []
    for length in lengths:
        code <<= length - last
        codes.append(f"{code:0{length}b}")
        code, last = code + 1, length
    return codes


CODES = canonical(LENGTHS)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def stuffed(bits):
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    data = int(text, 2).to_bytes(len(text) // 8, "big") if text else b""
    return data.replace(b"\xff", b"\xff\x00")
