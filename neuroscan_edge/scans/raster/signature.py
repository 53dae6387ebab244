"""Recognising raster files by how they begin or are named, without a decoder."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".tif", ".tiff", ".bmp", ".dib", ".webp"})
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""TIFF and BigTIFF, in either byte order."""

SIGNATURES = (PNG, JPEG, *TIFF)


def has_signature(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a raster format handled here."""
    return (
        head.startswith(SIGNATURES)
        # Two letters are too little to know a file by: a bitmap's reserved bytes are 0.
        or (head[:2] == b"BM" and head[6:10] == bytes(4))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
    )
