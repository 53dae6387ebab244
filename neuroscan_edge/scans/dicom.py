"""DICOM slices: single-frame greyscale, by the grayscale transformation sequence of PS3.3 C.11.

Stored values -> modality LUT or rescale -> VOI LUT or window -> MONOCHROME1 inversion, in this
order. The declared size is checked before any pixel is decoded.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from neuroscan_edge.errors import (
    CorruptScanError,
    ScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.grey import linear_window, percentile_window
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.scan import DicomUids, Limits, Provenance, Scan

Values = npt.NDArray[np.float64]

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_LIMIT_BYTES = 4096
# (0002,0000) UL, 4 bytes.
_META_LENGTH_ELEMENT = b"\x02\x00\x00\x00UL\x04\x00"

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


def read_dicom(data: bytes, path: str, limits: Limits) -> Iterator[Scan]:
    """Decode the frames of a DICOM file held in memory.

    Only single-frame images are decoded so far; a multi-frame one is refused as a whole.

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
        If the file is damaged, truncated or declares no pixels.
    ScanTooLargeError
        If the header declares more pixels than allowed.
    UnsupportedScanError
        If it holds no image, several frames, colour, or a compression without a decoder.
    """
    with quiet:
        try:
            _check_inflated_size(data, limits)
            dataset = pydicom.dcmread(io.BytesIO(data))
            _check_header(dataset, limits)
            pixels = _grey_frame(dataset)
            provenance = Provenance(path, 0, _uids(dataset))
        except ScanError:
            raise
        except _PARSER_ERRORS as error:
            # The parser's own message may quote header values, so only its kind is passed on, and
            # no traceback shows it as the cause.
            raise CorruptScanError(
                f"the DICOM data cannot be parsed ({type(error).__name__}); export the image again"
            ) from None
    yield Scan(pixels, provenance)


def _check_header(dataset: Dataset, limits: Limits) -> None:
    if "PixelData" not in dataset:
        if _should_hold_pixels(dataset):
            raise CorruptScanError(
                "the DICOM file ends before its pixel data; copy or export it again"
            )
        raise UnsupportedScanError("the DICOM file holds no pixel data; give image files")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise CorruptScanError(f"the image is {columns}x{rows} pixels; it needs at least 1x1")
    if rows * columns > limits.image_pixels:
        raise ScanTooLargeError(
            f"the image is {columns}x{rows} pixels; the limit is {limits.image_pixels} in all"
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise UnsupportedScanError(
            f"the DICOM file has {frames} frames; export them as single-frame files"
        )
    samples = int(dataset.get("SamplesPerPixel", 1))
    if samples != 1 or _photometric(dataset) not in {"MONOCHROME1", "MONOCHROME2"}:
        raise UnsupportedScanError(
            f"the DICOM image has {samples} samples a pixel and is not MONOCHROME1 or MONOCHROME2; "
            "MR slices are greyscale"
        )


def _grey_frame(dataset: Dataset) -> npt.NDArray[np.uint8]:
    stored = _stored_values(dataset)
    values = np.asarray(apply_modality_lut(stored, dataset), np.float64)
    if not np.isfinite(values).all():
        raise CorruptScanError("the rescaled pixel values are not finite; export the image again")
    grey = _apply_voi(values, dataset)
    return np.ascontiguousarray(255 - grey if _photometric(dataset) == "MONOCHROME1" else grey)


def _stored_values(dataset: Dataset) -> npt.NDArray[Any]:
    _check_decoder(dataset)
    # Index 0: surplus pixel data is no further frame.
    stored = np.asarray(pixel_array(dataset, index=0))
    declared = (int(dataset.Rows), int(dataset.Columns))
    if stored.shape != declared:
        raise CorruptScanError(
            f"the pixel data has shape {stored.shape}, the header declares {declared}; "
            "export the image again"
        )
    return stored


def _check_decoder(dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_transfer_syntax:
        # Its text is not quoted: it could be anything.
        raise UnsupportedScanError("the transfer syntax is unknown; export the image uncompressed")
    if not syntax.is_compressed or syntax.is_deflated:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        raise UnsupportedScanError(
            f"no decoder is installed for {syntax.name}; install pylibjpeg with its plugins, "
            "or export the image uncompressed"
        )
    if "JPEG" in syntax.name:
        _check_encoded_size(dataset)


def _check_encoded_size(dataset: Dataset) -> None:
    # A JPEG stream states its own size, and decoders allocate by it.
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    with Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")) as encoded:
        declared = (int(dataset.Columns), int(dataset.Rows))
        if encoded.size != declared:
            raise CorruptScanError(
                f"the compressed frame is {encoded.size[0]}x{encoded.size[1]} pixels, the header "
                f"declares {declared[0]}x{declared[1]}; export the image again"
            )


def _check_inflated_size(data: bytes, limits: Limits) -> None:
    """Refuse a deflated data set that would inflate beyond the limit on files."""
    if _DEFLATED not in data[:_META_LIMIT_BYTES]:
        return
    # PS3.10, 7.1: the meta information begins with its own length, and deflation after it.
    tag, length = data[132:140], data[140:144]
    if tag != _META_LENGTH_ELEMENT:
        raise CorruptScanError("the DICOM meta information has no length; export the image again")
    start = 144 + int.from_bytes(length, "little")
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:], limits.file_bytes + 1)
    if len(inflated) > limits.file_bytes:
        raise ScanTooLargeError(
            f"the deflated file inflates beyond {limits.file_bytes} bytes; export it uncompressed"
        )


def _should_hold_pixels(dataset: Dataset) -> bool:
    """Whether a data set without pixels is a cut image rather than a report or a plan."""
    kind = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return kind is None or "Image Storage" in pydicom.uid.UID(str(kind)).name


def _apply_voi(values: Values, dataset: Dataset) -> npt.NDArray[np.uint8]:
    """Map modality values to grey levels by the first VOI LUT or window, else by percentiles."""
    if dataset.get("VOILUTSequence"):
        mapped = np.asarray(apply_voi(np.rint(values).astype(np.int64), dataset), np.float64)
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return linear_window(mapped, 0.0, float((1 << bits) - 1))
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None:
        return percentile_window(values)
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    return apply_window(values, centre, width, function)


def apply_window(
    values: Values, centre: float, width: float, function: str = "LINEAR"
) -> npt.NDArray[np.uint8]:
    """Apply a VOI window (PS3.3 C.11.2.1.2 and C.11.2.1.3) with an output range of 0..255.

    Parameters
    ----------
    values : (H, W) float64
        After the modality transformation.
    centre, width : float
        In the units of `values`; LINEAR needs a width of at least 1, the others above 0.
    function : {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
        VOI LUT Function.

    Returns
    -------
    (H, W) uint8

    Raises
    ------
    UnsupportedScanError
        If the function is another.
    CorruptScanError
        If the width is out of its domain or a parameter is not finite.
    """
    if function not in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}:
        raise UnsupportedScanError("the VOI LUT function is none of LINEAR, LINEAR_EXACT, SIGMOID")
    valid_width = width >= 1 if function == "LINEAR" else width > 0
    if not (np.isfinite(centre) and np.isfinite(width) and valid_width):
        raise CorruptScanError(
            f"the window, centre {centre:g} and width {width:g}, is invalid for {function}; "
            "export the image again"
        )
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            level = 255.0 / (1.0 + np.exp(-4.0 * (values - centre) / width))
        return np.rint(level).astype(np.uint8)
    if function == "LINEAR":
        if width == 1:
            return np.where(values <= centre - 0.5, 0, 255).astype(np.uint8)
        centre, width = centre - 0.5, width - 1
    return linear_window(values, centre - width / 2, centre + width / 2)


def _photometric(dataset: Dataset) -> str:
    return str(dataset.get("PhotometricInterpretation", "")).strip().upper()


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    first = value[0] if isinstance(value, pydicom.multival.MultiValue) else value
    return float(first)


def _uids(dataset: Dataset) -> DicomUids:
    def uid(keyword: str) -> str | None:
        value = dataset.get(keyword)
        # Only what is built like a UID: a malformed header could carry anything here.
        return str(value) if value and pydicom.uid.UID(str(value)).is_valid else None

    return DicomUids(uid("SOPInstanceUID"), uid("SeriesInstanceUID"), uid("StudyInstanceUID"))
