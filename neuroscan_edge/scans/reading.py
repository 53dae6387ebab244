"""One file in, its slices out, whatever its format."""

import stat
from collections.abc import Iterator
from pathlib import Path

from neuroscan_edge.errors import CorruptScanError, ScanError, ScanTooLargeError
from neuroscan_edge.scans import dicom_signature, raster
from neuroscan_edge.scans.scan import Limits, Scan

_DEFAULT_LIMITS = Limits()


def read_scans(path: Path, limits: Limits = _DEFAULT_LIMITS) -> Iterator[Scan]:
    """Decode the slices of one file, in order.

    The format is taken from the content; the name decides only for a DICOM file without prefix.

    Raises
    ------
    ScanError
        If the file, or one of its frames, cannot be decoded; the subclass says why.
    """
    data = _read_bytes(path, limits)
    if is_dicom(path, data[:132]):
        # Imported only when needed: pydicom costs a third of a second at start-up.
        from neuroscan_edge.scans.dicom import read_dicom

        yield from read_dicom(data, str(path), limits)
    else:
        yield from raster.read_raster(data, str(path), limits)


def is_dicom(path: Path, head: bytes) -> bool:
    """Whether a file is read as DICOM rather than as a raster image.

    Parameters
    ----------
    path : Path
        Its name decides only where the content does not.
    head : bytes
        At least its first 132 bytes, if it has as many.
    """
    # A DICOM file may begin as a TIFF does (PS3.10, 7.1): its own prefix decides first.
    return dicom_signature.has_signature(head) or (
        path.suffix.lower() in dicom_signature.SUFFIXES and not raster.has_signature(head)
    )


def _read_bytes(path: Path, limits: Limits) -> bytes:
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
