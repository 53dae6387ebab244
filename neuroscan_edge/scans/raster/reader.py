"""Raster files: PNG, JPEG, TIFF, BMP and WebP, 8 and 16 bit, grey, RGB, RGBA and palette.

Pillow reads the header, so that size is judged before anything is allocated, and it refuses
truncated data where OpenCV would return a half-grey image. Only the commonest JPEG of a grey slice,
which holds nothing else and is seen to be whole, never comes to it.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.faults import SliceFaults
from neuroscan_edge.scans.grey import luma, over_black, percentile_window
from neuroscan_edge.scans.jpeg.luma import colourless_luma
from neuroscan_edge.scans.limits import check_jpeg_scans
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.raster.colour import is_coloured, is_coloured_jpeg
from neuroscan_edge.scans.raster.tiff_limits import check_directories
from neuroscan_edge.scans.scan import Limits, Provenance, Scan, ScanFault, SourceFacts

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_SIZE_TAGS = 256, 257
_PHOTOMETRIC_TAG, _PLANAR_TAG = 262, 284
_SEPARATE_PLANES = 2
# The image's and its thumbnail's; some cameras write a few more.
_EXIF_DIRECTORIES = 16
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
}


def read_raster(data: bytes, path: str, limits: Limits) -> Iterator[Scan | ScanFault]:
    """Decode a raster file held in memory; a TIFF yields one scan a page.

    A page whose pixels cannot be decoded is a `ScanFault`, and those after it in a TIFF are still
    read, up to 8 such faults. A page that is described as no image can be, such as
    one of an unknown compression, costs the file: Pillow reads all descriptions first.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its name, for provenance.
    limits : Limits
        Refusals made from the header, before pixels are allocated.

    Raises
    ------
    CorruptScanError
        If the data is not an image, or its header is damaged.
    ScanTooLargeError
        If the file declares far more pixels, or more pages, than allowed.
    UnsupportedScanError
        If the data is of a format that is not read.
    """
    check_directories(data, limits.frames)
    # What this decodes is seen to have one scan.
    plane = colourless_luma(data, limits.image_pixels, nothing_else=True)
    if plane is not None:
        yield Scan(plane, Provenance(path), SourceFacts(colour=False))
        return
    if data.startswith(b"\xff\xd8"):
        check_jpeg_scans(data)
    try:
        with quiet:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _bomb(limits) from error
    except UnidentifiedImageError as error:
        for signature, name in _OTHER_FORMATS.items():
            if data.startswith(signature):
                raise UnsupportedScanError(
                    f"{name} is not read; export the slice as one of " + ", ".join(FORMATS)
                ) from error
        raise CorruptScanError(
            "the content is none of " + ", ".join(FORMATS) + "; export the slice again"
        ) from error
    except _DECODER_ERRORS as error:
        raise _corrupt(error) from error
    with quiet, image:
        pages = _count_pages(image, limits)
        faults = SliceFaults(pages, "page")
        for page in range(pages):
            provenance = Provenance(path, page)
            try:
                pixels, coloured = _read_page(image, page, data, limits)
            except ScanError as error:
                yield faults.add(provenance, error)
                if faults.exhausted:
                    return
            else:
                yield Scan(pixels, provenance, SourceFacts(colour=coloured))


# What Pillow's and OpenCV's decoders raise on damaged data.
_DECODER_ERRORS = (
    cv2.error,
    AssertionError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def _bomb(limits: Limits) -> ScanTooLargeError:
    # Pillow's own, looser check came first.
    return ScanTooLargeError(
        f"the image declares far more than the limit of {limits.image_pixels} pixels; "
        "crop or downsample it"
    )


def _corrupt(error: BaseException) -> CorruptScanError:
    # The decoder's own message may quote what the file holds, so only its kind is passed on.
    detail = "it is truncated" if "truncated" in str(error) else type(error).__name__
    return CorruptScanError(f"the image data cannot be decoded ({detail}); export the slice again")


def _count_pages(image: "ImageFile", limits: Limits) -> int:
    if image.format != "TIFF":
        return 1
    try:
        pages = int(getattr(image, "n_frames", 1))
    except Image.DecompressionBombError as error:
        raise _bomb(limits) from error
    except _DECODER_ERRORS as error:
        raise _corrupt(error) from error
    if pages > limits.frames:
        raise ScanTooLargeError(
            f"the TIFF has {pages} pages; the limit is {limits.frames}: split the file"
        )
    return pages


def _read_page(
    image: "ImageFile", page: int, data: bytes, limits: Limits
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Return a page's grey levels, and whether it is in colour."""
    try:
        if page:
            image.seek(page)
        width, height = image.size
        if width < 1 or height < 1:
            raise CorruptScanError(f"the image is {width}x{height} pixels; it needs at least 1x1")
        if width * height > limits.image_pixels:
            raise ScanTooLargeError(
                f"the image is {width}x{height} pixels; the limit is {limits.image_pixels} "
                "in all: crop or downsample it"
            )
        if image.format == "JPEG" and image.mode == "RGB":
            grey, coloured = _jpeg_to_grey(image, data, limits)
        else:
            grey, coloured = _decoded_to_grey(image, page, data)
        return np.ascontiguousarray(_upright(grey, _orientation(image))), coloured
    except Image.DecompressionBombError as error:
        raise _bomb(limits) from error
    except _DECODER_ERRORS as error:
        raise _corrupt(error) from error


