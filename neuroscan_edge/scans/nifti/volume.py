"""What a NIfTI header says of its volume, checked before any voxel is read."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import (
    CorruptScanError,
    MissingDependencyError,
    RejectedScanError,
    ScanTooLargeError,
    UnsupportedScanError,
)
from neuroscan_edge.scans.nifti.signature import NIFTI_1_BYTES, header_bytes, is_pair
from neuroscan_edge.scans.orientation import Orientation, from_directions
from neuroscan_edge.scans.scan import Limits
from neuroscan_edge.spec import Finding
from neuroscan_edge.system.optional import require

RGB24, RGBA32 = 128, 2304
_LABELS_INTENT = 1002
_MAX_DIMENSIONS = 7
_CLEARLY_THICKER = 1.2
# Patient axes in NIfTI's order, right to left, back to front, feet to head; columns point to the
# left, or in sagittal slices to the back; rows to the back, or in the others to the feet.
_ACROSS, _FORWARD, _UP = 0, 1, 2
_IN_PLANE = {_UP: (_ACROSS, _FORWARD), _FORWARD: (_ACROSS, _UP), _ACROSS: (_FORWARD, _UP)}


@dataclass(frozen=True, slots=True)
class SliceView:
    """How slices are cut out of a volume and turned as DICOM would store them.

    Parameters
    ----------
    axis : int
        Of the volume, along which slices follow each other.
    row_axis, column_axis : int
        Of the volume, along which the row and the column index of a slice rises.
    flip_rows, flip_columns : bool
        Whether they fall along it instead.
    orientation : Orientation or None
        Of the slices; None where the header states none.
    """

    axis: int
    row_axis: int
    column_axis: int
    flip_rows: bool
    flip_columns: bool
    orientation: Orientation | None

    def slice_of(self, volume: npt.NDArray[Any], index: int) -> npt.NDArray[Any]:
        """Cut one slice, (rows, columns), out of a volume of three dimensions."""
        order = (self.axis, self.row_axis, self.column_axis)
        cut: npt.NDArray[Any] = volume.transpose(order)[index]
        cut = cut[::-1] if self.flip_rows else cut
        return cut[:, ::-1] if self.flip_columns else cut


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of one file.

    Parameters
    ----------
    shape : tuple of int
        Voxels along the three axes.
    dtype : numpy.dtype
        Of a voxel as stored.
    offset_bytes : int
        Of the first voxel in the file.
    slope, intercept : float
        Stored values to values.
    view : SliceView
        How it is cut.
    channels : int
        1, or 3 or 4 of colour.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset_bytes: int
    slope: float
    intercept: float
    view: SliceView
    channels: int

    @property
    def slices(self) -> int:
        """How many slices it has."""
        return self.shape[self.view.axis]

    @property
    def data_bytes(self) -> int:
        """Size of its voxels."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(head: bytes, limits: Limits) -> Volume:
    """Read a header and refuse what cannot be slices.

    Parameters
    ----------
    head : bytes
        The first 540 bytes of the file, not compressed, if it has as many.
    limits : Limits
        Refusals made from the header.

    Raises
    ------
    CorruptScanError
        If it is damaged.
    UnsupportedScanError
        If it has more than one volume, or of a kind that is not read, or nibabel is missing.
    ScanTooLargeError
        If it declares more than allowed.
    RejectedScanError
        If it says that it is a map of labels.
    """
    size = header_bytes(head)
    if not size:
        raise CorruptScanError("the file does not begin as NIfTI does; convert the volume again")
    if is_pair(head):
        raise UnsupportedScanError(
            "the NIfTI header is of a pair of files, .hdr and .img; convert them to one .nii file"
        )
    header = _parsed(head[:size], size)
    shape = _shape(header)
    if int(header["intent_code"]) == _LABELS_INTENT:
        raise RejectedScanError(Finding.COMPUTED, "the NIfTI file is a map of labels")
    dtype, channels = _data_type(header)
    view = _view(header, shape)
    volume = Volume(shape, dtype, _offset(header, size), *_scaling(header), view, channels)
    _check_size(volume, limits)
    return volume


def _parsed(head: bytes, size: int) -> Any:
    if len(head) < size:
        raise CorruptScanError("the file ends inside its NIfTI header; copy or convert it again")
    number = 1 if size == NIFTI_1_BYTES else 2
    try:
        module = require(f"nibabel.nifti{number}", extra="nifti", why="to read NIfTI")
    except MissingDependencyError as error:
        raise UnsupportedScanError(str(error)) from error
    return getattr(module, f"Nifti{number}Header")(head, check=False)


def _shape(header: Any) -> tuple[int, int, int]:
    dimensions = int(header["dim"][0])
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise CorruptScanError(
            f"the NIfTI header declares {dimensions} dimensions; it needs 2 or 3: convert the "
            "volume again"
        )
    sizes = [int(each) for each in header["dim"][1 : dimensions + 1]]
    if min(sizes) < 1:
        raise CorruptScanError(
            f"the NIfTI header declares {'x'.join(map(str, sizes))} voxels; every size needs at "
            "least 1: convert the volume again"
        )
    volumes = math.prod(sizes[3:])
    if volumes > 1:
        raise UnsupportedScanError(
            f"the NIfTI file has {dimensions} dimensions, {volumes} volumes; split it into files "
            "of one volume each"
        )
    if dimensions == 1:
        raise UnsupportedScanError("the NIfTI file has one dimension, no slices; give a volume")
    first, second, third = (*sizes[:3], 1)[:3]
    return first, second, third


