"""Raster files: PNG, JPEG, TIFF, BMP and WebP, 8 and 16 bit, grey, RGB, RGBA and palette.

Pillow reads the header, so that size is judged before anything is allocated, and it refuses
truncated data where OpenCV would return a half-grey image. Only the commonest JPEG of a grey slice,
which holds nothing else and is seen to be whole, never comes to it. `tiff` reads TIFF.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.grey import luma, over_black, percentile_window
from neuroscan_edge.scans.jpeg.luma import colourless_luma
from neuroscan_edge.scans.jpeg.markers import Frame, segments
from neuroscan_edge.scans.limits import check_jpeg_scans
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.raster import signature
from neuroscan_edge.scans.raster.colour import is_coloured, is_coloured_jpeg, wide_colour_to_grey
from neuroscan_edge.scans.raster.orientation import upright
from neuroscan_edge.scans.raster.tiff_limits import check_directories
from neuroscan_edge.scans.scan import Limits, Provenance, Scan, ScanFault, SourceFacts

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_BY_PILLOW = tuple(name for name in FORMATS if name != "TIFF")
# The image's and its thumbnail's; some cameras write a few more.
_EXIF_DIRECTORIES = 16
_OTHER_FORMATS = {
    b"GIF8": "GIF",
    b"%PDF": "PDF",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
    b"\x00\x00\x00\x0cjP": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\x00\x00\x00\x0cJXL": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"II\xbc\x01": "JPEG XR",
    b"8BPS": "Photoshop's format",
    b"v/1\x01": "OpenEXR",
    b"\x89HDF": "HDF5",
    b"NRRD": "NRRD",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"heic": "HEIF", b"heix": "HEIF", b"mif1": "HEIF"}
_PNG_CHUNK = struct.Struct(">I4s")
_JPEG_LS_FRAME, _LOSSLESS_FRAME = 0xF7, 0xC3
_NO_JPEG_FRAMES = frozenset({0xC4, 0xC8, 0xCC})
_HIERARCHICAL = frozenset({*range(0xC5, 0xC8), *range(0xCD, 0xD0)})
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB})


def read_raster(data: bytes, path: str, limits: Limits) -> Iterator[Scan | ScanFault]:
    """Decode a raster file held in memory; a TIFF, an animated PNG or WebP may be several scans.

    One whose pixels cannot be decoded is a `ScanFault`. The pages of a TIFF after it are still
    read, up to 8 such faults; the frames of an animation are not, since each is drawn over the one
    before.

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
    if data.startswith(signature.TIFF):
        # Imported only when needed: tifffile costs a tenth of a second at start-up.
        from neuroscan_edge.scans.raster.tiff import read_tiff

        yield from read_tiff(data, path, limits)
        return
    # What this decodes is seen to have one scan.
    plane = colourless_luma(data, limits.image_pixels, nothing_else=True)
    if plane is not None:
        yield Scan(plane, Provenance(path), SourceFacts(colour=False))
        return
    if data.startswith(b"\xff\xd8"):
        check_jpeg_scans(data)
    with quiet, _opened(data, limits) as image:
        frames = _count_frames(image, limits)
        for frame in range(frames):
            provenance = Provenance(path, frame)
            try:
                pixels, coloured = _read_frame(image, frame, data, limits)
            except ScanError as error:
                yield _last_fault(provenance, error, frames)
                return
            yield Scan(pixels, provenance, SourceFacts(colour=coloured))
        held = _held_frames(data) if image.format == "PNG" else frames
        if held > frames:
            rest = CorruptScanError(
                f"the PNG says that it has {frames} frames and holds {held}: the rest is not read; "
                "export the slices as single files"
            )
            yield ScanFault(Provenance(path, frames), rest)


def _opened(data: bytes, limits: Limits) -> "ImageFile":
    try:
        with quiet:
            return Image.open(io.BytesIO(data), formats=_BY_PILLOW)
    except Image.DecompressionBombError as error:
        raise _bomb(limits) from error
    except _DECODER_ERRORS as error:
        raise _not_opened(data, error) from error


def _not_opened(data: bytes, error: BaseException) -> ScanError:
    """Say what a file is of which Pillow reads no header."""
    if data.startswith(signature.JPEG):
        return _other_jpeg(data) or _corrupt("JPEG", error)
    if name := _own_format(data):
        # Pillow's message quotes numbers of the header only.
        if str(error).startswith("Unsupported BMP"):
            return UnsupportedScanError(
                "the BMP has a pixel depth, compression or header that is not read; export the "
                "slice as PNG"
            )
        return _corrupt(name, error)
    if name := _other_format(data):
        return UnsupportedScanError(
            f"{name} is not read; export the slice as one of " + ", ".join(FORMATS)
        )
    return CorruptScanError(
        "the content is none of " + ", ".join(FORMATS) + "; export the slice again"
    )


def _own_format(data: bytes) -> str | None:
    """Name the format that a file begins like, of those that Pillow reads here."""
    if data.startswith(signature.PNG):
        return "PNG"
    if data.startswith(signature.JPEG):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return "BMP" if data[:2] == b"BM" else None


def _other_format(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12])
    known = (name for signature, name in _OTHER_FORMATS.items() if data.startswith(signature))
    return next(known, None)


