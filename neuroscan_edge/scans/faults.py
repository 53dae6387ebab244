"""The slices of one file that cannot be decoded, and when to stop trying."""

from neuroscan_edge.errors import CorruptScanError, ScanError
from neuroscan_edge.scans.scan import Provenance, ScanFault

MOST_FAULTS = 8
"""A file of a thousand slices must not cost a thousand failed attempts."""


class SliceFaults:
    """Counts a file's slices that cannot be decoded.

    Parameters
    ----------
    count : int
        Slices that the file says it holds.
    word : str
        What the format calls a slice, such as "frame".
    """

    def __init__(self, count: int, word: str) -> None:
        self._count = count
        self._word = word
        self._found = 0

    @property
    def exhausted(self) -> bool:
        """Whether the slices that are left are not to be tried."""
        return self._found >= MOST_FAULTS

    def add(self, provenance: Provenance, error: ScanError) -> ScanFault:
        """Return the fault of a slice; the last one says that no further slice is tried."""
        self._found += 1
        following = provenance.frame + 1
        if self.exhausted and following < self._count:
            error = CorruptScanError(
                f"{error}; the {MOST_FAULTS}th {self._word} that cannot be decoded, so that "
                f"{self._word}s {following} to {self._count - 1} are not tried"
            )
        return ScanFault(provenance, error)
