"""TIFF: directories, strips and samples as no scanner writes them."""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from support.corpus.case import ANSWER, ERROR, HEAD, REJECTED, Case, file_case
from support.scan_cases import PATIENT_NAME, declared_tiff, encoded, noise, tiff_file

ANSWERED = frozenset({ANSWER})
FAILS = frozenset({ERROR})
OFTEN_A_PAGE = frozenset({ANSWER, ERROR})

Tags = Mapping[int, tuple[str, list[int]]]
_CODES = {"B": 1, "H": 3, "I": 4}


def tiff(changes: Tags | None = None, body: bytes = HEAD.tobytes(), following: int = 0) -> bytes:
    """A TIFF of the head with some tags changed; a tag of no values is left out."""
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [48]),
        257: ("I", [48]),
        258: ("H", [8]),
        259: ("H", [1]),
        262: ("H", [1]),
        273: ("I", [8]),
        277: ("H", [1]),
        278: ("I", [48]),
        279: ("I", [len(body)]),
        **(changes or {}),
    }
    start = 8 + len(body) + len(body) % 2
    kept = {tag: value for tag, value in sorted(tags.items()) if value[1]}
    tail_at = start + 2 + 12 * len(kept) + 4
    entries = tail = b""
    for tag, (kind, values) in kept.items():
        value = struct.pack(f"<{len(values)}{kind}", *values)
        if len(value) > 4:
            value, tail = struct.pack("<I", tail_at + len(tail)), tail + value
        entries += struct.pack("<HHI", tag, _CODES[kind], len(values)) + value.ljust(4, b"\0")
    directory = struct.pack("<H", len(kept)) + entries + struct.pack("<I", following)
    return b"II*\0" + struct.pack("<I", start) + body.ljust(start - 8, b"\0") + directory + tail


def tiff_cases() -> Iterator[Case]:
    """Yield every case."""
    yield from _directories()
    yield from _sizes()
    yield from _samples()


def _directories() -> Iterator[Case]:
    whole = tiff()
    start = struct.unpack_from("<I", whole, 4)[0]
    yield file_case("TIFF, by hand", ".tif", whole, ANSWERED)
    yield file_case("TIFF, its directory follows itself", ".tif", tiff(following=start), ANSWERED)
    yield file_case("TIFF, directories in a ring", ".tif", _ring)
    yield file_case("TIFF, next directory beyond the end", ".tif", tiff(following=2**31))
    yield file_case("TIFF, first directory beyond the end", ".tif", b"II*\0\xff\xff\xff\x7f", FAILS)
    yield file_case("TIFF, first directory within the header", ".tif", b"II*\0\2\0\0\0" + bytes(99))
    yield file_case("TIFF, no directory", ".tif", b"II*\0" + bytes(60), FAILS)
    yield file_case("TIFF, no tags", ".tif", b"II*\0\x08\0\0\0" + bytes(60), FAILS)
    yield file_case("TIFF, 1,000,000 pages", ".tif", lambda: _empty_pages(1_000_000), FAILS)
    yield file_case("TIFF, 1,025 pages", ".tif", lambda: _empty_pages(1_025), FAILS)
    yield file_case("TIFF, 1,000 pages that are empty", ".tif", lambda: _empty_pages(1_000), FAILS)
    yield file_case("TIFF, 100 pages", ".tif", lambda: tiff_file([HEAD] * 100), ANSWERED)
    yield file_case("TIFF, directories within each other", ".tif", _overlapping, FAILS)
    yield file_case("TIFF, values that are the whole file", ".tif", _value_bomb, FAILS)
    yield file_case("TIFF, a name for a description", ".tif", _described, ANSWERED)
    yield file_case("TIFF, unknown field types", ".tif", _unknown_types)
    yield file_case(
        "TIFF, a second page that is cut", ".tif", tiff_file([HEAD] * 2)[:-900], OFTEN_A_PAGE
    )
    yield file_case("BigTIFF", ".tif", encoded(HEAD, "TIFF", big_tiff=True))
    yield file_case("BigTIFF without end", ".tif", b"II+\0\x08\0\0\0" + b"\xff" * 60, FAILS)
    yield file_case("TIFF, big endian", ".tif", tiff_file([HEAD], order=">"), ANSWERED)


def _ring() -> bytes:
    first, second = tiff(), tiff()
    start = struct.unpack_from("<I", first, 4)[0]
    moved = bytearray(second)
    data = bytearray(first)
    struct.pack_into("<I", data, start + 2 + 12 * 9, len(data) + start)
    struct.pack_into("<I", moved, start + 2 + 12 * 9, start)
    return bytes(data + moved)


def _empty_pages(count: int) -> bytes:
    places = np.arange(1, count + 1, dtype="<u4") * 6 + 8
    places[-1] = 0
    pages = np.zeros(count, np.dtype([("entries", "<u2"), ("following", "<u4")]))
    pages["following"] = places
    return b"II*\0\x08\0\0\0" + pages.tobytes() + bytes(16)


def _overlapping() -> bytes:
    pages, entries = 1_000, 65_535
    data = bytearray(8 + 12 * pages + 2 + 12 * entries + 4)
    data[:8] = b"II*\0\x08\0\0\0"
    for page in range(pages):
        start = 8 + 12 * page
        struct.pack_into("<H", data, start, entries)
        struct.pack_into("<I", data, start + 2 + 12 * entries, start + 12)
    return bytes(data)


