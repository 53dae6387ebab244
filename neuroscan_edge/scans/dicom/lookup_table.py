"""Lookup tables of a DICOM header (PS3.3, C.11.1.1.1 and C.7.6.3.1.5), in all their odd forms.

Their descriptor is three words: how many entries (0 stands for 65536), the first value mapped, and
the bits of an entry. Whether the second is signed depends on other elements, which writers forget:
the values to be mapped say it better.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.dicom.elements import named, unsigned_words

_WORDS = 1 << 16
_MIN_BITS, _MAX_BITS = 8, 16


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A table and what its descriptor says.

    Parameters
    ----------
    table : (N,) uint8 or uint16
        The entries.
    first : int
        Value mapped to the first of them, as an unsigned word.
    bits : int
        Bits of an entry as stated, 8 to 16.
    """

    table: npt.NDArray[Any]
    first: int
    bits: int

    @property
    def top(self) -> int:
        """The value that stands for white.

        That of all stated bits if the largest entry needs them, else the largest entry: many tables
        state the bits of their container.
        """
        largest = int(self.table.max())
        return (1 << self.bits) - 1 if largest.bit_length() == self.bits else max(largest, 1)

    def map(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Look up values, of any real dtype; those outside take the first or the last entry."""
        last = len(self.table) - 1
        index = np.clip(np.rint(values) - self._first_of(values), 0, last).astype(np.int64)
        found: npt.NDArray[Any] = self.table[index]
        return found

    def _first_of(self, values: npt.NDArray[Any]) -> int:
        """Return the first value mapped, with the sign that makes the table fit the values."""
        if self.first < _WORDS // 2:
            return self.first

        def inside(first: int) -> int:
            return int(np.count_nonzero((values >= first) & (values < first + len(self.table))))

        signed = self.first - _WORDS
        if inside(signed) != inside(self.first):
            return signed if inside(signed) > inside(self.first) else self.first
        return signed if float(values.min()) < 0 else self.first


def read_table(dataset: Dataset, descriptor: str, data: str, order: str) -> LookupTable:
    """Read a table.

    Parameters
    ----------
    dataset : Dataset
        That holds it: an item of a sequence, or the header itself.
    descriptor, data : str
        Keywords of its elements.
    order : {"<", ">"}
        Byte order of the file.

    Raises
    ------
    CorruptScanError
        If an element is missing, or the table is shorter than it says.
    """
    words = unsigned_words(dataset, descriptor)
    if words is None or len(words) != 3:
        how = "is missing" if words is None else f"has {len(words)} values instead of 3"
        raise CorruptScanError(f"{named(descriptor)} {how}; export the image again")
    entries, first, bits = words
    entries = entries or _WORDS
    if not _MIN_BITS <= bits <= _MAX_BITS:
        raise CorruptScanError(
            f"the lookup table has {bits} bits an entry by {named(descriptor)}; wanted are "
            f"{_MIN_BITS} to {_MAX_BITS}: export the image again"
        )
    table = _entries(dataset, data, entries, bits, order)
    if len(table) < entries:
        raise CorruptScanError(
            f"the lookup table holds {len(table)} of {entries} entries; export the image again"
        )
    return LookupTable(table[:entries], first, bits)


def _entries(
    dataset: Dataset, keyword: str, entries: int, bits: int, order: str
) -> npt.NDArray[Any]:
    if keyword not in dataset:
        raise CorruptScanError(f"{named(keyword)} is missing; export the image again")
    element = dataset.get_item(keyword)
    if isinstance(element, RawDataElement):
        raw = element.value or b""
        swapped = order == ">" and element.VR in {"US", "SS"}
    else:
        value = dataset[keyword].value
        raw = value if isinstance(value, bytes) else _as_bytes(value, order)
        swapped = order == ">" and not isinstance(value, bytes)
    if len(raw) < 2 * entries and (bits == _MIN_BITS or len(raw) in {entries, entries + 1}):
        # One byte an entry; written as words, the first of two is in the lower byte.
        packed = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2") if swapped else None
        return np.frombuffer(raw, np.uint8) if packed is None else packed.byteswap().view(np.uint8)
    return np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2")


def _as_bytes(value: Any, order: str) -> bytes:
    words = value if isinstance(value, MultiValue | list | tuple) else [value]
    return np.array([int(word) & 0xFFFF for word in words], f"{order}u2").tobytes()
