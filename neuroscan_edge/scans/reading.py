"""One file in, its slices out, whatever its format."""

import stat
from collections.abc import Iterator
from pathlib import Path

from neuroscan_edge.errors import CorruptScanError, ScanError, ScanTooLargeError
from neuroscan_edge.scans.dicom.signature import HEAD_BYTES, is_dicom
from neuroscan_edge.scans.nifti.signature import is_nifti
from neuroscan_edge.scans.raster.reader import read_raster
from neuroscan_edge.scans.raster.signature import has_signature
from neuroscan_edge.scans.scan import Limits, Scan, ScanFault

_DEFAULT_LIMITS = Limits()


def read_scans(path: Path, limits: Limits = _DEFAULT_LIMITS) -> Iterator[Scan | ScanFault]:
    """Decode the slices of one file, in order.

    The format is taken from the content; the name decides only where neither begins it. A slice
    that cannot be decoded is a `ScanFault`, also where it is the only one of its file.

    Raises
    ------
    ScanError
        If no slice of the file can be named; the subclass says why.
    """
    data = read_bytes(path, limits)
    if is_dicom(path, data[:HEAD_BYTES]):
        # Imported only when needed: pydicom costs a third of a second at start-up.
        from neuroscan_edge.scans.dicom.reader import read_dicom

        slices = read_dicom(data, str(path), limits)
        # The parsed data set has its own copy of the pixels: one is enough.
        del data
        yield from slices
    elif is_nifti(path, data[:HEAD_BYTES]) and not has_signature(data[:HEAD_BYTES]):
        # Few need it: nibabel is not loaded for others.
        from neuroscan_edge.scans.nifti.reader import read_nifti

        yield from read_nifti(data, str(path), limits)
    else:
        yield from read_raster(data, str(path), limits)


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