def _value_bomb() -> bytes:
    size, count = 8 << 20, 3_000
    entries = b"".join(struct.pack("<HHII", 40_000 + each, 7, size, 0) for each in range(count))
    directory = struct.pack("<H", count) + entries + bytes(4)
    return (b"II*\0\x08\0\0\0" + directory).ljust(size, b"\0")


def _described() -> bytes:
    return tiff({270: ("B", list(PATIENT_NAME.encode())), 315: ("B", list(PATIENT_NAME.encode()))})


def _unknown_types() -> bytes:
    whole = bytearray(tiff())
    start = struct.unpack_from("<I", whole, 4)[0]
    for index in range(3, 9):
        struct.pack_into("<H", whole, start + 2 + 12 * index + 2, 4000 + index)
    return bytes(whole)


def _sizes() -> Iterator[Case]:
    for width, height in ((0, 48), (48, 0), (2**31, 2**31), (30_000, 30_000), (1, 2**32 - 1)):
        yield file_case(f"TIFF of {width}x{height}", ".tif", declared_tiff(width, height), FAILS)
    yield file_case("TIFF, strip beyond the end", ".tif", tiff({273: ("I", [2**31])}), FAILS)
    yield file_case("TIFF, strip of no bytes", ".tif", tiff({279: ("I", [0])}))
    yield file_case("TIFF, strip of 4 GiB", ".tif", tiff({279: ("I", [2**32 - 1])}))
    yield file_case("TIFF, no rows a strip", ".tif", tiff({278: ("I", [0])}))
    yield file_case(
        "TIFF, 200,000 strips", ".tif", lambda: tiff({273: ("I", [8] * 200_000)}), FAILS
    )
    yield file_case("TIFF, no strips", ".tif", tiff({273: ("I", [])}), FAILS)
    yield file_case(
        "TIFF, tiles of 0x0", ".tif", tiff({322: ("I", [0]), 323: ("I", [0]), 324: ("I", [8])})
    )
    yield file_case(
        "TIFF, tiles of 2^31",
        ".tif",
        tiff({322: ("I", [2**31]), 323: ("I", [2**31]), 324: ("I", [8])}),
    )


def _samples() -> Iterator[Case]:
    yield file_case("TIFF, 0 bits", ".tif", tiff({258: ("H", [0])}), FAILS)
    yield file_case("TIFF, 4 bits", ".tif", tiff({258: ("H", [4])}))
    yield file_case("TIFF, 12 bits", ".tif", tiff({258: ("H", [12])}, noise(3456).tobytes()))
    yield file_case("TIFF, 64 bits", ".tif", tiff({258: ("H", [64])}, noise(9216).tobytes()), FAILS)
    yield file_case("TIFF, 5 samples", ".tif", tiff({277: ("H", [5]), 258: ("H", [8] * 5)}))
    yield file_case("TIFF, 65,535 samples", ".tif", tiff({277: ("H", [65_535])}), FAILS)
    yield file_case("TIFF, unknown compression", ".tif", tiff({259: ("H", [54_321])}), FAILS)
    yield file_case("TIFF, unknown photometric", ".tif", tiff({262: ("H", [999])}), FAILS)
    yield file_case("TIFF, white is zero", ".tif", tiff({262: ("H", [0])}), ANSWERED)
    for name, code in (("LZW", 5), ("JPEG", 7), ("deflate", 8), ("PackBits", 32773), ("fax", 4)):
        yield file_case(
            f"TIFF, {name} of noise", ".tif", tiff({259: ("H", [code])}, noise(2304).tobytes())
        )
    yield file_case(
        "TIFF, deflate bomb",
        ".tif",
        lambda: tiff({259: ("H", [8])}, zlib.compress(bytes(200 << 20))),
    )
    yield file_case("TIFF, predictor of floats", ".tif", tiff({259: ("H", [5]), 317: ("H", [3])}))
    yield file_case(
        "TIFF, planes apart",
        ".tif",
        tiff({277: ("H", [3]), 284: ("H", [2]), 258: ("H", [8] * 3), 262: ("H", [2])}),
    )
    for name, value in (("not a number", np.nan), ("infinite", np.inf)):
        samples = HEAD.astype(np.float32)
        samples[5, 5] = value
        yield file_case(f"TIFF, floats, one {name}", ".tif", tiff_file([samples]), FAILS)
    yield file_case("TIFF, floats", ".tif", tiff_file([HEAD.astype(np.float32)]), ANSWERED)
    yield file_case(
        "TIFF, floats of 1e38", ".tif", tiff_file([HEAD.astype(np.float32) * np.float32(1e36)])
    )
    for mode, allowed in (
        ("CMYK", frozenset({ANSWER, REJECTED})),
        ("LAB", FAILS),
        ("YCbCr", ANSWERED),
    ):
        image = Image.fromarray(np.dstack([HEAD] * 3))
        image = Image.new("LAB", (48, 48)) if mode == "LAB" else image.convert(mode)
        yield file_case(f"TIFF in {mode}", ".tif", encoded(image, "TIFF"), allowed)
    yield file_case("TIFF with DICOM's preamble", ".tif", _dicom_preamble)


def _dicom_preamble() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(HEAD).save(buffer, "TIFF")
    data = bytearray(buffer.getvalue())
    data[128:132] = b"DICM"
    return bytes(data)
