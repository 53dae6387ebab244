"""DICOM slices: greyscale images of one frame or many, one scan a frame.

The declared size is checked before any pixel is decoded, and one frame is decoded at a time. The
rules are in docs/dicom.md.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterator

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.dicom import signature as dicom_signature
from neuroscan_edge.scans.dicom.greyscale import grey_frame
from neuroscan_edge.scans.dicom.header import FrameHeader, photometric, uids
from neuroscan_edge.scans.dicom.pixels import FramePixels
from neuroscan_edge.scans.faults import SliceFaults
from neuroscan_edge.scans.limits import BoundedReads, inflated
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.scan import Limits, Provenance, Scan, ScanFault
from neuroscan_edge.spec import Finding

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_LIMIT_BYTES = 4096
# (0002,0000) UL, 4 bytes.
_META_LENGTH_ELEMENT = b"\x02\x00\x00\x00UL\x04\x00"

_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
_COLOUR = frozenset(
    {
        "ARGB",
        "CMYK",
        "HSV",
        "PALETTE COLOR",
        "RGB",
        "YBR_FULL",
        "YBR_FULL_422",
        "YBR_ICT",
        "YBR_PARTIAL_420",
        "YBR_PARTIAL_422",
        "YBR_RCT",
    }
)

# The parser turns an empty item of 8 bytes into a data set of more than a kilobyte.
_MOST_ITEMS = 1 << 18
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

# What pydicom and its decoders raise on damaged files.
_PARSER_ERRORS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    OSError,
    EOFError,
    NotImplementedError,
    struct.error,
    zlib.error,
    RuntimeError,
    pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)


def read_dicom(data: bytes, path: str, limits: Limits) -> Iterator[Scan | ScanFault]:
    """Decode the frames of a DICOM file held in memory, one at a time.

    A frame that cannot be decoded is a `ScanFault`, and those after it are still read, up to 8
    such faults. Where the data itself ends early, one fault says so and is the last. A header that
    cannot be a slice's is a fault of frame 0, the only one: it carries the UIDs of the file.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its name, for provenance.
    limits : Limits
        Refusals made from the header, before pixels are decoded.

    Raises
    ------
    CorruptScanError
        If the file cannot be parsed.
    ScanTooLargeError
        If it holds too many items, or would inflate beyond the limit.
    """
    with _parsing():
        dataset = _parse(data, limits)
        del data
        names = uids(dataset)
    try:
        with _parsing():
            count = _check_header(dataset, limits)
            pixels = FramePixels(dataset, count)
    except ScanError as error:
        # The file's error, but its names were read: whoever reports it can say which slice.
        yield ScanFault(Provenance(path, 0, names), error)
        return
    encoded = pixels.encoded()
    faults = SliceFaults(count, "frame")
    for index in range(count):
        provenance = Provenance(path, index, names)
        try:
            with _parsing():
                frame = next(encoded)
        except ScanError as error:
            yield faults.add(provenance, error)
            # What follows cannot be found.
            return
        try:
            with _parsing():
                scan = _scan(dataset, pixels, frame, provenance)
        except ScanError as error:
            yield faults.add(provenance, error)
            if faults.exhausted:
                return
        else:
            yield scan


def _scan(dataset: Dataset, pixels: FramePixels, frame: bytes, provenance: Provenance) -> Scan:
    header = FrameHeader(dataset, provenance.frame)
    grey = grey_frame(pixels.stored_values(frame), header)
    return Scan(grey, provenance, header.facts())


@contextlib.contextmanager
def _parsing() -> Iterator[None]:
    """Turn what damaged data makes a parser raise into one of our errors, silently."""
    with quiet:
        try:
            yield
        except ScanError:
            raise
        except _PARSER_ERRORS as error:
            # The parser's own message may quote header values, so only its kind is passed on, and
            # no traceback shows it as the cause.
            raise CorruptScanError(
                f"the DICOM data cannot be parsed ({type(error).__name__}); export the image again"
            ) from None


def _parse(data: bytes, limits: Limits) -> Dataset:
    head = data[: dicom_signature.HEAD_BYTES]
    prefixed = dicom_signature.has_signature(head)
    if not prefixed and not dicom_signature.starts_as_data_set(head):
        raise CorruptScanError("the file does not begin as DICOM does; export the image again")
    _check_items(data)
    _check_inflated_size(data, limits)
    return pydicom.dcmread(BoundedReads(data), force=not prefixed)


def _check_header(dataset: Dataset, limits: Limits) -> int:
    """Refuse what cannot be a slice; returns the number of frames."""
    _check_pixel_data(dataset)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise CorruptScanError(f"the image is {columns}x{rows} pixels; it needs at least 1x1")
    if rows * columns > limits.image_pixels:
        raise ScanTooLargeError(
            f"the image is {columns}x{rows} pixels; the limit is {limits.image_pixels} in all"
        )
    declared = dataset.get("NumberOfFrames")
    frames = 1 if declared is None else int(declared)
    if frames < 1:
        raise CorruptScanError(f"the image declares {frames} frames; it needs at least 1")
    if frames > limits.frames:
        raise ScanTooLargeError(
            f"the DICOM file has {frames} frames; the limit is {limits.frames}: split the file"
        )
    if rows * columns * frames > limits.file_pixels:
        raise ScanTooLargeError(
            f"the DICOM file has {frames} frames of {columns}x{rows} pixels; the limit is "
            f"{limits.file_pixels} in all: split the file"
        )
    _check_colour(dataset)
    _check_bits(dataset)
    return frames


def _check_pixel_data(dataset: Dataset) -> None:
    if "PixelData" in dataset:
        return
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise RejectedScanError(Finding.COMPUTED, "the DICOM file is a map of computed values")
    if _should_hold_pixels(dataset):
        raise CorruptScanError("the DICOM file ends before its pixel data; copy or export it again")
    raise RejectedScanError(Finding.NOT_AN_IMAGE, "the DICOM file is sound, but holds no image")


def _should_hold_pixels(dataset: Dataset) -> bool:
    """Whether a data set without pixels is a cut image rather than a report or a plan."""
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return False
    kind = dataset.get("SOPClassUID")
    # Without its own identifier it is cut before it could say what it is.
    if not kind or not dataset.get("SOPInstanceUID"):
        return True
    return "Image Storage" in pydicom.uid.UID(str(kind)).name


def _check_colour(dataset: Dataset) -> None:
    samples, interpretation = int(dataset.get("SamplesPerPixel", 1)), photometric(dataset)
    if samples != 1 or interpretation in _COLOUR:
        raise RejectedScanError(
            Finding.COLOUR, f"the DICOM image is in colour, {samples} samples a pixel"
        )
    if interpretation not in _GREY:
        raise UnsupportedScanError(
            "the DICOM image is neither MONOCHROME1 nor MONOCHROME2; export it as greyscale"
        )


def _check_bits(dataset: Dataset) -> None:
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    if allocated == 1:
        raise RejectedScanError(Finding.COMPUTED, "the DICOM image is a mask, one bit a pixel")
    if allocated not in {8, 16, 32} or not 1 <= stored <= allocated:
        raise CorruptScanError(
            f"the DICOM image has {stored} bits of {allocated}; wanted are 8, 16 or 32, and as "
            "many stored at most: export it again"
        )
    if int(dataset.PixelRepresentation) not in {0, 1}:
        raise CorruptScanError("the pixel representation is neither 0 nor 1; export it again")


def _check_inflated_size(data: bytes, limits: Limits) -> None:
    """Refuse a deflated data set that would inflate beyond the limit on files."""
    if _DEFLATED not in data[:_META_LIMIT_BYTES]:
        return
    # PS3.10, 7.1: the meta information begins with its own length, and deflation after it.
    at = 132 if dicom_signature.has_signature(data[:132]) else 0
    tag, length = data[at : at + 8], data[at + 8 : at + 12]
    if tag != _META_LENGTH_ELEMENT:
        raise CorruptScanError("the DICOM meta information has no length; export the image again")
    start = at + 12 + int.from_bytes(length, "little")
    _check_items(inflated(data[start:], limits.file_bytes))


def _check_items(data: bytes) -> None:
    items = sum(data.count(tag) for tag in _ITEM_TAGS) if len(data) > 8 * _MOST_ITEMS else 0
    if items > _MOST_ITEMS:
        raise ScanTooLargeError(
            f"the DICOM file has {items} sequence items; the limit is {_MOST_ITEMS}: split the file"
        )
