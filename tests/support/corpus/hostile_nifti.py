"""NIfTI written byte by byte: declared too large, cut, of every type, packed beyond proportion."""

import gzip
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from support.corpus.case import (
    ANSWER,
    ANY,
    ERROR,
    HEAD,
    HEAD_16,
    REFER,
    REFUSED,
    REJECTED,
    Case,
    file_case,
)
from support.scan_cases import PATIENT_NAME, noise

ANSWERED = frozenset({ANSWER})
REFERRED = frozenset({REFER})
FAILS = frozenset({ERROR})
NOT_ANSWERED = frozenset({REJECTED})

# Offsets of a NIfTI-1 header.
DIM, INTENT, DATATYPE, PIXDIM = 40, 68, 70, 76
VOX_OFFSET, SLOPE, DESCRIPTION, QFORM, SFORM_ROWS, MAGIC = 108, 112, 148, 252, 280, 344
INT16, FLOAT32 = (4, 16), (16, 32)


def header(
    sizes: tuple[int, ...], kind: tuple[int, int] = INT16, changes: dict[int, bytes] | None = None
) -> bytes:
    """A NIfTI-1 header of a volume whose slices are axial; `changes` are by offset."""
    data = bytearray(352)
    struct.pack_into("<i", data, 0, 348)
    struct.pack_into(f"<{len(sizes) + 1}h", data, DIM, len(sizes), *sizes)
    struct.pack_into("<2h", data, DATATYPE, *kind)
    struct.pack_into("<8f", data, PIXDIM, *[1.0] * 8)
    struct.pack_into("<3f", data, VOX_OFFSET, 352.0, 1.0, 0.0)
    data[DESCRIPTION : DESCRIPTION + len(PATIENT_NAME)] = PATIENT_NAME.encode()
    struct.pack_into("<2h", data, QFORM, 0, 1)
    # To the left, to the back, to the head: as the head is stored.
    rows = (-1.0, 0, 0, 0, 0, -1.0, 0, 0, 0, 0, 1.0, 0)
    struct.pack_into("<12f", data, SFORM_ROWS, *rows)
    data[MAGIC : MAGIC + 4] = b"n+1\0"
    for at, value in (changes or {}).items():
        data[at : at + len(value)] = value
    return bytes(data)


VOXELS = HEAD_16.astype("<i2").tobytes()
GOOD = header((48, 48, 1)) + VOXELS


def changed(changes: dict[int, bytes], sizes: tuple[int, ...] = (48, 48, 1)) -> bytes:
    return header(sizes, changes=changes) + VOXELS


def nifti_cases() -> Iterator[Case]:
    """Yield every case."""
    for group in (_sound, _declared, _damaged, _packed):
        for name, data, allowed in group():
            suffix = ".nii.gz" if isinstance(data, bytes) and data[:2] == b"\x1f\x8b" else ".nii"
            yield file_case(f"NIfTI, {name}", suffix, data, allowed)


Row = tuple[str, bytes, frozenset[str]]


def _sound() -> Iterator[Row]:
    yield "as it should be", GOOD, ANSWERED
    yield "compressed", gzip.compress(GOOD), ANSWERED
    yield "then text", GOOD + PATIENT_NAME.encode() * 50, ANSWERED
    yield "no orientation", changed({QFORM: bytes(4)}), REFERRED
    yield "no directions", changed({SFORM_ROWS: bytes(48)}), REFERRED
    yield "parallel axes", changed({SFORM_ROWS: struct.pack("<12f", *[1.0] * 12)}), REFERRED
    yield "orientation of no numbers", changed({SFORM_ROWS: b"\xff" * 48}), REFERRED
    yield "quaternion of no numbers", changed({QFORM: b"\1\0\0\0" + b"\xff" * 24}), ANY
    yield "blank", header((48, 48, 1)) + bytes(4608), NOT_ANSWERED
    yield "labels", header((48, 48, 1), (2, 8)) + noise((48, 48), high=3).tobytes(), NOT_ANSWERED
    yield "3 slices", header((48, 48, 3)) + VOXELS * 3, ANSWERED
    reals = HEAD.astype("<f4").tobytes()
    yield "reals", header((48, 48, 1), FLOAT32) + reals, ANSWERED
    yield "no numbers", header((48, 48, 1), FLOAT32) + b"\xff" * 9216, NOT_ANSWERED
    infinite = np.full(2304, np.inf, "<f4").tobytes()
    yield "infinite numbers", header((48, 48, 1), FLOAT32) + infinite, FAILS
    yield "largest numbers", header((48, 48, 1), FLOAT32) + b"\xff\xff\x7f\x7f" * 2304, REFUSED