def _jpeg_to_grey(
    image: "ImageFile", data: bytes, limits: Limits
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Return the luminance of a JPEG as it is stored, and whether there is colour besides.

    Decoding colour only to weigh it back would add rounding.
    """
    # Where there is nothing else, this was tried before.
    plane = colourless_luma(data, limits.image_pixels, nothing_else=False)
    if plane is not None and plane.shape == image.size[::-1]:
        return plane, False
    image.draft("L", image.size)
    image.load()
    return np.asarray(image), is_coloured_jpeg(data)


def _decoded_to_grey(
    image: "ImageFile", page: int, data: bytes
) -> tuple[npt.NDArray[np.uint8], bool]:
    if image.format == "TIFF":
        _check_strips(image)
    wide_colour = image.format in {"PNG", "TIFF"} and ";16" in _raw_mode(image)
    image.load()
    if wide_colour and image.mode in {"RGB", "RGBA", "LA"}:
        return _wide_colour_to_grey(data, page)
    return _samples_to_grey(image)


def _check_strips(image: "ImageFile") -> None:
    """Refuse a page whose strips or tiles do not cover it.

    Pillow decodes what there is, into the memory of the page before: what is missing would be that
    page's pixels, perhaps another patient's.
    """
    # As it is stored: `image.size` is as its orientation will have it.
    width, height = (int(_tag(image, number, 0)) for number in _SIZE_TAGS)
    planes = len(image.getbands()) if _tag(image, _PLANAR_TAG, 1) == _SEPARATE_PLANES else 1
    covered = 0
    for tile in image.tile:
        if tile[1] is not None:
            left, top, right, bottom = tile[1]
            covered += max(min(right, width) - left, 0) * max(min(bottom, height) - top, 0)
    if covered < width * height * planes:
        raise CorruptScanError(
            f"the strips of the page hold {covered} of {width * height * planes} pixels: it is "
            "truncated; export the slice again"
        )


def _tag(image: "ImageFile", number: int, default: int) -> Any:
    return getattr(image, "tag_v2", {}).get(number, default)


def _raw_mode(image: "ImageFile") -> str:
    # Pillow names the stored layout only in the decoder's arguments.
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _white_is_zero(image: "ImageFile") -> bool:
    return bool(_tag(image, _PHOTOMETRIC_TAG, 1) == 0)


def _samples_to_grey(image: "ImageFile") -> tuple[npt.NDArray[np.uint8], bool]:
    if image.mode == "1" or (image.mode == "L" and not image.has_transparency_data):
        # Converting what is "L" already would copy it.
        return np.asarray(image if image.mode == "L" else image.convert("L")), False
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise CorruptScanError("the image holds values that are not finite; export it again")
        grey = percentile_window(values)
        # Pillow undoes WhiteIsZero for 8 bits only.
        return 255 - grey if _white_is_zero(image) else grey, False
    if image.mode == "LAB":
        raise UnsupportedScanError("the image is in L*a*b* colour; export it as greyscale")
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), np.uint8)
        rgb, alpha = rgba[..., :3], rgba[..., 3]
        return _bytes(over_black(luma(rgb), alpha)), is_coloured(rgb)
    rgb = np.asarray(image.convert("RGB"), np.uint8)
    return _bytes(luma(rgb)), is_coloured(rgb)


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.asarray(values, np.uint8)


def _wide_colour_to_grey(data: bytes, page: int) -> tuple[npt.NDArray[np.uint8], bool]:
    # Pillow keeps only 8 bits of 16-bit colour; OpenCV keeps all.
    if page:
        raise UnsupportedScanError(
            f"page {page} of a 16-bit colour TIFF; export the pages as single greyscale files"
        )
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3 or samples.shape[2] not in {3, 4}:
        raise UnsupportedScanError("16-bit colour of an unusual layout; export it as greyscale")
    rgb = samples[..., 2::-1]
    grey = luma(rgb)
    if samples.shape[2] == 4:
        grey = over_black(grey, samples[..., 3])
    return percentile_window(grey), is_coloured(rgb)


def _orientation(image: "ImageFile") -> int:
    exif = image.info.get("exif", b"")
    # That of a TIFF is the file's own directory.
    if image.format != "TIFF" and isinstance(exif, bytes):
        check_directories(exif.removeprefix(b"Exif\0\0"), _EXIF_DIRECTORIES)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if isinstance(orientation, int) else 1


def _upright(grey: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """Undo an EXIF orientation, 1 to 8 (EXIF 2.32, tag 0x0112); other values are ignored."""
    if orientation in {2, 4, 5, 7}:
        grey = grey[:, ::-1]
    quarter_turns = {3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}.get(orientation, 0)
    return np.rot90(grey, quarter_turns) if quarter_turns else grey
