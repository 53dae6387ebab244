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

from neuroscan_edge.errors import CorruptScanError, RejectedScanError, ScanError, ScanTooLargeError
from neuroscan_edge.scans.dicom import signature as dicom_signature
from neuroscan_edge.scans.dicom.colour import grey_of_channels, grey_of_palette
from neuroscan_edge.scans.dicom.greyscale import grey_frame, padding_words
from neuroscan_edge.scans.dicom.header import FrameHeader, uids
from neuroscan_edge.scans.dicom.layout import PALETTE, PixelLayout, read_layout
from neuroscan_edge.scans.dicom.pixels import FramePixels
from neuroscan_edge.scans.dicom.stored_values import read_values
from neuroscan_edge.scans.faults import SliceFaults
from neuroscan_edge.scans.limits import BoundedReads, inflated
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.scan import Limits, Provenance, Scan, ScanFault
from neuroscan_edge.spec import Finding

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_LIMIT_BYTES = 4096
# (0002,0000) UL, 4 bytes.
_META_LENGTH_ELEMENT = b"\x02\x00\x00\x00UL\x04\x00"

# The parser turns an empty item of 8 bytes into a data set of more than a kilobyte.
_MOST_ITEMS = 1 << 18
_ITEM_TAGS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")

# Frames of a film whose colour stands for that of all.
_COLOUR_LOOKS = 16

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
    dataset = _parse(data, limits)
    del data
    with _reading("the elements that name the image"):
        names = uids(dataset)
    try:
        with _reading("the elements that describe the pixels"):
            layout = read_layout(dataset, limits)
        with _reading("the pixel data"):
            pixels = FramePixels(dataset, layout, limits)
            _check_colour(pixels, layout)
    except ScanError as error:
        # The file's error, but its names were read: whoever reports it can say which slice.
        yield ScanFault(Provenance(path, 0, names), error)
        return
    faults = SliceFaults(len(pixels), "frame")
    for index in range(len(pixels)):
        provenance = Provenance(path, index, names)
        try:
            with _reading("the pixel data"):
                frame = pixels.frame(index)
        except ScanError as error:
            yield faults.add(provenance, error)
            # What follows cannot be found.
            return
        try:
            with _reading(f"what frame {index} holds"):
                scan = _scan(dataset, layout, pixels, frame, provenance)
        except ScanError as error:
            yield faults.add(provenance, error)
            if faults.exhausted:
                return
        else:
            yield scan


def _scan(
    dataset: Dataset, layout: PixelLayout, pixels: FramePixels, frame: bytes, provenance: Provenance
) -> Scan:
    header = FrameHeader(dataset, provenance.frame)
    found = [Finding.CONTRADICTORY_HEADER] if pixels.exceeds_header else []
    if layout.samples == 1:
        with _reading("the compressed frame"):
            coded = pixels.words(frame)
        ignored = padding_words(coded.words, dataset)
        reading = read_values(coded, layout.bits, ignored)
        doubtful = reading.doubtful
        if layout.photometric == PALETTE:
            grey = grey_of_palette(reading.values, dataset, header.byte_order)
        else:
            grey, said = grey_frame(reading.values, header, ignored)
            found += said
    else:
        with _reading("the compressed frame"):
            channels = pixels.channels(frame)
        doubtful = channels.doubtful
        grey = grey_of_channels(channels.samples, layout.bits.stored, luminance=channels.luminance)
    if doubtful:
        found.append(Finding.CONTRADICTORY_HEADER)
    return Scan(grey, provenance, header.facts(), tuple(dict.fromkeys(found)))


def _check_colour(pixels: FramePixels, layout: PixelLayout) -> None:
    """Reject a film that is in colour wherever it is looked at.

    One row says it for all frames: a film in colour is not decoded frame by frame.
    """
    if layout.samples == 1 or len(pixels) == 1:
        return
    last = len(pixels) - 1
    looks = min(len(pixels), _COLOUR_LOOKS)
    for index in (look * last // (looks - 1) for look in range(looks)):
        try:
            with _reading("the compressed frame"):
                channels = pixels.channels(pixels.frame(index))
            grey_of_channels(channels.samples, layout.bits.stored, luminance=channels.luminance)
        except RejectedScanError:
            continue
        except ScanError:
            # Said of that frame, in its turn.
            return
        return
    raise RejectedScanError(
        Finding.COLOUR, f"the {len(pixels)} frames of the DICOM file are in colour"
    )


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what damaged data makes a parser raise into one of our errors, silently."""
    with quiet:
        try:
            yield
        except ScanError:
            raise
        except _PARSER_ERRORS:
            # The parser's own message may quote header values, so only its place is passed on, and
            # no traceback shows it as the cause.
            raise CorruptScanError(
                f"{what} cannot be decoded: the data is damaged or cut; export the image again"
            ) from None


def _parse(data: bytes, limits: Limits) -> Dataset:
    head = data[: dicom_signature.HEAD_BYTES]
    prefixed = dicom_signature.has_signature(head)
    if not prefixed and not dicom_signature.starts_as_data_set(head):
        raise CorruptScanError("the file does not begin as DICOM does; export the image again")
    _check_items(data)
    with _reading("the deflated DICOM file"):
        _check_inflated_size(data, limits)
    reads = BoundedReads(data)
    with quiet:
        try:
            return pydicom.dcmread(reads, force=not prefixed)
        except ScanError:
            raise
        except _PARSER_ERRORS:
            raise CorruptScanError(
                f"no DICOM element can be read at byte {reads.tell()} of {len(data)}: the file is "
                "damaged or cut there; copy or export the image again"
            ) from None


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
