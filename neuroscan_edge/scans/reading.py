"""One file in, its slices out, whatever its format."""

import stat
from collections.abc import Iterator
from pathlib import Path

from neuroscan_edge.errors import CorruptScanError, ScanError, ScanTooLargeError
from neuroscan_edge.scans import dicom_signature, raster
from neuroscan_edge.scans.scan import Limits, Scan, ScanFault

_DEFAULT_LIMITS = Limits()


def read_scans(path: Path, limits: Limits = _DEFAULT_LIMITS) -> Iterator[Scan | ScanFault]:
    """Decode the slices of one file, in order.

    The format is taken from the content; the name decides only where neither begins it. One frame
    of several that cannot be decoded is a `ScanFault`.

    Raises
    ------
    ScanError
        If the file cannot be decoded, or what remains of it; the subclass says why.
    """
    data = read_bytes(path, limits)
    if is_dicom(path, data[: dicom_signature.HEAD_BYTES]):
        # Imported only when needed: pydicom costs a third of a second at start-up.
        from neuroscan_edge.scans.dicom import read_dicom

        slices = read_dicom(data, str(path), limits)
        # The parsed data set has its own copy of the pixels: one is enough.
        del data
        yield from slices
    else:
        yield from raster.read_raster(data, str(path), limits)


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file is read as DICOM rather than as a raster image.

    Parameters
    ----------
    path : Path
        Its name decides only where the content does not.
    head : bytes
        Its first `dicom_signature.HEAD_BYTES`, if it has as many.
    """
    # A DICOM file may begin as a TIFF does (PS3.10, 7.1): its own prefix decides first.
    if dicom_signature.has_signature(head):
        return True
    if raster.has_signature(head):
        return False
    return path.suffix.lower() in dicom_signature.SUFFIXES or dicom_signature.starts_as_data_set(
        head
    )


def read_bytes(path: Path, limits: Limits) -> bytes:
    """Read a whole file within the limits.

    Raises
    ------
    ScanError
        If it is no regular file, is empty or too large, or cannot be read.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ScanError("the folder cannot be listed; check its permissions")
        if not stat.S_ISREG(status.st_mode):
            raise ScanError("it is not a regular file; give image files or folders of them")
        if status.st_size > limits.file_bytes:
            raise ScanTooLargeError(
                f"the file has {status.st_size} bytes; the limit is {limits.file_bytes}"
            )
        data = path.read_bytes()
    except OSError as error:
        raise ScanError(
            f"the file cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error
    if not data:
        raise CorruptScanError("the file is empty (0 bytes); copy or export it again")
    return data
