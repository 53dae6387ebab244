"""The luminance of a JPEG that has three channels and no colour, decoded once.

Such a slice is to be decoded to its luminance, and at an eighth of its size in colour to see that
it has none; the entropy-coded data are read twice for that. Here it is decoded in colour at once.
Where red, green and blue are equal, each of them is Y: R = Y + 1.402 Cr, B = Y + 1.772 Cb and
G = Y - 0.344 Cb - 0.714 Cr (ITU T.871, 7), rounded and clipped to 0..255. Red and blue above Y need
Cr and Cb above 0, and then green is below; red and blue below Y the other way round. So these are
the bytes of the luminance decoded alone. A file that does have chroma is decoded once more for it.
"""

import re

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.scans.jpeg.chroma import ChromaHeaders, chroma_headers

_END_OF_IMAGE = b"\xff\xd9"
# Within a scan's data 0xFF is followed by 0 or is a restart marker (ITU T.81, B.1.1.5).
_ANY_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_MOST_PIXELS = 1 << 22
"""More are decoded to luminance alone: three channels of them would leave every cache."""


def colourless_luma(
    data: bytes, most_pixels: int, *, nothing_else: bool
) -> npt.NDArray[np.uint8] | None:
    """Return the luminance, (H, W) uint8, of a JPEG without colour, or None.

    None if a pixel is in colour, if the headers show already that none can be, or if it is not sure
    that a decoder writes every pixel.

    Parameters
    ----------
    data : bytes
        The whole file.
    most_pixels : int
        An image of more is not decoded.
    nothing_else : bool
        True decodes only files that hold nothing that could change what the image is, such as EXIF;
        False only those that do, as they lie.
    """
    headers = chroma_headers(data)
    pixels_in_all = headers.rows * headers.columns
    if headers.no_chroma or headers.nothing_else != nothing_else:
        return None
    if pixels_in_all > min(most_pixels, _MOST_PIXELS) or not _is_whole(data, headers):
        return None
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if pixels is None or pixels.shape != (headers.rows, headers.columns, 3):
        return None
    blue, green, red = cv2.split(pixels)
    if cv2.norm(blue, green, cv2.NORM_INF) or cv2.norm(green, red, cv2.NORM_INF):
        return None
    return np.asarray(green, np.uint8)


def _is_whole(data: bytes, headers: ChromaHeaders) -> bool:
    """Whether a single scan goes on to the end, with nothing after it.

    OpenCV leaves rows of a cut image unwritten, with whatever was there before: perhaps another
    patient's pixels. It also passes over what Pillow refuses as damaged.
    """
    if not headers.only_scan_at or not data.endswith(_END_OF_IMAGE):
        return False
    marker = _ANY_MARKER.search(data, headers.only_scan_at)
    return marker is not None and marker.end() == len(data)
