"""TIFF files of any layout, written from the standard and not with the code that reads them."""

import itertools
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import imagecodecs
import numpy as np

NO_COMPRESSION, LZW, DEFLATE, PACKBITS, OLD_DEFLATE = 1, 5, 8, 32773, 32946
LZMA, ZSTD = 34925, 50000
COMPRESS: dict[int, Callable[[bytes], bytes]] = {
    NO_COMPRESSION: bytes,
    LZW: imagecodecs.lzw_encode,
    DEFLATE: zlib.compress,
    OLD_DEFLATE: zlib.compress,
    LZMA: lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    ZSTD: imagecodecs.zstd_encode,
}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, CMYK, YCBCR = range(7)
UNSIGNED, SIGNED, FLOAT, VOID = 1, 2, 3, 4
UNSPECIFIED, ASSOCIATED, UNASSOCIATED = 0, 1, 2
DIFFERENCES, FLOAT_DIFFERENCES = 2, 3

_BITS_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_UNITS = {"H": 2, "I": 4, "Q": 8, "B": 1}
_KINDS = {"B": 1, "H": 3, "I": 4, "Q": 16}


@dataclass(frozen=True)
class Storage:
    """How samples lie in the file: all that must not change what is read.

    Parameters
    ----------
    block : tuple of int
        Rows of a strip, or rows and columns of a tile.
    compression, predictor, fill_order : int
        As the tags have them.
    separate : bool
        A plane for each sample.
    order : {"<", ">"}
        Of bytes.
    big : bool
        BigTIFF.
    """

    block: tuple[int, ...] = (8,)
    compression: int = NO_COMPRESSION
    predictor: int = 1
    fill_order: int = 1
    separate: bool = False
    order: str = "<"
    big: bool = False

    def __str__(self) -> str:
        return ",".join(f"{name}={value}" for name, value in vars(self).items())


@dataclass(frozen=True)
class Page:
    """What a page shows.

    Parameters
    ----------
    samples : (H, W, S)
        In the dtype of the values; fewer bits are stored of it.
    bits : int
        Of a sample.
    photometric : int
        As the tag has it.
    extra : tuple of int or None
        Values of ExtraSamples; None leaves the tag out.
    tags : dict
        More tags, or others: letter of `struct` and values; None leaves one out.
    """

    samples: np.ndarray
    bits: int
    photometric: int = BLACK_IS_ZERO
    extra: tuple[int, ...] | None = None
    tags: dict[int, tuple[str, list[int]] | None] = field(default_factory=dict)


def written(pages: list[Page], storage: Storage, *, blocks: list[bytes] | None = None) -> bytes:
    """Return a TIFF of pages that are stored alike; `blocks` replaces the data of a single page."""
    order, big = storage.order, storage.big
    letter = "Q" if big else "I"
    out = bytearray({"<": b"II", ">": b"MM"}[order])
    out += struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    link = len(out)
    out += bytes(_UNITS[letter])
    for page in pages:
        data = blocks or list(encoded_blocks(page, storage))
        places = []
        for piece in data:
            places.append(len(out))
            out += piece + bytes(len(piece) % 2)
        tags = _tags(page, storage, places, [len(piece) for piece in data])
        out += bytes(-len(out) % 8)
        struct.pack_into(f"{order}{letter}", out, link, len(out))
        link = _append_directory(out, tags, order, big)
    return bytes(out)


def encoded_blocks(page: Page, storage: Storage) -> Iterator[bytes]:
    """Yield strips or tiles: planes one after the other, rows from the top, from the left."""
    planes = np.moveaxis(page.samples, 2, 0)[..., None] if storage.separate else [page.samples]
    for plane in planes:
        for piece in _pieces(plane, storage.block):
            data = _as_bytes(piece, page, storage)
            data = _compressed(data, storage.compression, len(piece))
            yield data.translate(_BITS_REVERSED) if storage.fill_order == 2 else data


