"""PNG, JPEG, BMP, WebP and what only pretends to be one of them."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from support.corpus.case import ANSWER, CLASSIFIED, ERROR, HEAD, REJECTED, Case, file_case
from support.scan_cases import (
    PATIENT_NAME,
    PNG_SIGNATURE,
    declared_bmp,
    declared_jpeg,
    declared_png,
    encoded,
    exif,
    noise,
    png_chunk,
    png_file,
    png_header,
)

ANSWERED = frozenset({ANSWER})
REFUSED = frozenset({REJECTED})
FAILS = frozenset({ERROR})
QUOTABLE = PATIENT_NAME.encode()

RGB_HEAD = np.dstack([HEAD] * 3)
WHOLE = {
    "PNG": (".png", encoded(HEAD, "PNG")),
    "PNG, 16 bit": (".png", encoded(HEAD.astype(np.uint16) * 257, "PNG")),
    "JPEG": (".jpg", encoded(RGB_HEAD, "JPEG", quality=90)),
    "progressive JPEG": (".jpg", encoded(RGB_HEAD, "JPEG", progressive=True)),
    "TIFF": (".tif", encoded(HEAD, "TIFF")),
    "TIFF, LZW": (".tif", encoded(HEAD, "TIFF", compression="tiff_lzw")),
    "BMP": (".bmp", encoded(HEAD, "BMP")),
    "WebP": (".webp", encoded(RGB_HEAD, "WEBP", lossless=True)),
}
CUTS = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
SURELY_CUT = 0.7


def raster_cases() -> Iterator[Case]:
    """Yield every case but TIFF's own."""
    yield from _whole_and_cut()
    yield from _png()
    yield from _jpeg()
    yield from _bmp()
    yield from _webp()
    yield from _pretenders()


def _whole_and_cut() -> Iterator[Case]:
    for name, (suffix, data) in WHOLE.items():
        yield file_case(f"{name}, whole", suffix, data, ANSWERED)
        yield file_case(f"{name}, then text", suffix, data + QUOTABLE * 50, ANSWERED)
        for share in CUTS:
            allowed = FAILS if share <= SURELY_CUT else frozenset({ANSWER, ERROR})
            cut = data[: int(len(data) * share)]
            yield file_case(f"{name}, cut at {share:.0%}", suffix, cut, allowed)


