"""Recognising DICOM files without importing pydicom."""

SUFFIXES = frozenset({".dcm", ".dicom"})


def has_signature(head: bytes) -> bool:
    """Whether the first 132 bytes of a file are a DICOM preamble and prefix (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"
