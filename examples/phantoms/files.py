"""Writes examples as DICOM files and pictures, the same bytes each time."""

from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MRImageStorage
from scipy import ndimage

from examples.phantoms.anatomy import Field
from examples.phantoms.contrast import Sequence
from examples.phantoms.plane import Plane
from examples.phantoms.slices import Encoding, Example

Pixels = npt.NDArray[np.unsignedinteger]

STATEMENT = "Synthetic phantom drawn by a program. Research use only, not for diagnosis."
DICOM_BITS = 12
SLICE_MM = 5.0
# Rescaled value = slope * stored value + intercept.
SLOPE, INTERCEPT = 1.5, -20.0
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class _Protocol:
    """Attributes of a spin-echo sequence; times in ms."""

    scanning: tuple[str, ...]
    repetition_ms: int
    echo_ms: int
    echoes: int = 1
    inversion_ms: int | None = None


_PROTOCOLS = {
    Sequence.T1: _Protocol(("SE",), 550, 10),
    Sequence.T1C: _Protocol(("SE",), 550, 10),
    Sequence.T2: _Protocol(("SE",), 4500, 100, echoes=16),
    Sequence.FLAIR: _Protocol(("SE", "IR"), 9000, 120, echoes=16, inversion_ms=2500),
}


def write(folder: Path, example: Example, image: Field) -> Path:
    """Write an example below a folder; ``image`` is (H, W) float64, 0 to 1."""
    path = folder / example.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if example.encoding in {Encoding.DICOM, Encoding.DICOM_INVERTED}:
        _write_dicom(path, example, image)
    else:
        _write_picture(path, example.encoding, image)
    return path


def _quantise(image: Field, bits: int) -> Pixels:
    levels = np.rint(image * ((1 << bits) - 1))
    return levels.astype(np.uint8 if bits <= 8 else np.uint16)


def _write_picture(path: Path, encoding: Encoding, image: Field) -> None:
    values = _quantise(image, 8)
    grey = Image.fromarray(values)
    match encoding:
        case Encoding.GREY_PNG:
            grey.save(path, optimize=True)
        case Encoding.DEEP_PNG:
            # 10 bits of 16, as some scanners export: nothing but the contrast of the frame counts.
            Image.fromarray(_quantise(image, 10)).save(path, optimize=True)
        case Encoding.RGBA_PNG:
            # Transparent outside the head: readers must composite over black.
            head = ndimage.gaussian_filter(image, 3.0) > 0.06
            alpha = Image.fromarray(np.where(head, 255, 0).astype(np.uint8))
            Image.merge("RGBA", (grey, grey, grey, alpha)).save(path, optimize=True)
        case Encoding.PALETTE_PNG:
            # The ramp falls: a reader that takes indices for grey levels shows a negative.
            indexed = Image.fromarray(255 - values)
            indexed.putpalette([level for level in range(255, -1, -1) for _ in range(3)])
            indexed.save(path)
        case Encoding.GREY_JPEG:
            grey.save(path, quality=JPEG_QUALITY)
        case Encoding.RGB_JPEG:
            grey.convert("RGB").save(path, quality=JPEG_QUALITY)
        case Encoding.TIFF:
            grey.save(path, compression="tiff_adobe_deflate")
        case Encoding.BMP:
            grey.save(path)
        case Encoding.WEBP:
            grey.convert("RGB").save(path, lossless=True, quality=100, method=4)
        case _:
            raise ValueError(f"{encoding} is not a picture format")


def _derived_uid(*parts: object) -> UID:
    """Make a fixed UID under the 2.25 root: the decimal form of a UUID made from names."""
    name = "/".join(["neuroscan-edge-phantom", *map(str, parts)])
    return UID(f"2.25.{uuid5(NAMESPACE_OID, name).int}")


def _write_dicom(path: Path, example: Example, image: Field) -> None:
    dataset = _dicom_dataset(example, _quantise(image, DICOM_BITS))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Else pydicom puts in its own, which change with its version.
    meta.ImplementationClassUID = _derived_uid("implementation")
    meta.ImplementationVersionName = "DRAW_PHANTOMS"
    dataset.file_meta = meta
    dataset.save_as(path, enforce_file_format=True)