def _data_type(header: Any) -> tuple[np.dtype[Any], int]:
    code = int(header["datatype"])
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:
        # What nibabel raises on an unknown code differs by version.
        raise UnsupportedScanError(
            f"the NIfTI data type {code} is not read; convert the volume to 16-bit integers"
        ) from None
    if code in {RGB24, RGBA32}:
        return dtype, len(dtype.names or ())
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        name = code if dtype.kind == "V" else dtype.name
        raise UnsupportedScanError(
            f"the NIfTI data type {name} is not read; convert the volume to 16-bit integers"
        )
    return dtype, 1


def _offset(header: Any, size: int) -> int:
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or not size <= offset < 1 << 40 or offset != int(offset):
        raise CorruptScanError(
            "the NIfTI header says that its data begins inside the header, or nowhere; "
            "convert the volume again"
        )
    return int(offset)


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    # 0 and what is no number stand for none (NIfTI-1, scl_slope).
    if not math.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    if not math.isfinite(intercept):
        raise CorruptScanError(
            "the NIfTI header's scl_inter is no number; convert the volume again"
        )
    return slope, intercept


def _check_size(volume: Volume, limits: Limits) -> None:
    plane = math.prod(volume.shape) // volume.slices
    if plane > limits.image_pixels:
        raise ScanTooLargeError(
            f"the slices of the NIfTI file have {plane} pixels; the limit is {limits.image_pixels}"
        )
    if volume.slices > limits.frames:
        raise ScanTooLargeError(
            f"the NIfTI file has {volume.slices} slices; the limit is {limits.frames}: split it"
        )
    if math.prod(volume.shape) > limits.file_pixels:
        raise ScanTooLargeError(
            f"the NIfTI file has {math.prod(volume.shape)} voxels; the limit is "
            f"{limits.file_pixels}: split it"
        )
    if volume.offset_bytes + volume.data_bytes > limits.file_bytes:
        raise ScanTooLargeError(
            f"the NIfTI file has {volume.offset_bytes + volume.data_bytes} bytes before "
            f"compression; the limit is {limits.file_bytes}: split it"
        )


def _view(header: Any, shape: tuple[int, int, int]) -> SliceView:
    directions = _directions(header)
    stated = directions is not None
    # Without a statement: columns to the right, rows to the front, slices to the head.
    axes = np.eye(3) if directions is None else directions
    patient = _patient_axes(axes)
    axis = _acquisition_axis(header, shape)
    column_axis, row_axis = (patient.index(each) for each in _IN_PLANE[patient[axis]])
    # To the left and to the back, where NIfTI's axes rise to the right and to the front; to the
    # feet, where its third rises to the head.
    flip_columns, flip_rows = (axes[patient[each], each] > 0 for each in (column_axis, row_axis))
    orientation = None
    if stated:
        along_row = _in_dicom(axes[:, column_axis], flipped=bool(flip_columns))
        along_column = _in_dicom(axes[:, row_axis], flipped=bool(flip_rows))
        orientation = from_directions(along_row, along_column)
    return SliceView(axis, row_axis, column_axis, bool(flip_rows), bool(flip_columns), orientation)


def _directions(header: Any) -> npt.NDArray[np.float64] | None:
    """Return the directions of the three axes, as columns of length 1; None if none are stated."""
    if int(header["qform_code"]) <= 0 and int(header["sform_code"]) <= 0:
        return None
    try:
        affine = np.asarray(header.get_best_affine(), np.float64)[:3, :3]
    except Exception:
        # A quaternion that is none.
        return None
    lengths = np.linalg.norm(affine, axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        return None
    directions = affine / lengths
    # Nearly parallel axes span no volume.
    return directions if abs(np.linalg.det(directions)) > 0.1 else None


def _patient_axes(directions: npt.NDArray[np.float64]) -> list[int]:
    """Return the patient axis that each volume axis is nearest to, each once."""
    nearest = [-1, -1, -1]
    closeness = np.abs(directions)
    for _ in range(3):
        patient, volume = np.unravel_index(int(np.argmax(closeness)), closeness.shape)
        nearest[int(volume)] = int(patient)
        closeness[patient, :] = closeness[:, volume] = -1
    return nearest


def _in_dicom(direction: npt.NDArray[np.float64], *, flipped: bool) -> npt.NDArray[np.float64]:
    """Turn a direction of NIfTI's patient coordinates to DICOM's: left and back are positive."""
    turned = direction * (-1.0, -1.0, 1.0)
    return -turned if flipped else turned


def _acquisition_axis(header: Any, shape: tuple[int, int, int]) -> int:
    """Return the axis that slices were acquired along: as stated, else the thickest, else the last.

    A volume of one slice has no other.
    """
    if 1 in shape:
        return max(axis for axis in range(3) if shape[axis] == 1)
    stated = header.get_dim_info()[2]
    if stated is not None:
        return int(stated)
    spacing = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    if not np.isfinite(spacing).all() or spacing.min() <= 0:
        return 2
    thickest = int(np.argmax(spacing))
    others = np.delete(spacing, thickest)
    return thickest if spacing[thickest] > _CLEARLY_THICKER * others.max() else 2