def png(*chunks: tuple[bytes, bytes], header: bytes | None = None) -> bytes:
    """A PNG of the head with chunks before its data."""
    header = header or png_header(48, 48)
    rows = b"".join(b"\0" + row.tobytes() for row in HEAD)
    ends = ((b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return header + b"".join(png_chunk(name, body) for name, body in (*chunks, *ends))


def raw_header(width: int, height: int, bits: int, colour: int) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return PNG_SIGNATURE + png_chunk(b"IHDR", fields)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]


def deflated_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    zeros = bytes(1 << 20)
    return b"".join(packer.compress(zeros) for _ in range(megabytes)) + packer.flush()


def _png() -> Iterator[Case]:
    good = png()
    yield file_case("PNG, wrong checksum of the header", ".png", flipped(good, 30), FAILS)
    yield file_case("PNG, wrong checksum of the data", ".png", flipped(good, len(good) - 14))
    yield file_case("PNG, damaged data", ".png", flipped(good, 60), FAILS)
    for width, height in ((0, 48), (48, 0), (0, 0)):
        yield file_case(f"PNG of {width}x{height}", ".png", declared_png(width, height), FAILS)
    for width, height in ((30_000, 30_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (4097, 4096)):
        yield file_case(f"PNG of {width}x{height}", ".png", declared_png(width, height), FAILS)
    yield file_case("PNG of 3 bits", ".png", png(header=raw_header(48, 48, 3, 0)), FAILS)
    yield file_case("PNG of colour type 5", ".png", png(header=raw_header(48, 48, 8, 5)), FAILS)
    yield file_case("PNG without palette", ".png", png(header=raw_header(48, 48, 8, 3)))
    yield file_case("PNG, palette too short", ".png", _palette_too_short)
    yield file_case("PNG without data", ".png", png_header(48, 48) + png_chunk(b"IEND", b""), FAILS)
    yield file_case("PNG, nothing but the signature", ".png", PNG_SIGNATURE, FAILS)
    yield file_case("PNG, two headers", ".png", png_header(64, 64) + good[8:])
    yield file_case("PNG, chunk of 2 GiB", ".png", good[:33] + b"\x7f\xff\xff\xffIDAT" + good[41:])
    yield file_case("PNG, chunk of -1", ".png", good[:33] + b"\xff\xff\xff\xfftEXt" + good[41:])
    yield file_case(
        "PNG, chunk named after somebody", ".png", good[:33] + b"\0\0\0\4Oyel" + good[41:]
    )
    yield file_case("PNG, text", ".png", png((b"tEXt", b"Patient\0" + QUOTABLE)), ANSWERED)
    yield file_case(
        "PNG, text bomb", ".png", lambda: png((b"zTXt", b"a\0\0" + deflated_zeros(200)))
    )
    yield file_case(
        "PNG, profile bomb", ".png", lambda: png((b"iCCP", b"a\0\0" + deflated_zeros(200)))
    )
    yield file_case("PNG, profile of garbage", ".png", png((b"iCCP", b"a\0\0garbage")))
    yield file_case("PNG, data bomb", ".png", _png_data_bomb)
    yield file_case("PNG, 100,000 chunks", ".png", lambda: png(*[(b"tEXt", b"")] * 100_000))
    yield file_case("PNG, gamma 0", ".png", png((b"gAMA", bytes(4))), ANSWERED)
    yield file_case("PNG, turned by EXIF", ".png", encoded(HEAD, "PNG", exif=exif(6)), ANSWERED)
    yield file_case("PNG, EXIF of garbage", ".png", png((b"eXIf", b"MM" + noise(99).tobytes())))
    yield file_case("PNG, EXIF bomb", ".png", lambda: png((b"eXIf", exif_bomb(1 << 22))), FAILS)
    yield file_case("PNG, animated", ".png", _animated("PNG"), ANSWERED)
    yield file_case(
        "PNG, 1 bit", ".png", encoded(Image.fromarray(HEAD).convert("1"), "PNG"), CLASSIFIED
    )
    yield file_case("PNG, 2 bits", ".png", _palette_png(4), CLASSIFIED)
    yield file_case("PNG, 16 bit RGBA", ".png", png_file(noise((48, 48, 4), np.uint16), "rgba"))
    yield file_case("PNG, grey with alpha", ".png", png_file(np.dstack([HEAD, HEAD]), "grey+alpha"))
    yield file_case("PNG, wholly transparent", ".png", _transparent, REFUSED)
    yield file_case("PNG in colour", ".png", encoded(noise((48, 48, 3)), "PNG"), REFUSED)
    yield file_case("PNG, black", ".png", encoded(np.zeros((64, 64), np.uint8), "PNG"), REFUSED)
    yield file_case("PNG, white", ".png", encoded(np.full((64, 64), 255, np.uint8), "PNG"), REFUSED)
    yield file_case("PNG, one pixel", ".png", encoded(noise((1, 1)), "PNG"), REFUSED)
    yield file_case("PNG, 1x20,000", ".png", encoded(noise((20_000, 1)), "PNG"), REFUSED)
    yield file_case(
        "PNG, as large as allowed", ".png", lambda: encoded(_largest(np.uint8), "PNG"), ANSWERED
    )
    yield file_case(
        "PNG, 16 bit, as large as allowed", ".png", lambda: encoded(_largest(np.uint16), "PNG")
    )
    yield file_case("PNG, RGBA, as large as allowed", ".png", _largest_rgba)
    yield file_case("PNG that is a zip too", ".png", good + b"PK\x05\x06" + bytes(18), ANSWERED)
    yield file_case("PNG with DICOM's prefix within", ".png", good[:128] + b"DICM" + good[132:])


def _largest(dtype: type) -> np.ndarray:
    ramp = np.linspace(0, np.iinfo(dtype).max * 0.9, 4096).astype(dtype)
    return np.broadcast_to(ramp, (4096, 4096)).copy()


def _largest_rgba() -> bytes:
    grey = _largest(np.uint8)
    return encoded(np.dstack([grey, grey, grey, np.full_like(grey, 255)]), "PNG", compress_level=1)


def _palette_too_short() -> bytes:
    return png((b"PLTE", bytes(6)), header=raw_header(48, 48, 8, 3))


def _palette_png(colours: int) -> bytes:
    return encoded(Image.fromarray(RGB_HEAD).quantize(colours), "PNG", bits=2)


def _png_data_bomb() -> bytes:
    return png_header(48, 48) + png_chunk(b"IDAT", deflated_zeros(300)) + png_chunk(b"IEND", b"")


def _transparent() -> bytes:
    return encoded(np.dstack([RGB_HEAD, np.zeros_like(HEAD)]), "PNG")


def _animated(file_format: str) -> bytes:
    frames = [Image.fromarray(HEAD).convert("RGB"), Image.fromarray(255 - HEAD).convert("RGB")]
    buffer = io.BytesIO()
    frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:] * 20)
    return buffer.getvalue()