def _declared() -> Iterator[Row]:
    for name, sizes in {
        "no dimension": (),
        "one dimension": (48,),
        "a size of 0": (48, 0, 1),
        "a negative size": (48, -48, 1),
        "32,767 on every side": (32767, 32767, 32767),
        "32,767 slices": (8, 8, 32767),
        "7 dimensions": (48, 48, 1, 2, 2, 2, 2),
        "a film": (48, 48, 1, 9),
        "a slice more than there is": (48, 48, 2),
    }.items():
        allowed = ANY if "more" in name else FAILS
        yield name, header(sizes) + VOXELS, allowed
    yield "1,000 dimensions", changed({DIM: struct.pack("<h", 1000)}), FAILS
    for code in (0, 1, 7, 32, 128, 255, 1536, 1792, 2048, 2304, 32767):
        yield f"type {code}", changed({DATATYPE: struct.pack("<h", code)}), ANY
    for offset in (-1.0, 0.0, 100.0, 1e9, 1e30, float("nan"), float("inf")):
        yield f"data at {offset:g}", changed({VOX_OFFSET: struct.pack("<f", offset)}), FAILS
    for slope in (0.0, float("nan"), 1e38, -1.0):
        yield f"slope {slope:g}", changed({SLOPE: struct.pack("<f", slope)}), ANY
    yield "intercept of no number", changed({SLOPE + 4: b"\xff" * 4}), FAILS
    yield "intent of labels", changed({INTENT: struct.pack("<h", 1002)}), NOT_ANSWERED
    yield "axis of its slices is the fourth", changed({39: b"\xff"}), ANY


def _damaged() -> Iterator[Row]:
    yield "a pair of files", changed({MAGIC: b"ni1\0"}), FAILS
    yield "without its magic", changed({MAGIC: b"\0\0\0\0"}), FAILS
    yield "noise for a header", noise(348).tobytes() + VOXELS, FAILS
    for share in (0.01, 0.05, 0.07, 0.1, 0.5, 0.9, 0.999):
        yield f"cut at {share:.1%}", GOOD[: int(len(GOOD) * share)], FAILS
    packed = gzip.compress(GOOD)
    for share in (0.01, 0.1, 0.5, 0.9):
        yield f"compressed and cut at {share:.0%}", packed[: int(len(packed) * share)], FAILS
    yield "compressed noise", b"\x1f\x8b\x08" + noise(900).tobytes(), FAILS
    yield "compressed text", gzip.compress(PATIENT_NAME.encode() * 90), FAILS
    yield "compressed twice", gzip.compress(packed), FAILS
    yield "called compressed", b"\x1f\x8b" + GOOD, FAILS


def _packed() -> Iterator[Row]:
    yield "bomb", _bomb(300, (1024, 1024, 150)), FAILS
    yield "bomb behind a slice", _bomb(300, (48, 48, 1)), ANY
    yield "1,000 members", gzip.compress(GOOD) + gzip.compress(b"") * 1000, ANSWERED


def _bomb(megabytes: int, sizes: tuple[int, ...]) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    parts = [packer.compress(header(sizes)), *(packer.compress(zeros) for _ in range(megabytes))]
    return b"".join(parts) + packer.flush()
