"""Changes to a file that decoders must survive, drawn from a seeded generator."""

import random
import struct
import zlib

from support.scan_cases import PNG_SIGNATURE

_TELLING = (0, 1, 2, 3, 4, 7, 8, 12, 16, 17, 32, 48, 49, 64, 127, 128, 255, 256, 4095, 4096, 32767)
_TELLING += (32768, 65534, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)
_LENGTHS = (">I", "<I", ">H", "<H", "B")
_MOST_BYTES = 1 << 18


def mutated(data: bytes, other: bytes, draw: random.Random) -> bytes:
    """Change a file in one to four ways; `other` is what pieces may be taken from."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        draw.choice(_MUTATIONS)(changed, other, draw)
        del changed[_MOST_BYTES:]
    if changed.startswith(PNG_SIGNATURE) and draw.random() < 0.7:
        return with_checksums(bytes(changed))
    return bytes(changed)


def with_checksums(png: bytes) -> bytes:
    """Right the checksums of a PNG, so that its chunks are read."""
    out, at = bytearray(png), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        end = at + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def _place(data: bytearray, draw: random.Random) -> int:
    # Headers are short and stand in front.
    near = draw.random() < 0.6
    return draw.randrange(min(len(data), 700) if near else len(data)) if data else 0


def _flip(data: bytearray, other: bytes, draw: random.Random) -> None:
    for _ in range(draw.choice((1, 1, 1, 4, 30))):
        if data:
            data[_place(data, draw)] ^= 1 << draw.randrange(8)


def _overwrite(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = _place(data, draw)
    piece = draw.randbytes(draw.choice((1, 2, 4, 8, 64)))
    data[at : at + len(piece)] = piece


def _length(data: bytearray, other: bytes, draw: random.Random) -> None:
    layout = draw.choice(_LENGTHS)
    size = struct.calcsize(layout)
    if len(data) < size:
        return
    at = min(_place(data, draw), len(data) - size)
    (now,) = struct.unpack_from(layout, data, at)
    value = draw.choice((*_TELLING, now + 1, now - 1, now * 2, len(data), len(data) - at))
    struct.pack_into(layout, data, at, value % (1 << 8 * size))


def _cut(data: bytearray, other: bytes, draw: random.Random) -> None:
    del data[_place(data, draw) :]


def _delete(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = _place(data, draw)
    del data[at : at + draw.choice((1, 2, 4, 8, 12, 50, 400))]


def _repeat(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = _place(data, draw)
    piece = data[at : at + draw.choice((1, 4, 8, 12, 18, 60, 400))]
    data[at:at] = piece * draw.choice((1, 1, 2, 10, 100))


def _insert(data: bytearray, other: bytes, draw: random.Random) -> None:
    at = _place(data, draw)
    data[at:at] = draw.choice((bytes(8), b"\xff" * 8, draw.randbytes(12), b"\x80" * 3))


def _splice(data: bytearray, other: bytes, draw: random.Random) -> None:
    at, start = _place(data, draw), draw.randrange(len(other) or 1)
    data[at:] = other[start:]


def _borrow(data: bytearray, other: bytes, draw: random.Random) -> None:
    at, start = _place(data, draw), draw.randrange(len(other) or 1)
    piece = other[start : start + draw.choice((4, 12, 40, 300))]
    data[at : at + len(piece)] = piece


_MUTATIONS = (
    *(_flip, _flip, _overwrite, _length, _length, _cut, _delete),
    *(_repeat, _insert, _splice, _borrow),
)