def exif_bomb(value_bytes: int) -> bytes:
    """An EXIF block, each of whose entries names all of it as its value."""
    count = 4000
    entries = b"".join(
        struct.pack(">HHII", 40_000 + index, 7, value_bytes, 0) for index in range(count)
    )
    directory = struct.pack(">H", count) + entries + bytes(4)
    return (b"MM\0*\0\0\0\x08" + directory).ljust(value_bytes, b"\0")


def jpeg(**options: object) -> bytes:
    return encoded(RGB_HEAD, "JPEG", **options)


def with_segment(marker: int, body: bytes, times: int = 1) -> bytes:
    """A JPEG with a segment after its start."""
    segment = struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body
    return b"\xff\xd8" + segment * times + jpeg()[2:]


def scan_bomb(scans: int, side: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encoded(np.zeros((side, side), np.uint8), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    return data[:start] + data[start:-2] * scans + b"\xff\xd9"


def _jpeg() -> Iterator[Case]:
    for width, height in ((0, 48), (48, 0), (65_535, 65_535)):
        yield file_case(f"JPEG of {width}x{height}", ".jpg", declared_jpeg(width, height), FAILS)
    yield file_case("JPEG, larger than its data", ".jpg", declared_jpeg(500, 500))
    for name, old, new in (
        ("arithmetic coding", b"\xff\xc0", b"\xff\xc9"),
        ("lossless", b"\xff\xc0", b"\xff\xc3"),
        ("no frame header", b"\xff\xc0", b"\xff\xee"),
        ("no quantization table", b"\xff\xdb", b"\xff\xee"),
        ("no Huffman table", b"\xff\xc4", b"\xff\xee"),
        ("no scan", b"\xff\xda", b"\xff\xee"),
        ("12 bits", b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),
        ("no end", b"\xff\xd9", b""),
    ):
        yield file_case(f"JPEG, {name}", ".jpg", jpeg().replace(old, new))
    yield file_case("JPEG, started twice", ".jpg", b"\xff\xd8" + jpeg())
    yield file_case("JPEG, nothing but markers", ".jpg", b"\xff\xd8\xff\xd9", FAILS)
    yield file_case("JPEG, comment", ".jpg", with_segment(0xFE, QUOTABLE * 100), ANSWERED)
    yield file_case("JPEG, 20,000 comments", ".jpg", lambda: with_segment(0xFE, b"", 20_000))
    yield file_case(
        "JPEG, ICC profile of garbage", ".jpg", with_segment(0xE2, b"ICC_PROFILE\0\1\1x")
    )
    yield file_case(
        "JPEG, parts of a profile missing", ".jpg", with_segment(0xE2, b"ICC_PROFILE\0\3\7x")
    )
    for orientation in (0, 3, 6, 8, 9, 65_535):
        data = jpeg(exif=exif(orientation))
        yield file_case(f"JPEG, orientation {orientation}", ".jpg", data, ANSWERED)
    yield file_case(
        "JPEG, EXIF of garbage", ".jpg", with_segment(0xE1, b"Exif\0\0II" + noise(200).tobytes())
    )
    yield file_case(
        "JPEG, EXIF bomb", ".jpg", with_segment(0xE1, b"Exif\0\0" + exif_bomb(60_000)), FAILS
    )
    yield file_case(
        "JPEG, Photoshop block cut", ".jpg", with_segment(0xED, b"Photoshop 3.0\x008BIM\4\4")
    )
    yield file_case("JPEG, zeros for data", ".jpg", _jpeg_body(bytes(3000)))
    yield file_case("JPEG, noise for data", ".jpg", _jpeg_body(noise(3000).tobytes()))
    yield file_case("JPEG, restart markers for data", ".jpg", _jpeg_body(b"\xff\xd0\xff\xd3" * 800))
    yield file_case(
        "JPEG, CMYK", ".jpg", encoded(Image.fromarray(RGB_HEAD).convert("CMYK"), "JPEG")
    )
    yield file_case("JPEG that stores RGB", ".jpg", jpeg(keep_rgb=True), ANSWERED)
    yield file_case("JPEG in colour", ".jpg", encoded(noise((64, 64, 3)), "JPEG"), REFUSED)
    yield file_case("JPEG, scans without end", ".jpg", lambda: scan_bomb(4000, 4000), FAILS)
    yield file_case("JPEG, as many scans as allowed", ".jpg", lambda: scan_bomb(90, 4096), REFUSED)
    yield file_case("JPEG, some scans more", ".jpg", scan_bomb(20, 48), REFUSED)


def _jpeg_body(body: bytes) -> bytes:
    data = jpeg()
    start = data.rindex(b"\xff\xda")
    return data[: start + 14] + body + b"\xff\xd9"


def bmp_header(width: int, height: int, bits: int, compression: int, colours: int) -> bytes:
    core = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54) + core


def _bmp() -> Iterator[Case]:
    for width, height in (
        (0, 0),
        (-48, 48),
        (2**31 - 1, 2**31 - 1),
        (30_000, 30_000),
        (48, -(2**31)),
    ):
        yield file_case(f"BMP of {width}x{height}", ".bmp", declared_bmp(width, height), FAILS)
    yield file_case(
        "BMP from the top down", ".bmp", bmp_header(48, -48, 24, 0, 0) + RGB_HEAD.tobytes()
    )
    for bits in (0, 1, 2, 4, 16, 32, 64):
        body = noise(48 * 48 * 8).tobytes()
        yield file_case(f"BMP of {bits} bits", ".bmp", bmp_header(48, 48, bits, 0, 0) + body)
    yield file_case(
        "BMP, run lengths of noise", ".bmp", bmp_header(48, 48, 8, 1, 4) + noise(900).tobytes()
    )
    yield file_case(
        "BMP, run lengths that leave it",
        ".bmp",
        bmp_header(48, 48, 8, 1, 4) + bytes(16) + b"\0\2\xff\xff" * 900,
    )
    yield file_case(
        "BMP, unknown compression", ".bmp", bmp_header(48, 48, 24, 77, 0) + bytes(9000), FAILS
    )
    yield file_case("BMP, 2^31 colours", ".bmp", bmp_header(48, 48, 8, 0, 2**31) + bytes(9000))
    yield file_case(
        "BMP, bit fields of 0", ".bmp", bmp_header(48, 48, 32, 3, 0) + bytes(48 * 48 * 4 + 12)
    )
    yield file_case(
        "BMP, header of 2^32 - 1 bytes", ".bmp", b"BM" + bytes(12) + b"\xff" * 60, FAILS
    )
    yield file_case(
        "BMP, header of 12 bytes",
        ".bmp",
        b"BM" + bytes(12) + struct.pack("<IHHHH", 12, 48, 48, 1, 24) + RGB_HEAD.tobytes(),
    )


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def _webp() -> Iterator[Case]:
    canvas = struct.pack("<I", 0) + b"\xff\xff\xff" * 2
    image = encoded(RGB_HEAD, "WEBP", quality=80)
    yield file_case("WebP, lossy", ".webp", image, ANSWERED)
    yield file_case("WebP, animated", ".webp", _animated("WEBP"))
    yield file_case("WebP, transparent", ".webp", encoded(np.dstack([RGB_HEAD, HEAD]), "WEBP"))
    yield file_case("WebP, turned by EXIF", ".webp", encoded(RGB_HEAD, "WEBP", exif=exif(8)))
    yield file_case(
        "WebP, EXIF bomb",
        ".webp",
        lambda: encoded(RGB_HEAD, "WEBP", exif=b"Exif\0\0" + exif_bomb(1 << 22)),
        FAILS,
    )
    yield file_case(
        "WebP, canvas of 2^24", ".webp", riff((b"VP8X", canvas), (b"VP8 ", image[20:])), FAILS
    )
    yield file_case(
        "WebP, animation without frames", ".webp", riff((b"VP8X", b"\2" + canvas[1:])), FAILS
    )
    yield file_case("WebP, nothing but the header", ".webp", riff(), FAILS)
    yield file_case("WebP, empty frame", ".webp", riff((b"VP8L", b"")), FAILS)
    yield file_case("WebP, frame of noise", ".webp", riff((b"VP8 ", noise(900).tobytes())), FAILS)
    yield file_case("WebP, size of 2^32 - 1", ".webp", image[:4] + b"\xff" * 4 + image[8:])


def _pretenders() -> Iterator[Case]:
    good = WHOLE["PNG"][1]
    yield file_case("empty", ".png", b"", FAILS)
    yield file_case("one byte", ".jpg", b"\xff", FAILS)
    yield file_case("spaces", ".tif", b" " * 5000, FAILS)
    yield file_case("zeros", ".bmp", bytes(5000), FAILS)
    yield file_case("noise", ".webp", noise(5000).tobytes(), FAILS)
    yield file_case("text that names somebody", ".png", QUOTABLE * 500, FAILS)
    yield file_case("GIF called PNG", ".png", encoded(HEAD, "GIF"), FAILS)
    yield file_case("PDF called PNG", ".png", b"%PDF-1.7\n" + QUOTABLE, FAILS)
    yield file_case("zip called TIFF", ".tif", b"PK\3\4" + bytes(100), FAILS)
    yield file_case("gzip called JPEG", ".jpg", gzip.compress(good), FAILS)
    yield file_case("JPEG 2000 called JPEG", ".jpg", encoded(HEAD, "JPEG2000"), FAILS)
    yield file_case("SVG called PNG", ".png", b"<svg><script>1</script></svg>", FAILS)
    yield file_case("program called PNG", ".png", b"\x7fELF" + bytes(200), FAILS)
    yield file_case("PNG called DICOM", ".dcm", good, ANSWERED)
    yield file_case("PNG called JPEG", ".jpg", good, ANSWERED)
    yield file_case("PNG without suffix", "", good, ANSWERED)
    yield file_case("JPEG called TIFF", ".tif", jpeg(), ANSWERED)