def _pieces(plane: np.ndarray, block: tuple[int, ...]) -> Iterator[np.ndarray]:
    height, width, _ = plane.shape
    if len(block) == 1:
        for top in range(0, height, block[0]):
            yield plane[top : top + block[0]]
        return
    rows, columns = block
    for top, left in itertools.product(range(0, height, rows), range(0, width, columns)):
        part = plane[top : top + rows, left : left + columns]
        missing = [(0, rows - part.shape[0]), (0, columns - part.shape[1]), (0, 0)]
        yield np.pad(part, missing, mode="edge")


def _as_bytes(piece: np.ndarray, page: Page, storage: Storage) -> bytes:
    rows = piece.reshape(len(piece), -1)
    if page.bits not in {8, 16, 32, 64}:
        return b"".join(_packed(row, page.bits) for row in rows)
    if storage.predictor == FLOAT_DIFFERENCES:
        width = page.bits // 8
        stored = rows.astype(f">f{width}").view(np.uint8).reshape(*rows.shape, width)
        by_rank = np.ascontiguousarray(stored.transpose(0, 2, 1)).reshape(len(rows), -1)
        step = piece.shape[2]
        differences = by_rank.copy()
        differences[:, step:] -= by_rank[:, :-step]
        return differences.tobytes()
    if storage.predictor == DIFFERENCES:
        whole = piece.view(f"u{piece.itemsize}")
        piece = np.concatenate([whole[:, :1], np.diff(whole, axis=1)], axis=1)
    return piece.astype(piece.dtype.newbyteorder(storage.order)).tobytes()


def _packed(row: np.ndarray, bits: int) -> bytes:
    digits = "".join(f"{int(value):0{bits}b}" for value in row)
    digits += "0" * (-len(digits) % 8)
    return int(digits, 2).to_bytes(len(digits) // 8, "big")


def _compressed(data: bytes, compression: int, rows: int) -> bytes:
    if compression != PACKBITS:
        return bytes(COMPRESS[compression](data))
    # No run goes from one row to the next.
    width = len(data) // rows
    return b"".join(
        bytes(imagecodecs.packbits_encode(data[at : at + width]))
        for at in range(0, len(data), width)
    )


def _tags(
    page: Page, storage: Storage, places: list[int], sizes: list[int]
) -> dict[int, tuple[str, list[int]]]:
    height, width, samples = page.samples.shape
    kind = {"f": FLOAT, "i": SIGNED}.get(page.samples.dtype.kind, UNSIGNED)
    tags: dict[int, tuple[str, list[int]] | None] = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [page.bits] * samples),
        259: ("H", [storage.compression]),
        262: ("H", [page.photometric]),
        266: ("H", [storage.fill_order]) if storage.fill_order != 1 else None,
        277: ("H", [samples]),
        284: ("H", [2 if storage.separate else 1]),
        317: ("H", [storage.predictor]) if storage.predictor != 1 else None,
        338: ("H", list(page.extra)) if page.extra is not None else None,
        339: ("H", [kind] * samples),
    }
    letter = "Q" if storage.big else "I"
    if len(storage.block) == 1:
        tags |= {273: (letter, places), 278: ("I", [storage.block[0]]), 279: (letter, sizes)}
    else:
        rows, columns = storage.block
        tags |= {322: ("I", [columns]), 323: ("I", [rows]), 324: (letter, places)}
        tags[325] = (letter, sizes)
    return {code: tag for code, tag in (tags | page.tags).items() if tag is not None}


def _append_directory(
    out: bytearray, tags: dict[int, tuple[str, list[int]]], order: str, big: bool
) -> int:
    """Append a directory and its values; return where the link to the next one is."""
    count, letter, inline = ("Q", "Q", 8) if big else ("H", "I", 4)
    start = len(out)
    entry = struct.calcsize(f"{order}HH{letter}") + inline
    link = start + struct.calcsize(f"{order}{count}") + entry * len(tags)
    values_at = link + inline
    entries, values = b"", b""
    for code, (kind, numbers) in sorted(tags.items()):
        body = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
        if len(body) > inline:
            place = struct.pack(f"{order}{letter}", values_at + len(values))
            body, values = place, values + body + bytes(-len(body) % 8)
        entries += struct.pack(f"{order}HH{letter}", code, _KINDS[kind], len(numbers))
        entries += body.ljust(inline, b"\0")
    out += struct.pack(f"{order}{count}", len(tags)) + entries + bytes(inline) + values
    return link
