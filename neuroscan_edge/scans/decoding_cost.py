"""Bounds on what decoding may cost, where a file's size says little of it."""

import io
import zlib

from neuroscan_edge.errors import CorruptScanError, ScanTooLargeError

MOST_JPEG_SCANS = 100
"""Scans of a JPEG. A progressive one has some ten; each passes over the whole image, and may be a
few bytes long."""

MOST_READS = 1_000_000
"""Pieces that a DICOM file is read in, two or three an element: some seconds."""

INFLATED_BYTES = 1 << 22
"""What a deflated file may always inflate to."""

INFLATION = 20
"""Beyond that, how many times its size: an image that is no blank page deflates to a third."""

_PIECE_BYTES = 1 << 20
_JPEG_SCAN = b"\xff\xda"


def check_jpeg_scans(stream: bytes) -> None:
    """Refuse a JPEG of more scans than any encoder writes.

    Raises
    ------
    CorruptScanError
        If there are more than `MOST_JPEG_SCANS`.
    """
    # In a scan's data 0xFF is never followed by this.
    scans = stream.count(_JPEG_SCAN)
    if scans > MOST_JPEG_SCANS:
        raise CorruptScanError(
            f"the JPEG has {scans} scans, the limit is {MOST_JPEG_SCANS}; export the image again"
        )


def check_inflation(deflated: bytes, limit_bytes: int) -> None:
    """Refuse deflated data that inflate beyond a limit or beyond all proportion.

    Nothing of what they inflate to is kept.

    Parameters
    ----------
    deflated : bytes
        A raw deflate stream.
    limit_bytes : int
        Of the limits on files.

    Raises
    ------
    ScanTooLargeError
        If they inflate further.
    """
    most = min(limit_bytes, max(INFLATED_BYTES, INFLATION * len(deflated)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = 0
    # Output may be left when all input is taken.
    while not inflater.eof and (piece := inflater.decompress(deflated, _PIECE_BYTES)):
        inflated += len(piece)
        deflated = inflater.unconsumed_tail
        if inflated > most:
            raise ScanTooLargeError(
                f"the deflated file inflates beyond {most} bytes; export it uncompressed"
            )


class BoundedReads(io.BytesIO):
    """A file in memory whose reader is stopped when it reads in too many pieces.

    Millions of empty elements or items are read one by one, each at the cost of a real one.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._left = MOST_READS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as `io.BytesIO` does.

        Raises
        ------
        CorruptScanError
            If that has been done `MOST_READS` times.
        """
        self._left -= 1
        if self._left < 0:
            raise CorruptScanError(
                f"the file is in more than {MOST_READS} pieces; export the image again"
            )
        return super().read(size)
