"""DICOM written byte by byte, past any writer's checks; every file names a patient."""

import struct
import zlib
from collections.abc import Iterator, Mapping

import numpy as np

from support.corpus.case import ANSWER, ERROR, HEAD, HEAD_16, REFER, REJECTED, Case, file_case
from support.corpus.hostile_raster import scan_bomb
from support.scan_cases import (
    BIRTH_DATE,
    PATIENT_ID,
    PATIENT_NAME,
    SERIES_UID,
    SOP_UID,
    STUDY_UID,
    encoded,
    noise,
)

ANSWERED = frozenset({ANSWER})
REFERRED = frozenset({REFER})
NOT_ANSWERED = frozenset({REJECTED})
FAILS = frozenset({ERROR})
REFUSED = frozenset({REJECTED, ERROR})

MR = "1.2.840.10008.5.1.4.1.1.4"
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
JPEG, JPEG_LOSSLESS, JPEG_LS = (f"1.2.840.10008.1.2.4.{code}" for code in (50, 70, 80))
JPEG_2000, RLE, MPEG2 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.100"

LONG = {"OB", "OW", "OF", "OD", "OL", "OV", "SQ", "UT", "UN", "UC", "UR"}
UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)

Elements = Mapping[int, tuple[str, bytes]]


def words(*values: int) -> tuple[str, bytes]:
    return "US", struct.pack(f"<{len(values)}H", *values)


def text(vr: str, value: str) -> tuple[str, bytes]:
    data = value.encode()
    return vr, data + (b"\0" if vr == "UI" else b" ") * (len(data) % 2)


BASE: Elements = {
    0x00080008: text("CS", "ORIGINAL\\PRIMARY\\M"),
    0x00080016: text("UI", MR),
    0x00080018: text("UI", SOP_UID),
    0x00080060: text("CS", "MR"),
    0x00100010: text("PN", PATIENT_NAME),
    0x00100020: text("LO", PATIENT_ID),
    0x00100030: text("DA", BIRTH_DATE),
    0x0020000D: text("UI", STUDY_UID),
    0x0020000E: text("UI", SERIES_UID),
    0x00280002: words(1),
    0x00280004: text("CS", "MONOCHROME2"),
    0x00280010: words(48),
    0x00280011: words(48),
    0x00280100: words(16),
    0x00280101: words(12),
    0x00280102: words(11),
    0x00280103: words(0),
    0x7FE00010: ("OW", HEAD_16.tobytes()),
}


def element(tag: int, vr: str, value: bytes, length: int | None = None, order: str = "<") -> bytes:
    """One explicit element; `length` is what it claims, which need not be so."""
    length = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr in LONG:
        return head + bytes(2) + struct.pack(order + "I", length) + value
    return head + struct.pack(order + "H", length & 0xFFFF) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def meta(syntax: str) -> bytes:
    body = element(0x00020002, *text("UI", MR)) + element(0x00020003, *text("UI", SOP_UID))
    body += element(0x00020010, *text("UI", syntax))
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(body))) + body


