"""What a DICOM header says of the shape of its pixels, checked before any of them is decoded."""

from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from neuroscan_edge.errors import (
    CorruptScanError,
    RejectedScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.dicom.elements import (
    is_stated,
    named,
    required_number,
    text,
    whole_number,
)
from neuroscan_edge.scans.dicom.stored_values import PixelBits
from neuroscan_edge.scans.scan import Limits
from neuroscan_edge.spec import Finding

GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})
PALETTE = "PALETTE COLOR"
# Three channels that can be compared with each other: equal ones are grey.
COMPARABLE = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_OTHER_COLOUR = frozenset({"ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "YBR_PARTIAL_422"})
_SAMPLES_OF_COLOUR = 3


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """The image pixel module (PS3.3, C.7.6.3) of a data set that may hold slices.

    Parameters
    ----------
    rows, columns : int
        Of one frame, at least 1.
    frames : int or None
        As declared, at least 1; None if the header does not say.
    samples : int
        1, or 3 where three channels may turn out to be equal.
    photometric : str
        Photometric Interpretation, one of `GREY`, `PALETTE` or `COMPARABLE`.
    planar : bool
        Whether the channels lie one after the other.
    bits : PixelBits
        Of the words.
    """

    rows: int
    columns: int
    frames: int | None
    samples: int
    photometric: str
    planar: bool
    bits: PixelBits

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def frame_bytes(self) -> int:
        """Size of a frame that is not compressed."""
        pixels = self.rows * self.columns
        # Two pixels share their two colour differences.
        samples = pixels * 2 if self.photometric == "YBR_FULL_422" else pixels * self.samples
        return samples * self.bits.allocated // 8


def read_layout(dataset: Dataset, limits: Limits) -> PixelLayout:
    """Read what the header says of the pixels and refuse what cannot be a slice.

    Raises
    ------
    CorruptScanError
        If an element that is needed is missing or cannot be; the message names it.
    ScanTooLargeError
        If more pixels or frames are declared than allowed.
    UnsupportedScanError
        If the photometric interpretation is not read.
    RejectedScanError
        If there are no pixels, only computed ones, a mask, or colour that is not compared.
    """
    _check_pixel_data(dataset)
    rows, columns = required_number(dataset, "Rows"), required_number(dataset, "Columns")
    if rows < 1 or columns < 1:
        raise CorruptScanError(f"the image is {columns}x{rows} pixels; it needs at least 1x1")
    if rows * columns > limits.image_pixels:
        raise ScanTooLargeError(
            f"the image is {columns}x{rows} pixels; the limit is {limits.image_pixels} in all"
        )
    frames = whole_number(dataset, "NumberOfFrames")
    if frames is not None:
        check_frames(frames, rows, columns, limits)
    samples, photometric = _colour(dataset)
    return PixelLayout(
        rows,
        columns,
        frames,
        samples,
        photometric,
        whole_number(dataset, "PlanarConfiguration") == 1,
        _bits(dataset),
    )


def check_frames(frames: int, rows: int, columns: int, limits: Limits) -> None:
    """Refuse a number of frames, declared or found.

    Raises
    ------
    CorruptScanError
        If it is below 1.
    ScanTooLargeError
        If there are more frames, or more pixels in all of them, than allowed.
    """
    if frames < 1:
        raise CorruptScanError(
            f"{named('NumberOfFrames')} is {frames}; it needs at least 1: export the image again"
        )
    if frames > limits.frames:
        raise ScanTooLargeError(
            f"the DICOM file has {frames} frames; the limit is {limits.frames}: split the file"
        )
    if rows * columns * frames > limits.file_pixels:
        raise ScanTooLargeError(
            f"the DICOM file has {frames} frames of {columns}x{rows} pixels; the limit is "
            f"{limits.file_pixels} in all: split the file"
        )


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
    if text(dataset.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return False
    kind = text(dataset, "SOPClassUID")
    # Without its own identifier it is cut before it could say what it is.
    if not kind or not is_stated(dataset, "SOPInstanceUID"):
        return True
    return "Image Storage" in pydicom.uid.UID(kind).name


def _colour(dataset: Dataset) -> tuple[int, str]:
    """Return samples a pixel and photometric interpretation of what may be grey."""
    photometric = text(dataset, "PhotometricInterpretation").upper()
    usual = _SAMPLES_OF_COLOUR if photometric in COMPARABLE else 1
    samples = whole_number(dataset, "SamplesPerPixel")
    samples = usual if samples is None else samples
    if samples == usual and (photometric in GREY | COMPARABLE or photometric == PALETTE):
        return samples, photometric
    if samples == _SAMPLES_OF_COLOUR and photometric in GREY:
        return samples, "RGB"
    if samples != 1 or photometric in COMPARABLE | _OTHER_COLOUR or photometric == PALETTE:
        raise RejectedScanError(
            Finding.COLOUR, f"the DICOM image is in colour, {samples} samples a pixel"
        )
    if not photometric:
        raise UnsupportedScanError(
            f"{named('PhotometricInterpretation')} is missing; export the image again"
        )
    raise UnsupportedScanError(
        f"{named('PhotometricInterpretation')} is neither MONOCHROME1 nor MONOCHROME2; "
        "export the image as greyscale"
    )


def _bits(dataset: Dataset) -> PixelBits:
    allocated = required_number(dataset, "BitsAllocated")
    if allocated == 1:
        raise RejectedScanError(Finding.COMPUTED, "the DICOM image is a mask, one bit a pixel")
    stored = required_number(dataset, "BitsStored")
    if allocated not in {8, 16, 32} or not 1 <= stored <= allocated:
        raise CorruptScanError(
            f"the DICOM image has {stored} bits of {allocated}; wanted are 8, 16 or 32, and as "
            "many stored at most: export it again"
        )
    high = whole_number(dataset, "HighBit")
    representation = whole_number(dataset, "PixelRepresentation")
    if representation not in {None, 0, 1}:
        raise CorruptScanError(
            f"{named('PixelRepresentation')} is neither 0 nor 1; export the image again"
        )
    signed = None if representation is None else representation == 1
    return PixelBits(allocated, stored, stored - 1 if high is None else high, signed)
