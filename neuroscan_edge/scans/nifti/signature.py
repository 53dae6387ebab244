"""Recognising NIfTI files by how they begin, without importing nibabel."""

import zlib
from pathlib import Path

SUFFIXES = (".nii", ".nii.gz")
GZIP = b"\x1f\x8b"

_GZIP_WINDOW = 31
NIFTI_1_BYTES, NIFTI_2_BYTES = 348, 540
_MAGIC_1, _MAGIC_2 = (b"n+1\0", b"ni1\0"), (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
_MAGIC_1_AT, _MAGIC_2_AT = 344, 4


def is_nifti(path: Path, head: bytes) -> bool:
    """Whether a file is read as NIfTI.

    Parameters
    ----------
    path : Path
        Its name decides where the content does not.
    head : bytes
        Its first 512 bytes, if it has as many; what they inflate to where they are compressed.
    """
    return has_signature(head) or path.name.lower().endswith(SUFFIXES)


def has_signature(head: bytes) -> bool:
    """Whether a file begins as a NIfTI header does, compressed or not."""
    if head.startswith(GZIP):
        try:
            head = zlib.decompressobj(_GZIP_WINDOW).decompress(head, NIFTI_2_BYTES)
        except zlib.error:
            return False
    return header_bytes(head) > 0


def header_bytes(head: bytes) -> int:
    """Return the size of a NIfTI-1 or NIfTI-2 header, 0 if it is neither."""
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    if NIFTI_1_BYTES in sizes and head[_MAGIC_1_AT : _MAGIC_1_AT + 4] in _MAGIC_1:
        return NIFTI_1_BYTES
    if NIFTI_2_BYTES in sizes and head[_MAGIC_2_AT : _MAGIC_2_AT + 8] in _MAGIC_2:
        return NIFTI_2_BYTES
    return 0


def is_pair(head: bytes) -> bool:
    """Whether a header says that its data is in another file."""
    return head[_MAGIC_1_AT : _MAGIC_1_AT + 4] == _MAGIC_1[1] or (
        head[_MAGIC_2_AT : _MAGIC_2_AT + 8] == _MAGIC_2[1]
    )