def _dicom_dataset(example: Example, values: Pixels) -> Dataset:
    """Describe a slice as an MR Image Storage instance; ``values`` (H, W) grow with brightness."""
    protocol = _PROTOCOLS[example.sequence]
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER" if example.localizer else "OTHER"]
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = _derived_uid(example.seed, "instance", example.path)
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20200101"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.AccessionNumber = ""
    dataset.Modality = "MR"
    dataset.Manufacturer = "examples/phantoms"
    dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic phantom"
    dataset.SeriesDescription = f"Synthetic phantom, {example.sequence.value}"
    dataset.PatientName = "PHANTOM"
    dataset.PatientID = f"PHANTOM-{example.seed:04}"
    # The standard wants these present, and allows them empty.
    dataset.PatientBirthDate = ""
    dataset.PatientSex = ""
    dataset.PatientComments = STATEMENT
    dataset.BodyPartExamined = example.body_part
    dataset.ScanningSequence = list(protocol.scanning)
    dataset.SequenceVariant = "SK" if protocol.echoes > 1 else "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.SliceThickness = f"{SLICE_MM:g}"
    dataset.SpacingBetweenSlices = "6"
    dataset.RepetitionTime = str(protocol.repetition_ms)
    dataset.EchoTime = str(protocol.echo_ms)
    dataset.EchoTrainLength = str(protocol.echoes)
    dataset.PatientPosition = "HFS" if example.body_part == "HEAD" else "FFS"
    if protocol.inversion_ms is not None:
        dataset.InversionTime = str(protocol.inversion_ms)
    if example.sequence is Sequence.T1C:
        dataset.ContrastBolusAgent = "SYNTHETIC"
    dataset.StudyInstanceUID = _derived_uid(example.seed, "study")
    dataset.SeriesInstanceUID = _derived_uid(example.seed, "series")
    dataset.StudyID = str(example.seed)
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = example.instance
    _place(dataset, example.plane)
    dataset.FrameOfReferenceUID = _derived_uid(example.seed, "frame-of-reference")
    dataset.PositionReferenceIndicator = ""
    dataset.ImageComments = STATEMENT
    dataset.QualityControlImage = "YES"
    dataset.BurnedInAnnotation = "NO"
    _fill(dataset, values, inverted=example.encoding is Encoding.DICOM_INVERTED)
    return dataset


def _place(dataset: Dataset, plane: Plane) -> None:
    """Set orientation and position in the patient; DICOM's x and y point left and backwards."""
    to_patient = np.array([-1.0, -1.0, 1.0])
    columns, rows = (axis * to_patient for axis in plane.axes())
    corner = plane.points_mm()[0, 0] * to_patient
    dataset.ImageOrientationPatient = [f"{each:.6f}" for each in (*columns, *rows)]
    dataset.ImagePositionPatient = [f"{each:.6f}" for each in corner]
    dataset.SliceLocation = f"{float(np.cross(columns, rows) @ corner):.6f}"
    dataset.PixelSpacing = [f"{plane.mm_per_px:.6f}"] * 2


def _fill(dataset: Dataset, values: Pixels, *, inverted: bool) -> None:
    """Set pixels, and a window that leaves out the brightest twentieth."""
    highest = (1 << DICOM_BITS) - 1
    low, high = (0.05, 1.0) if inverted else (0.0, 0.95)
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = values.shape
    dataset.BitsAllocated = 16
    dataset.BitsStored = DICOM_BITS
    dataset.HighBit = DICOM_BITS - 1
    dataset.PixelRepresentation = 0
    dataset.WindowCenter = f"{SLOPE * highest * (low + high) / 2 + INTERCEPT:.6g}"
    dataset.WindowWidth = f"{SLOPE * highest * (high - low):.6g}"
    dataset.RescaleIntercept = f"{INTERCEPT:g}"
    dataset.RescaleSlope = f"{SLOPE:g}"
    dataset.RescaleType = "US"
    stored = highest - values if inverted else values
    dataset.PixelData = stored.astype("<u2").tobytes()
