"""Lossless JPEG (ITU-T T.81, process 14), one component, as DICOM stores greyscale with it.

The decoders that could be installed for it either are not permissively licensed or crash on
damaged streams, and it is what archives compress MR with most. In NumPy a damaged stream is an
exception at worst: the length of the code at *every* bit is looked up at once, and only the walk
from code to code is a loop.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError, UnsupportedScanError
from neuroscan_edge.scans.jpeg.markers import Frame, segments

_HUFFMAN, _SCAN, _RESTART_INTERVAL, _LOSSLESS = 0xC4, 0xDA, 0xDD, 0xC3
_RESTARTS = re.compile(rb"\xff[\xd0-\xd7]")
_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PEEK_BITS = 16
_LARGEST_CATEGORY = 16
# Bytes whose every bit is looked up at once: 8 MB of memory.
_BLOCK_BYTES = 1 << 17

Samples = npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class _Codes:
    """Huffman codes by the 16 bits that begin with them.

    lengths, categories : (65536,) uint8; a length of 0 is no code.
    """

    lengths: npt.NDArray[np.uint8]
    categories: npt.NDArray[np.uint8]


def decode(stream: bytes) -> Samples:
    """Decode one frame.

    Its declared size must have been checked: memory is taken by it.

    Parameters
    ----------
    stream : bytes
        From the start-of-image marker on.

    Returns
    -------
    (H, W) uint16

    Raises
    ------
    CorruptScanError
        If the stream is damaged or ends early.
    UnsupportedScanError
        If it is another process, or in colour.
    """
    frame: Frame | None = None
    tables: dict[int, _Codes] = {}
    interval = 0
    for marker, body, end in segments(stream):
        if marker == _HUFFMAN:
            tables |= _read_tables(body)
        elif marker == _RESTART_INTERVAL and len(body) >= 2:
            interval = int.from_bytes(body[:2], "big")
        elif 0xC0 <= marker <= 0xCF and marker != _HUFFMAN:
            frame = Frame.parse(body)
            if marker != _LOSSLESS or frame.components != 1:
                raise UnsupportedScanError(
                    "the compressed frame is not greyscale lossless JPEG; "
                    "export the image uncompressed"
                )
        elif marker == _SCAN:
            if frame is None or len(body) < 6:
                break
            return _decode_scan(frame, body, tables, interval, stream[end:])
    raise _damaged("it holds no scan")


def _damaged(how: str) -> CorruptScanError:
    return CorruptScanError(f"the lossless JPEG frame is damaged ({how}); export the image again")


def _read_tables(body: bytes) -> dict[int, _Codes]:
    tables = {}
    while len(body) >= 17:
        counts, total = body[1:17], sum(body[1:17])
        symbols = body[17 : 17 + total]
        if len(symbols) < total:
            raise _damaged("a code table is cut")
        tables[body[0] & 15] = _codes(counts, symbols)
        body = body[17 + total :]
    return tables


def _codes(counts: bytes, symbols: bytes) -> _Codes:
    lengths = np.zeros(1 << _PEEK_BITS, np.uint8)
    categories = np.zeros(1 << _PEEK_BITS, np.uint8)
    start, index = 0, 0
    for length, count in enumerate(counts, 1):
        span = 1 << (_PEEK_BITS - length)
        for symbol in symbols[index : index + count]:
            if start + span > 1 << _PEEK_BITS or symbol > _LARGEST_CATEGORY:
                raise _damaged("a code table is impossible")
            lengths[start : start + span] = length
            categories[start : start + span] = symbol
            start += span
        index += count
    return _Codes(lengths, categories)


def _decode_scan(
    frame: Frame, scan: bytes, tables: dict[int, _Codes], interval: int, data: bytes
) -> Samples:
    codes = tables.get(scan[2] >> 4)
    predictor, shift = scan[3], scan[5] & 15
    if codes is None or not 1 <= predictor <= 7 or shift >= frame.precision:
        raise _damaged("its scan has no code table or no predictor")
    if interval % frame.columns:
        # T.81 H.1.1: in lossless processes an interval is whole rows.
        raise _damaged("its restart interval is no whole number of rows")
    band_rows = interval // frame.columns or frame.rows
    end = _END.search(data)
    bands = _RESTARTS.split(data[: end.start()] if end else data)
    if len(bands) < -(-frame.rows // band_rows):
        raise _damaged("it ends early")
    origin = 1 << (frame.precision - shift - 1)
    samples = np.empty((frame.rows, frame.columns), np.uint16)
    for top, band in zip(range(0, frame.rows, band_rows), bands, strict=False):
        rows = min(band_rows, frame.rows - top)
        differences = _differences(band.replace(b"\xff\x00", b"\xff"), codes, rows * frame.columns)
        predicted = _predict(differences.reshape(rows, frame.columns), predictor, origin)
        samples[top : top + rows] = predicted << shift
    return samples


def _differences(data: bytes, codes: _Codes, count: int) -> npt.NDArray[np.int32]:
    """Decode Huffman-coded differences (T.81 H.1.2.2), `count` of them."""
    octets = np.frombuffer(data + bytes(8), np.uint8).astype(np.uint64)
    decoded = np.empty(count, np.int32)
    done, position = 0, 0
    for start in range(0, len(data), _BLOCK_BYTES):
        block = octets[start : start + _BLOCK_BYTES + 8]
        size = len(block) - 8
        # 64 bits from every byte on: a code and its extra bits are at most 31, from 7 on.
        window = np.zeros(size, np.uint64)
        for offset in range(8):
            window = (window << np.uint64(8)) | block[offset : offset + size]
        bits = np.arange(8, dtype=np.uint64)
        peeks = ((window[:, None] >> (np.uint64(48) - bits)) & np.uint64(0xFFFF)).ravel()
        steps = codes.lengths[peeks] + codes.categories[peeks] * (codes.categories[peeks] < 16)
        steps[codes.lengths[peeks] == 0] = 0
        walk = steps.tobytes()
        taken: list[int] = []
        while position < len(walk) and done + len(taken) < count:
            taken.append(position)
            step = walk[position]
            if not step:
                raise _damaged("it holds an impossible code")
            position += step
        at = np.array(taken, np.int64)
        decoded[done : done + len(taken)] = _values(window, peeks, at, codes)
        done += len(taken)
        if done == count:
            if start * 8 + position > len(data) * 8:
                break
            return decoded
        position -= len(walk)
    raise _damaged("it ends early")


def _values(
    window: npt.NDArray[np.uint64],
    peeks: npt.NDArray[np.uint64],
    at: npt.NDArray[np.int64],
    codes: _Codes,
) -> npt.NDArray[np.int32]:
    """Read the extra bits behind the codes that begin at the given bits (T.81 table H.2)."""
    categories = codes.categories[peeks[at]].astype(np.int64)
    extra_bits = np.where(categories < 16, categories, 0)
    used = (at & 7) + codes.lengths[peeks[at]] + extra_bits
    shifted = window[at >> 3] >> (64 - used).astype(np.uint64)
    extra = shifted.astype(np.int64) & ((1 << extra_bits) - 1)
    negative = (extra >> np.maximum(extra_bits - 1, 0)) == 0
    values = np.where(negative, extra - (1 << extra_bits) + 1, extra)
    return np.where(categories == 16, 32768, values).astype(np.int32)


def _predict(differences: npt.NDArray[np.int32], predictor: int, origin: int) -> Samples:
    """Add differences to predictions, modulo 65536 (T.81 H.1.2.1)."""
    rows, columns = differences.shape
    samples = np.empty((rows, columns), np.int64)
    samples[0] = np.cumsum(differences[0], dtype=np.int64) + origin & 0xFFFF
    for row in range(1, rows):
        above = samples[row - 1]
        added = differences[row].astype(np.int64)
        samples[row, 0] = first = (int(above[0]) + int(added[0])) & 0xFFFF
        rest, left_above, added = above[1:], above[:-1], added[1:]
        if predictor in {2, 3}:
            samples[row, 1:] = (rest if predictor == 2 else left_above) + added & 0xFFFF
        elif predictor in {1, 4, 5}:
            slope = {1: 0, 4: rest - left_above, 5: (rest - left_above) >> 1}[predictor]
            samples[row, 1:] = np.cumsum(added + slope) + first & 0xFFFF
        else:
            samples[row, 1:] = _predict_one_by_one(above.tolist(), added.tolist(), first, predictor)
    return samples.astype(np.uint16)


def _predict_one_by_one(
    above: list[int], differences: list[int], left: int, predictor: int
) -> list[int]:
    # Predictors 6 and 7 halve a sum that holds the sample before: no cumulative sum does it.
    row = []
    for index, difference in enumerate(differences):
        up, left_above = above[index + 1], above[index]
        guess = up + ((left - left_above) >> 1) if predictor == 6 else (left + up) >> 1
        left = (guess + difference) & 0xFFFF
        row.append(left)
    return row
