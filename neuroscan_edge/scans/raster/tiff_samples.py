"""The samples of a TIFF page, put together from its strips or tiles."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tifffile import TiffPage

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.raster.tiff_codecs import Block, Codec
from neuroscan_edge.scans.raster.tiff_layout import (
    JPEG_TABLES,
    STRIP_BYTES,
    STRIP_OFFSETS,
    T4_OPTIONS,
    T6_OPTIONS,
    TILE_BYTES,
    TILE_OFFSETS,
    UNCOMPRESSED,
    Layout,
    is_bytes,
)

_UNPACKED_AT_ONCE = 1 << 18
"""Samples whose bits are spread over bytes at once: 4 MB of memory."""

_Samples = npt.NDArray[Any]


class PageSamples:
    """The strips or tiles of one page.

    Parameters
    ----------
    data : bytes
        The file.
    page : TiffPage
        Its tags.
    layout : Layout
        As `page_layout` decided it.

    Raises
    ------
    CorruptScanError
        If strips or tiles are missing.
    """

    def __init__(self, data: bytes, page: TiffPage, layout: Layout) -> None:
        self._data = data
        self._layout = layout
        options = ((tag, page.tags.valueof(tag)) for tag in (T4_OPTIONS, T6_OPTIONS))
        tables = page.tags.valueof(JPEG_TABLES)
        self._codec = Codec(
            layout,
            tuple((tag, value) for tag, value in options if isinstance(value, int)),
            tables if isinstance(tables, bytes) else b"",
        )
        self._offsets = _numbers(page, TILE_OFFSETS if layout.tiled else STRIP_OFFSETS)
        sizes = _numbers(page, TILE_BYTES if layout.tiled else STRIP_BYTES)
        down, across = layout.grid
        if (
            layout.compression == UNCOMPRESSED
            and down * across * layout.planes == 1
            and (not sizes or sizes[0] == 0)
        ):
            # Old writers leave it out where it can be computed.
            sizes = (layout.stored_rows(layout.block[0]) * layout.row_bytes(layout.block[1]),)
        self._sizes = sizes
        self._check_coverage()

    @property
    def contiguous_bytes(self) -> int:
        """Bytes of the image if it lies uncompressed in one piece, else 0."""
        if self._layout.compression != UNCOMPRESSED or self._layout.tiled:
            return 0
        layout = self._layout
        rows = layout.stored_rows(layout.length)
        expected = rows * layout.row_bytes(layout.width) * layout.planes
        ends = (start + size for start, size in zip(self._offsets, self._sizes, strict=True))
        follow_on = all(end == start for end, start in zip(ends, self._offsets[1:], strict=False))
        return expected if follow_on and sum(self._sizes) == expected else 0

    @property
    def offset(self) -> int:
        """Where the first strip or tile begins."""
        return self._offsets[0]

    def read(self, shift: int = 0) -> _Samples:
        """Decode the planes that are needed.

        Parameters
        ----------
        shift : int
            Bytes after this image where that to be read lies.

        Returns
        -------
        (H, W, samples) of the layout's dtype, in the machine's byte order

        Raises
        ------
        CorruptScanError, UnsupportedScanError
            As `Codec` does.
        """
        layout = self._layout
        held = layout.needed if layout.separate else layout.samples
        # By planes or by pixels, as the file has them.
        shape = (layout.length, layout.width)
        whole = np.empty((held, *shape, 1) if layout.separate else (1, *shape, held), layout.dtype)
        rows, columns = layout.block
        _, across = layout.grid
        for plane in range(layout.needed):
            decoded = self._decoded(self._blocks(plane, shift))
            for index, samples in enumerate(decoded):
                top, left = index // across * rows, index % across * columns
                place = whole[plane, top : top + rows, left : left + columns]
                place[...] = samples[: place.shape[0], : place.shape[1]]
        return np.moveaxis(whole[..., 0], 0, 2) if layout.separate else whole[0]

    def _check_coverage(self) -> None:
        """Refuse a page whose strips or tiles do not cover it."""
        layout = self._layout
        down, across = layout.grid
        wanted = down * across * layout.planes
        found = min(len(self._offsets), len(self._sizes))
        present = [
            index
            for index in range(min(found, wanted))
            if self._sizes[index] > 0 and self._offsets[index] < len(self._data)
        ]
        self._offsets, self._sizes = self._offsets[:wanted], self._sizes[:wanted]
        if len(present) == wanted:
            return
        covered = sum(self._pixels(index % (down * across)) for index in present)
        of = layout.width * layout.length * layout.planes
        raise CorruptScanError(
            f"the {'tiles' if layout.tiled else 'strips'} of the page hold {covered} of {of} "
            "pixels: it is truncated; export the slice again"
        )

    def _pixels(self, index: int) -> int:
        """Count the pixels of the image that a block of a plane holds."""
        layout = self._layout
        rows, columns = layout.block
        _, across = layout.grid
        high = min(rows, layout.length - index // across * rows)
        wide = min(columns, layout.width - index % across * columns)
        return high * wide

    def _blocks(self, plane: int, shift: int) -> list[Block]:
        layout = self._layout
        rows, columns = layout.block
        down, across = layout.grid
        blocks = []
        for index in range(down * across):
            number = plane * down * across + index
            start = self._offsets[number] + shift
            end = start + self._sizes[number]
            if end > len(self._data):
                raise CorruptScanError(
                    f"{'tile' if layout.tiled else 'strip'} {number} of the page goes beyond the "
                    "end of the file: it is truncated; export the slice again"
                )
            high = rows if layout.tiled else min(rows, layout.length - index * rows)
            blocks.append(Block(self._data[start:end], high, columns))
        return blocks

    def _decoded(self, blocks: Sequence[Block]) -> Iterator[_Samples]:
        layout, codec = self._layout, self._codec
        if not is_bytes(layout.compression):
            yield from codec.as_samples(blocks)
            return
        for block, rows in zip(blocks, codec.as_bytes(blocks), strict=True):
            if layout.in_units:
                yield _from_units(rows, block, layout.chroma_step)
            else:
                yield _samples(rows, block.columns, codec.samples, layout)


def _numbers(page: TiffPage, code: int) -> tuple[int, ...]:
    value = page.tags.valueof(code)
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    if not all(isinstance(each, int) and each >= 0 for each in values):
        raise CorruptScanError(f"the value of TIFF tag {code} is damaged; export the slice again")
    return values


def _samples(rows: npt.NDArray[np.uint8], columns: int, samples: int, layout: Layout) -> _Samples:
    """Take samples out of bytes, (rows, bytes of a row) uint8; returns (rows, columns, samples)."""
    shape = (len(rows), columns, samples)
    if layout.predictor == 3:
        return _from_float_differences(rows, shape, layout.bits // 8)
    if layout.bits in {8, 16, 32, 64}:
        stored = np.ascontiguousarray(rows).view(f"{layout.byte_order}{layout.dtype.str[1:]}")
        values = stored.astype(layout.dtype, copy=False).reshape(shape)
        return _from_differences(values) if layout.predictor == 2 else values
    return _unpacked(rows, columns * samples, layout).reshape(shape)


def _from_units(
    rows: npt.NDArray[np.uint8], block: Block, step: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Take luma and chroma out of units, each the luma of some pixels and their common chroma.

    Returns (rows, columns, 3) uint8.
    """
    across, down = step
    units = rows.reshape(len(rows), -1, across * down + 2)
    luma = units[..., :-2].reshape(*units.shape[:2], down, across).transpose(0, 2, 1, 3)
    chroma = units[..., -2:].repeat(down, axis=0).repeat(across, axis=1)
    whole = np.concatenate([luma.reshape(*chroma.shape[:2], 1), chroma], axis=2)
    return whole[: block.rows, : block.columns]