def dicom(
    changes: Mapping[int, tuple[str, bytes] | None] | None = None,
    syntax: str = EXPLICIT,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    """The head as a DICOM file; an element given as None is left out."""
    elements = {**BASE, **(changes or {})}
    body = b"".join(
        before * (tag == 0x7FE00010) + element(tag, *value)
        for tag, value in sorted(elements.items())
        if value
    )
    if 0x7FE00010 not in elements or elements[0x7FE00010] is None:
        body += before
    return meta(syntax) + body + after


def raw_pixels(data: bytes, syntax: str, changes: Elements | None = None) -> bytes:
    """A file whose pixel data follow as given: encapsulated, or lying about their length."""
    return dicom({**(changes or {}), 0x7FE00010: None}, syntax) + data


def fragments(*items: bytes, table: bytes = b"", end: bytes = SEQUENCE_END) -> bytes:
    head = struct.pack("<HH", 0x7FE0, 0x0010) + b"OB\0\0" + struct.pack("<I", UNDEFINED)
    parts = (struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in (table, *items))
    return head + b"".join(parts) + end


def even(data: bytes) -> bytes:
    return data + bytes(len(data) % 2)


def dicom_cases() -> Iterator[Case]:
    """Yield every case."""
    for group in (
        _sizes,
        _grey_levels,
        _structure,
        _syntaxes,
        _encapsulated,
        _pixel_data,
        _frames,
        _said,
        _other_objects,
        _cut,
    ):
        for name, data, allowed in group():
            yield file_case(f"DICOM, {name}", ".dcm", data, allowed)


Row = tuple[str, object, frozenset[str]]
ALL = frozenset({ANSWER, REFER, REJECTED, ERROR})


def _sizes() -> Iterator[Row]:
    yield "as it should be", dicom(), ANSWERED
    for keyword, tag in (("rows", 0x00280010), ("columns", 0x00280011)):
        yield f"no {keyword}", dicom({tag: None}), FAILS
        yield f"0 {keyword}", dicom({tag: words(0)}), FAILS
        yield f"65,535 {keyword}", dicom({tag: words(65_535)}), FAILS
        yield f"several {keyword}", dicom({tag: words(48, 48)}), ALL
        yield f"{keyword} of no bytes", dicom({tag: ("US", b"")}), FAILS
        yield f"{keyword} of one byte", dicom({tag: ("US", b"\x30")}), ALL
        yield f"{keyword} as text", dicom({tag: text("LO", PATIENT_NAME)}), FAILS
    yield (
        "65,535 rows and columns",
        dicom({0x00280010: words(65_535), 0x00280011: words(65_535)}),
        FAILS,
    )
    for bits in (0, 1, 7, 12, 24, 32, 64, 65_535):
        yield f"{bits} bits allocated", dicom({0x00280100: words(bits)}), ALL
    yield "no bits allocated", dicom({0x00280100: None}), FAILS
    for bits in (0, 17, 65_535):
        yield f"{bits} bits stored", dicom({0x00280101: words(bits)}), ALL
    yield "no bits stored", dicom({0x00280101: None}), ALL
    yield "high bit 40", dicom({0x00280102: words(40)}), ALL
    for value in (2, 65_535):
        yield f"pixel representation {value}", dicom({0x00280103: words(value)}), ALL
    yield "no pixel representation", dicom({0x00280103: None}), ALL
    yield "signed", dicom({0x00280103: words(1)}), ALL
    for samples in (0, 2, 3, 65_535):
        yield f"{samples} samples", dicom({0x00280002: words(samples)}), REFUSED
    yield "no samples", dicom({0x00280002: None}), ALL


def _window(centre: str, width: str, function: str | None = None) -> bytes:
    return dicom({
        0x00281050: text("DS", centre),
        0x00281051: text("DS", width),
        **({0x00281056: text("CS", function)} if function else {}),
    })  # fmt: skip


def _rescale(slope: str, intercept: str = "0") -> bytes:
    return dicom({0x00281052: text("DS", intercept), 0x00281053: text("DS", slope)})


def _lut(tag: int, descriptor: tuple[int, ...], data: bytes) -> bytes:
    item = element(0x00283002, *words(*descriptor)) + element(0x00283006, "OW", data)
    sequence = ITEM + item + ITEM_END + SEQUENCE_END
    whole = dict(BASE)
    body = b"".join(element(key, *whole[key]) for key in sorted(whole) if key != 0x7FE00010)
    body += element(tag, "SQ", sequence, UNDEFINED)
    return meta(EXPLICIT) + body + element(0x7FE00010, *BASE[0x7FE00010])


def _grey_levels() -> Iterator[Row]:
    yield "a window", _window("1000", "2000"), ANSWERED
    for width in ("0", "-1", "-1e300", "nan", "inf", "1e-300"):
        yield f"window of width {width}", _window("1000", width), ALL
    for centre in ("1e308", "-1e308", "nan", "inf", "1e999"):
        yield f"window around {centre}", _window(centre, "400"), ALL
    yield "window of width 1", _window("1000", "1"), ALL
    yield "window far off", _window("60000", "10"), REFERRED
    yield "window without width", dicom({0x00281050: text("DS", "10")}), REFERRED
    yield "window as name", _window(PATIENT_NAME, "400"), ALL
    yield "1,000 windows", _window("\\".join(["1000"] * 1000), "\\".join(["2000"] * 1000)), ANSWERED
    yield "2 centres and 1 width", _window("1000\\2000", "2000"), REFERRED
    yield "unknown window function", _window("1000", "2000", "WILHELMINA"), ALL
    yield "sigmoid of width 1e-300", _window("1000", "1e-300", "SIGMOID"), ALL
    for slope in ("0", "-1", "1e308", "1e-308", "nan", "inf", "-inf", PATIENT_NAME[:16]):
        yield f"slope {slope[:6]}" if slope[0] != "O" else "slope as name", _rescale(slope), ALL
    yield "intercept not a number", _rescale("1", "nan"), ALL
    yield "slope without intercept", dicom({0x00281053: text("DS", "2")}), ALL
    for photometric in ("MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "", PATIENT_NAME[:16]):
        allowed = ANSWERED if photometric == "MONOCHROME1" else ALL
        name = photometric if not photometric.startswith("Oye") else "a name"
        yield (
            f"photometric {name or 'of nothing'}",
            dicom({0x00280004: text("CS", photometric)}),
            allowed,
        )
    for tag, kind in ((0x00283000, "modality"), (0x00283010, "VOI")):
        ramp = np.arange(4096, dtype="<u2").tobytes()
        yield f"{kind} LUT", _lut(tag, (4096, 0, 16), ramp), ALL
        yield f"{kind} LUT of no entries", _lut(tag, (0, 0, 16), b""), ALL
        yield f"{kind} LUT shorter than it says", _lut(tag, (4096, 0, 16), ramp[:100]), ALL
        yield f"{kind} LUT of 0 bits", _lut(tag, (4096, 0, 0), ramp), ALL
        yield f"{kind} LUT of 60,000 bits", _lut(tag, (4096, 0, 60_000), ramp), ALL
        yield f"{kind} LUT descriptor of one value", _lut(tag, (4096,), ramp), ALL


def nested(depth: int) -> bytes:
    """Sequences in sequences, all of undefined length."""
    opening = element(0x00081115, "SQ", b"", UNDEFINED) + ITEM
    return opening * depth + (ITEM_END + SEQUENCE_END) * depth


def _structure() -> Iterator[Row]:
    tail = element(0x7FE00010, *BASE[0x7FE00010])
    yield "sequences 50 deep", dicom(before=nested(50)), ANSWERED
    yield "sequences 2,000 deep", dicom(before=nested(2_000)), ALL
    yield "sequences 100,000 deep", lambda: dicom(before=nested(100_000)), ALL
    yield "sequence without end", dicom(before=element(0x00081115, "SQ", ITEM, UNDEFINED)), ALL
    yield (
        "1,000,000 empty items",
        lambda: dicom(
            before=element(
                0x00081115, "SQ", (ITEM + ITEM_END) * 1_000_000 + SEQUENCE_END, UNDEFINED
            )
        ),
        FAILS,
    )
    yield (
        "50,000 empty items",
        lambda: dicom(
            before=element(0x00081115, "SQ", (ITEM + ITEM_END) * 50_000 + SEQUENCE_END, UNDEFINED)
        ),
        ALL,
    )
    yield (
        "item that is longer than the file",
        dicom(before=element(0x00081115, "SQ", struct.pack("<HHI", 0xFFFE, 0xE000, 2**31), 8)),
        ALL,
    )
    yield "end without a sequence", dicom(before=SEQUENCE_END + ITEM_END), ALL
    yield "element of 4 GiB", dicom(before=element(0x00420011, "OB", b"", UNDEFINED - 1)), ALL
    yield (
        "undefined length of a text",
        dicom(before=element(0x00420010, "UT", b"ab", UNDEFINED)),
        ALL,
    )
    yield "odd length", dicom({0x00100020: ("LO", b"abc")}), ALL
    yield "value representation ZZ", dicom(before=element(0x00210010, "ZZ", b"abcd")), ALL
    yield "value representation of zeros", dicom(before=element(0x00210010, "\0\0", b"abcd")), ALL
    yield "pixel data as a sequence", dicom({0x7FE00010: ("SQ", HEAD_16.tobytes())}), ALL
    yield "pixel data as text", dicom({0x7FE00010: ("UT", HEAD_16.tobytes())}), ALL
    yield "name as a sequence", dicom({0x00100010: ("SQ", PATIENT_NAME.encode())}), ALL
    yield (
        "tags out of order",
        meta(EXPLICIT) + tail + dicom()[len(meta(EXPLICIT)) : -len(tail)],
        ALL,
    )
    yield "every element twice", dicom() + dicom()[len(meta(EXPLICIT)) :], ALL
    yield (
        "20,000 private elements",
        lambda: dicom(
            before=b"".join(
                element(0x00290000 + each, "LO", b"Oyelaran") for each in range(0x10, 0x4E30)
            )
        ),
        ALL,
    )
    yield "unknown character set", dicom({0x00080005: text("CS", "ISO_IR 999")}), ANSWERED
    yield (
        "character sets of all kinds",
        dicom({0x00080005: text("CS", "\\ISO 2022 IR 87\\ISO_IR 192\\GB18030")}),
        ANSWERED,
    )
    yield "name of noise", dicom({0x00100010: ("PN", noise(60).tobytes())}), ANSWERED
    yield "name of 60,000 letters", dicom({0x00100010: ("PN", b"Oyelaran" * 7_500)}), ANSWERED
    yield "birth date that is none", dicom({0x00100030: text("DA", "Wilhelmina")}), ANSWERED
    yield (
        "unique identifier that is a name",
        dicom({0x00080018: text("UI", PATIENT_NAME)}),
        ANSWERED,
    )
    yield (
        "group length of 4 GiB",
        dicom().replace(b"\2\0\0\0UL\4\0", b"\2\0\0\0UL\4\0", 1)[:140]
        + b"\xff" * 4
        + dicom()[144:],
        ALL,
    )
    yield "no preamble", dicom()[132:], ALL
    yield "no meta information", bytes(128) + b"DICM" + dicom()[len(meta(EXPLICIT)) :], ALL
    yield "nothing after the prefix", bytes(128) + b"DICM", FAILS
    yield "nothing after the meta information", meta(EXPLICIT), REFUSED
    yield "padding after the pixels", dicom(after=element(0xFFFCFFFC, "OB", bytes(5000))), ANSWERED
    yield "noise after the pixels", dicom(after=noise(5000).tobytes()), ALL
    yield "TIFF's preamble", b"II*\0" + dicom()[4:], ANSWERED


def _syntaxes() -> Iterator[Row]:
    body = b"".join(implicit(tag, value) for tag, (_, value) in sorted(BASE.items()))
    yield "implicit", meta(IMPLICIT) + body, ANSWERED
    yield "implicit called explicit", meta(EXPLICIT) + body, ALL
    yield "explicit called implicit", dicom(syntax=IMPLICIT), ALL
    yield "half of each", meta(EXPLICIT) + body[:200] + dicom()[len(meta(EXPLICIT)) + 200 :], ALL
    yield "little endian called big", dicom(syntax=BIG_ENDIAN), ALL
    swapped = {
        tag: (vr, value[1::-1] if vr == "US" else value) for tag, (vr, value) in BASE.items()
    }
    swapped[0x7FE00010] = ("OW", HEAD_16.astype(">u2").tobytes())
    big = b"".join(element(tag, *value, order=">") for tag, value in sorted(swapped.items()))
    yield "big endian", meta(BIG_ENDIAN) + big, ANSWERED
    plain = dicom()[len(meta(EXPLICIT)) :]
    packer = zlib.compressobj(wbits=-15)
    deflated = packer.compress(plain) + packer.flush()
    yield "deflated", meta(DEFLATED) + even(deflated), ANSWERED
    yield "deflated and cut", meta(DEFLATED) + deflated[: len(deflated) // 2], FAILS
    yield "deflated noise", meta(DEFLATED) + noise(900).tobytes(), FAILS
    yield "called deflated", dicom(syntax=DEFLATED), FAILS
    yield "3 MiB of zeros deflated", lambda: meta(DEFLATED) + deflated_zeros(3), ALL
    yield "20 MiB of zeros", lambda: meta(IMPLICIT) + bytes(20 << 20), FAILS
    yield "deflated bomb of 200 MiB", lambda: meta(DEFLATED) + deflated_zeros(200), FAILS
    for name, syntax in (
        ("video", MPEG2), ("unknown", "1.2.3.4"), ("a name", PATIENT_NAME), ("empty", ""),
        ("1,000 digits", "1." * 500), ("a unique identifier of another kind", MR),
    ):  # fmt: skip
        yield f"transfer syntax: {name}", dicom(syntax=syntax), REFUSED


def deflated_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=-15)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


EIGHT_BITS: Elements = {
    0x00280100: words(8), 0x00280101: words(8), 0x00280102: words(7)
}  # fmt: skip


def _encapsulated() -> Iterator[Row]:
    jpeg = even(encoded(HEAD, "JPEG"))
    jpeg_2000 = even(encoded(HEAD, "JPEG2000"))
    other = even(encoded(noise((200, 200)), "JPEG"))
    for name, syntax in (
        ("JPEG", JPEG), ("lossless JPEG", JPEG_LOSSLESS), ("JPEG-LS", JPEG_LS),
        ("JPEG 2000", JPEG_2000), ("run lengths", RLE),
    ):  # fmt: skip
        for what, data in (
            ("noise", noise(900).tobytes()), ("a name", PATIENT_NAME.encode() * 10),
            ("nothing", b""), ("zeros", bytes(900)), ("a JPEG", jpeg), ("a JPEG 2000", jpeg_2000),
        ):  # fmt: skip
            yield (
                f"{name} that is {what}",
                raw_pixels(fragments(even(data)), syntax, EIGHT_BITS),
                ALL,
            )
    yield "JPEG of another size", raw_pixels(fragments(other), JPEG, EIGHT_BITS), REFUSED
    bomb = {**EIGHT_BITS, 0x00280010: words(4000), 0x00280011: words(4000)}
    yield (
        "JPEG, scans without end",
        lambda: raw_pixels(fragments(even(scan_bomb(4000, 4000))), JPEG, bomb),
        FAILS,
    )
    yield "JPEG cut", raw_pixels(fragments(jpeg[: len(jpeg) // 4 * 2]), JPEG, EIGHT_BITS), FAILS
    yield (
        "JPEG in 100 fragments",
        raw_pixels(
            fragments(*(even(jpeg[at : at + 20]) for at in range(0, len(jpeg), 20))),
            JPEG,
            EIGHT_BITS,
        ),
        ALL,
    )
    yield (
        "JPEG without end of the fragments",
        raw_pixels(fragments(jpeg, end=b""), JPEG, EIGHT_BITS),
        ALL,
    )
    yield (
        "fragment longer than the file",
        raw_pixels(
            fragments(jpeg).replace(struct.pack("<I", len(jpeg)), b"\xff\xff\xff\x7f"),
            JPEG,
            EIGHT_BITS,
        ),
        ALL,
    )
    for name, table in (
        ("beyond the end", struct.pack("<2I", 0, 2**31)), ("odd", b"\0\0\0"),
        ("backwards", struct.pack("<3I", 900, 400, 0)), ("of 20,000 zeros", bytes(80_000)),
    ):  # fmt: skip
        yield (
            f"offset table {name}",
            raw_pixels(fragments(jpeg, table=table), JPEG, EIGHT_BITS),
            ALL,
        )
    yield "no fragments", raw_pixels(fragments(), JPEG, EIGHT_BITS), FAILS
    yield "no item at all", raw_pixels(fragments(jpeg)[:12] + SEQUENCE_END, JPEG, EIGHT_BITS), FAILS
    yield "encapsulated called raw", raw_pixels(fragments(jpeg), EXPLICIT, EIGHT_BITS), FAILS
    yield "raw called encapsulated", dicom(EIGHT_BITS, JPEG), FAILS
    runs = struct.pack("<16I", 1, 64, *[0] * 14)
    yield (
        "run lengths that inflate",
        raw_pixels(fragments(runs + b"\x81\xff" * 500_000), RLE, EIGHT_BITS),
        ALL,
    )
    yield (
        "run lengths of 2^31 segments",
        raw_pixels(
            fragments(struct.pack("<16I", 2**31, *[64] * 15) + bytes(99 + 1)), RLE, EIGHT_BITS
        ),
        ALL,
    )
    yield (
        "run lengths that begin beyond",
        raw_pixels(
            fragments(struct.pack("<16I", 1, 2**31, *[0] * 14) + bytes(100)), RLE, EIGHT_BITS
        ),
        ALL,
    )


def _pixel_data() -> Iterator[Row]:
    whole = HEAD_16.tobytes()
    yield "no pixel data", dicom({0x7FE00010: None}), REFUSED
    yield "pixel data of no bytes", dicom({0x7FE00010: ("OW", b"")}), FAILS
    yield "pixel data too short by 2", dicom({0x7FE00010: ("OW", whole[:-2])}), FAILS
    yield (
        "pixel data too short by half",
        dicom({0x7FE00010: ("OW", whole[: len(whole) // 2])}),
        FAILS,
    )
    yield "pixel data too long", dicom({0x7FE00010: ("OW", whole * 3)}), ALL
    yield (
        "pixel data of 2^31 bytes",
        raw_pixels(element(0x7FE00010, "OW", whole, 2**31), EXPLICIT),
        ANSWERED | FAILS,
    )
    yield "pixel data of an odd length", dicom({0x7FE00010: ("OB", whole[:-1])}), FAILS
    floats = HEAD.astype("<f4")
    for name, data in (("floats", floats), ("floats, not numbers", floats * np.nan)):
        yield (
            name,
            dicom({0x7FE00010: None, 0x7FE00008: ("OF", data.tobytes()), 0x00280100: words(32)}),
            ALL,
        )
    yield (
        "doubles",
        dicom(
            {
                0x7FE00010: None,
                0x7FE00009: ("OD", HEAD.astype("<f8").tobytes()),
                0x00280100: words(64),
            }
        ),
        ALL,
    )
    yield "pixels and floats", dicom({0x7FE00008: ("OF", floats.tobytes())}), ALL
    overlay = {
        0x60000010: words(48),
        0x60000011: words(48),
        0x60000100: words(1),
        0x60003000: ("OW", bytes(288)),
    }
    yield "overlay", dicom(overlay), ALL
    yield "overlay of 65,535 rows", dicom({**overlay, 0x60000010: words(65_535)}), ALL
    yield "padding value", dicom({0x00280120: words(0)}), ANSWERED
    yield "padding range that is none", dicom({0x00280120: words(4000), 0x00280121: words(10)}), ALL
    yield "smallest above largest", dicom({0x00280106: words(4000), 0x00280107: words(1)}), ANSWERED
    yield "blank", dicom({0x7FE00010: ("OW", bytes(len(whole)))}), NOT_ANSWERED
    yield (
        "one hot pixel",
        dicom({0x7FE00010: ("OW", bytes(len(whole) - 2) + b"\xff\x0f")}),
        NOT_ANSWERED,
    )
    yield (
        "one pixel",
        dicom({0x00280010: words(1), 0x00280011: words(1), 0x7FE00010: ("OW", b"\1\2")}),
        NOT_ANSWERED,
    )
    colour = {
        **EIGHT_BITS,
        0x00280002: words(3),
        0x00280004: text("CS", "RGB"),
        0x7FE00010: ("OB", noise((48, 48, 3)).tobytes()),
    }
    yield "in colour", dicom(colour), NOT_ANSWERED
    for arrangement in (0, 1, 2):
        yield (
            f"in colour, planes {arrangement}",
            dicom({**colour, 0x00280006: words(arrangement)}),
            NOT_ANSWERED,
        )


def _frames() -> Iterator[Row]:
    whole = HEAD_16.tobytes()

    def frames(count: str, data: bytes = whole) -> bytes:
        return dicom({0x00280008: text("IS", count), 0x7FE00010: ("OW", data)})

    yield "1 frame", frames("1"), ANSWERED
    yield "3 frames", frames("3", whole * 3), ALL
    yield "3 frames, data of 2", frames("3", whole * 2), ALL
    yield "3 frames, data of half a one", frames("3", whole[:1000]), FAILS
    for count in ("0", "-1", "", "1.5", "99999999999", "2000000000", PATIENT_ID):
        name = "an id" if count == PATIENT_ID else count or "no number of"
        yield f"{name} frames", frames(count), ALL
    yield "2,000 frames", lambda: frames("2000", whole * 2_000), ALL
    yield (
        "functional groups of nothing",
        dicom(
            {
                0x00080016: text("UI", MR + ".1"),
                0x00280008: text("IS", "2"),
                0x52009229: ("SQ", b""),
                0x52009230: ("SQ", b""),
            }
        ),
        ALL,
    )


def _said() -> Iterator[Row]:
    for modality in ("CT", "US", "OT"):
        yield f"modality {modality}", dicom({0x00080060: text("CS", modality)}), NOT_ANSWERED
    yield "no modality", dicom({0x00080060: None}), ANSWERED
    for kind, allowed in (
        ("ORIGINAL\\PRIMARY\\LOCALIZER", NOT_ANSWERED),
        ("DERIVED\\SECONDARY", REFERRED),
        ("DERIVED\\PRIMARY\\DIFFUSION\\ADC", NOT_ANSWERED),
    ):
        yield f"image type {kind}", dicom({0x00080008: text("CS", kind)}), allowed
    many = text("CS", "\\".join(["M"] * 10_000))
    yield "image type of 10,000 values", dicom({0x00080008: many}), ANSWERED
    yield "image type of a name", dicom({0x00080008: text("CS", PATIENT_NAME)}), ANSWERED
    for part, allowed in (("KNEE", NOT_ANSWERED), ("BRAIN", ANSWERED)):
        yield f"body part {part}", dicom({0x00180015: text("CS", part)}), allowed
    yield "body part of a name", dicom({0x00180015: text("CS", PATIENT_NAME)}), ALL
    yield "annotation burned in", dicom({0x00280301: text("CS", "YES")}), REFERRED


def _other_objects() -> Iterator[Row]:
    storage = "1.2.840.10008.5.1.4.1.1."
    for name, kind in (
        ("structured report", storage + "88.11"), ("presentation state", storage + "11.1"),
        ("PDF", storage + "104.1"), ("radiotherapy plan", storage + "481.5"),
        ("segmentation", storage + "66.4"), ("raw data", storage + "66"),
        ("directory", "1.2.840.10008.1.3.10"), ("spectroscopy", storage + "4.2"),
    ):  # fmt: skip
        yield (
            f"{name} without pixels",
            dicom({0x00080016: text("UI", kind), 0x7FE00010: None}),
            NOT_ANSWERED,
        )
    yield (
        "secondary capture",
        dicom({0x00080016: text("UI", storage + "7"), 0x00080060: text("CS", "OT")}),
        ALL,
    )
    yield "enhanced MR without groups", dicom({0x00080016: text("UI", storage + "4.1")}), ALL
    yield "class that is a name", dicom({0x00080016: text("UI", PATIENT_NAME)}), ALL


def _cut() -> Iterator[Row]:
    whole = dicom()
    for at in (1, 100, 131, 133, 144, 200, 300, 400, 500, 600, 700, 1_000, 3_000, len(whole) - 1):
        yield f"cut at byte {at}", whole[:at], FAILS if at > 132 else REFUSED
