"""Bounds on what decoding may cost, where a file's size says little of it."""

import io
import re
import zlib
from itertools import islice

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

# Twice as fast as counting bytes, and it can stop.
_JPEG_SCAN = re.compile(b"\xff\xda")


def check_jpeg_scans(stream: bytes) -> None:
    """Refuse a JPEG of more scans than any encoder writes.

    Raises
    ------
    CorruptScanError
        If there are more than `MOST_JPEG_SCANS`.
    """
    # In a scan's data 0xFF is never followed by this.
    scans = sum(1 for _ in islice(_JPEG_SCAN.finditer(stream), MOST_JPEG_SCANS + 1))
    if scans > MOST_JPEG_SCANS:
        raise CorruptScanError(
            f"the JPEG has more than {MOST_JPEG_SCANS} scans; export the image again"
        )


def inflated(deflated: bytes, limit_bytes: int) -> bytes:
    """Inflate, unless it goes beyond a limit or beyond all proportion.

    Parameters
    ----------
    deflated : bytes
        A raw deflate stream; what a cut one still holds is returned.
    limit_bytes : int
        Of the limits on files.

    Raises
    ------
    ScanTooLargeError
        If it inflates further.
    """
    most = min(limit_bytes, max(INFLATED_BYTES, INFLATION * len(deflated)))
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, most + 1)
    if len(data) > most:
        raise ScanTooLargeError(
            f"the deflated file inflates beyond {most} bytes; export it uncompressed"
        )
    return data


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