def _from_differences(values: _Samples) -> _Samples:
    """Undo predictor 2: each sample is the difference to that on its left (section 14)."""
    whole = values.view(f"u{values.dtype.itemsize}")
    return np.cumsum(whole, axis=1, dtype=whole.dtype).view(values.dtype)


def _from_float_differences(
    rows: npt.NDArray[np.uint8], shape: tuple[int, int, int], width: int
) -> _Samples:
    """Undo predictor 3 (Adobe Photoshop TIFF Technical Note 3).

    A row has the first bytes of all its samples, then the second ones and so on, from the highest
    byte down whatever the byte order of the file, as differences of bytes one pixel apart.
    """
    count, columns, samples = shape
    differences = rows.reshape(count, -1, samples)
    stored = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(count, width, columns * samples)
    values = np.ascontiguousarray(stored.transpose(0, 2, 1)).view(f">f{width}")
    return values.astype(f"f{width}").reshape(shape)


def _unpacked(rows: npt.NDArray[np.uint8], samples: int, layout: Layout) -> _Samples:
    """Unpack samples that are not whole bytes: from the highest bit on, each row on a new byte."""
    bits, width = layout.bits, layout.dtype.itemsize * 8
    values = np.empty((len(rows), samples), layout.dtype)
    step = max(_UNPACKED_AT_ONCE // max(samples, 1), 1)
    for first in range(0, len(rows), step):
        spread = np.unpackbits(rows[first : first + step], axis=1, count=samples * bits)
        padded = np.zeros((len(spread), samples, width), np.uint8)
        padded[..., width - bits :] = spread.reshape(-1, samples, bits)
        packed = np.packbits(padded, axis=2).view(f">u{width // 8}")
        values[first : first + step] = packed[..., 0]
    return values