def _other_jpeg(data: bytes) -> UnsupportedScanError | None:
    """Name a JPEG of a kind that decoders of common JPEG do not know; None if it is a common one.

    The bytes of lossless JPEG and of JPEG-LS begin like those of any JPEG.
    """
    try:
        found = next(
            (marker, Frame.parse(body))
            for marker, body, _ in segments(data)
            if marker == _JPEG_LS_FRAME
            or (0xC0 <= marker <= 0xCF and marker not in _NO_JPEG_FRAMES)
        )
    except (CorruptScanError, StopIteration):
        return None
    marker, frame = found
    if marker == _JPEG_LS_FRAME:
        what = f"JPEG-LS with {frame.precision} bits a sample"
    elif marker == _LOSSLESS_FRAME:
        what = f"a lossless JPEG with {frame.precision} bits a sample"
    elif marker in _HIERARCHICAL:
        what = "a hierarchical JPEG"
    elif marker in _ARITHMETIC:
        what = "an arithmetic-coded JPEG"
    elif frame.precision != 8:
        what = f"a JPEG with {frame.precision} bits a sample"
    elif frame.components not in {1, 3, 4}:
        what = f"a JPEG with {frame.components} components"
    else:
        return None
    return UnsupportedScanError(f"{what} is not read; export the slice as PNG or TIFF")


def _last_fault(provenance: Provenance, error: ScanError, frames: int) -> ScanFault:
    following = provenance.frame + 1
    if following < frames:
        error = type(error)(
            f"{error}; frames {following} to {frames - 1}, which are drawn over it, are not read "
            "either"
        )
    return ScanFault(provenance, error)


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


def _corrupt(name: str, error: BaseException) -> CorruptScanError:
    # The decoder's own message may quote what the file holds.
    state = "truncated" if "truncated" in str(error) else "damaged"
    return CorruptScanError(f"the {name} is {state}; copy or export the slice again")


def _count_frames(image: "ImageFile", limits: Limits) -> int:
    """Return how many frames an animated PNG or WebP has; other files have one image."""
    frames = int(getattr(image, "n_frames", 1)) if image.format in {"PNG", "WEBP"} else 1
    if frames > limits.frames:
        raise ScanTooLargeError(
            f"the {image.format} has {frames} frames; the limit is {limits.frames}: export the "
            "slices as single files"
        )
    if frames > 1 and frames * image.width * image.height > limits.file_pixels:
        raise ScanTooLargeError(
            f"the {image.format} has {frames} frames of {image.width}x{image.height} pixels; the "
            f"limit is {limits.file_pixels} in all: export the slices as single files"
        )
    return frames


def _held_frames(data: bytes) -> int:
    """Count the frame controls of a PNG, which are what an animation's decoder goes by."""
    at, found = len(signature.PNG), 0
    while at + _PNG_CHUNK.size <= len(data):
        size, kind = _PNG_CHUNK.unpack_from(data, at)
        found += kind == b"fcTL"
        # The checksum follows.
        at += _PNG_CHUNK.size + size + 4
    return found


def _read_frame(
    image: "ImageFile", frame: int, data: bytes, limits: Limits
) -> tuple[npt.NDArray[np.uint8], bool]:
    """Return a frame's grey levels, and whether it is in colour."""
    # A JPEG with further pictures, of cameras, is one too: its first picture is read.
    name = {"WEBP": "WebP", "MPO": "JPEG"}.get(str(image.format), str(image.format))
    try:
        if frame:
            image.seek(frame)
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
            grey, coloured = _decoded_to_grey(image, frame, data)
        return np.ascontiguousarray(upright(grey, _orientation(image))), coloured
    except Image.DecompressionBombError as error:
        raise _bomb(limits) from error
    except _DECODER_ERRORS as error:
        other = _other_jpeg(data) if name == "JPEG" else None
        raise other or _corrupt(name, error) from error


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
    image: "ImageFile", frame: int, data: bytes
) -> tuple[npt.NDArray[np.uint8], bool]:
    wide_colour = image.format == "PNG" and ";16" in _raw_mode(image)
    image.load()
    if wide_colour and image.mode in {"RGB", "RGBA", "LA"}:
        return _wide_png_to_grey(data, frame)
    return _samples_to_grey(image)


def _raw_mode(image: "ImageFile") -> str:
    # Pillow names the stored layout only in the decoder's arguments.
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _samples_to_grey(image: "ImageFile") -> tuple[npt.NDArray[np.uint8], bool]:
    if image.mode == "1" or (image.mode == "L" and not image.has_transparency_data):
        # Converting what is "L" already would copy it.
        return np.asarray(image if image.mode == "L" else image.convert("L")), False
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            raise CorruptScanError("the image holds values that are not finite; export it again")
        return percentile_window(values), False
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"), np.uint8)
        rgb, alpha = rgba[..., :3], rgba[..., 3]
        return _bytes(over_black(luma(rgb), alpha)), is_coloured(rgb)
    rgb = np.asarray(image.convert("RGB"), np.uint8)
    return _bytes(luma(rgb)), is_coloured(rgb)


def _bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.asarray(values, np.uint8)


def _wide_png_to_grey(data: bytes, frame: int) -> tuple[npt.NDArray[np.uint8], bool]:
    # Pillow keeps only 8 bits of 16-bit colour; OpenCV keeps all, of the first frame.
    if frame:
        raise UnsupportedScanError(
            f"frame {frame} of a PNG in colour of 16 bits is not read; export the slices as single "
            "files"
        )
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.ndim != 3 or samples.shape[2] not in {3, 4}:
        raise UnsupportedScanError(
            "the PNG is in colour of 16 bits with a transparent colour or the like, which is not "
            "read; export it as greyscale"
        )
    alpha = samples[..., 3] if samples.shape[2] == 4 else None
    return wide_colour_to_grey(samples[..., 2::-1], alpha)


def _orientation(image: "ImageFile") -> int:
    exif = image.info.get("exif", b"")
    if isinstance(exif, bytes):
        check_directories(exif.removeprefix(b"Exif\0\0"), _EXIF_DIRECTORIES)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if isinstance(orientation, int) else 1
