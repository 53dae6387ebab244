"""NIfTI volumes, ``.nii`` and ``.nii.gz``: one scan a slice along the acquisition axis.

The size is judged by the header, of which 540 bytes are inflated, before anything else is. The
rules are in docs/nifti.md.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import CorruptScanError, RejectedScanError, ScanError, ScanTooLargeError
from neuroscan_edge.scans.faults import SliceFaults
from neuroscan_edge.scans.grey import luma, percentile_window
from neuroscan_edge.scans.nifti.signature import GZIP, SUFFIXES
from neuroscan_edge.scans.nifti.volume import Volume, read_header
from neuroscan_edge.scans.quiet import quiet
from neuroscan_edge.scans.scan import (
    Limits,
    Provenance,
    Scan,
    ScanFault,
    SeriesFacts,
    SourceFacts,
)
from neuroscan_edge.scans.sequence import SequenceEvidence, guess_sequence
from neuroscan_edge.spec import Finding

MAX_INFLATION = 250
"""How many times its size a compressed file may be: a head on black is some 3 to 40 times."""

MIN_INFLATED_BYTES = 1 << 24
"""What any compressed file may inflate to."""

MAX_LABELS = 8
"""Distinct values up to which a volume is a map of labels, such as a segmentation."""

COLOURED_SHARE = 0.01
"""Share of voxels of unequal channels from which a volume is in colour."""

_HEAD_BYTES = 540
_CHUNK_BYTES = 1 << 16
_LOOKED_AT = 1 << 20


def read_nifti(data: bytes, path: str, limits: Limits) -> Iterator[Scan | ScanFault]:
    """Decode the slices of a NIfTI file held in memory, in stored order.

    Parameters
    ----------
    data : bytes
        The whole file.
    path : str
        Its name, for provenance and for the words that it says of the sequence.
    limits : Limits
        Refusals made from the header, before voxels are inflated.

    Raises
    ------
    CorruptScanError
        If the file is damaged, or ends before its first slice.
    ScanTooLargeError
        If it declares more than allowed, or inflates beyond all proportion.
    UnsupportedScanError
        If it has several volumes, is of a kind that is not read, or nibabel is not installed.
    RejectedScanError
        If it is a map of labels.
    """
    with quiet:
        volume = read_header(_first_bytes(data), limits)
    stored = _voxels(data, volume)
    held = len(stored) // volume.dtype.itemsize
    whole = volume.slices
    if held < np.prod(volume.shape):
        # Stored slice after slice along the last axis, whole ones are left; else none.
        whole = held * volume.slices // int(np.prod(volume.shape)) if volume.view.axis == 2 else 0
        if not whole:
            raise CorruptScanError(
                f"the NIfTI data ends after {len(stored)} of {volume.data_bytes} bytes; copy or "
                "convert the volume again"
            )
    shape = volume.shape if whole == volume.slices else (*volume.shape[:2], whole)
    voxels = np.frombuffer(stored, volume.dtype, int(np.prod(shape))).reshape(shape, order="F")
    if volume.channels > 1 and _is_coloured(voxels):
        raise RejectedScanError(Finding.COLOUR, "the NIfTI file is in colour")
    if _is_label_map(voxels, volume):
        raise RejectedScanError(
            Finding.COMPUTED, f"the NIfTI file is a map of {MAX_LABELS} labels or fewer"
        )
    facts = _facts(path, volume)
    findings = () if volume.view.orientation else (Finding.UNKNOWN_ORIENTATION,)
    faults = SliceFaults(volume.slices, "slice")
    for index in range(whole):
        provenance = Provenance(path, index)
        try:
            grey = _grey(volume.view.slice_of(voxels, index), volume)
        except ScanError as error:
            yield faults.add(provenance, error)
            if faults.exhausted:
                return
        else:
            yield Scan(grey, provenance, facts, findings)
    if whole < volume.slices:
        yield faults.add(
            Provenance(path, whole),
            CorruptScanError(
                f"the NIfTI data ends after {whole} of {volume.slices} slices; copy or convert "
                "the volume again"
            ),
        )


def _first_bytes(data: bytes) -> bytes:
    if not data.startswith(GZIP):
        return data[:_HEAD_BYTES]
    return _inflated(data, _HEAD_BYTES)


def _voxels(data: bytes, volume: Volume) -> bytes | memoryview:
    end = volume.offset_bytes + volume.data_bytes
    if not data.startswith(GZIP):
        return memoryview(data)[volume.offset_bytes : end]
    most = max(MIN_INFLATED_BYTES, MAX_INFLATION * len(data))
    if end > most:
        raise ScanTooLargeError(
            f"the compressed NIfTI file of {len(data)} bytes declares {end}; the limit is {most}: "
            "give it uncompressed"
        )
    return memoryview(_inflated(data, end))[volume.offset_bytes :]


def _inflated(data: bytes, wanted: int) -> bytes:
    """Inflate up to so many bytes; what a cut or damaged stream still holds is returned."""
    pieces = []
    left = wanted
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
        try:
            while left and (piece := stream.read(min(left, _CHUNK_BYTES))):
                pieces.append(piece)
                left -= len(piece)
        except (EOFError, OSError, zlib.error):
            # What is missing is said by its size.
            pass
    return b"".join(pieces)


def _is_label_map(voxels: npt.NDArray[Any], volume: Volume) -> bool:
    if volume.channels > 1:
        return False
    step = max(voxels.size // _LOOKED_AT, 1)
    distinct = len(np.unique(voxels.ravel(order="K")[::step]))
    return 2 <= distinct <= MAX_LABELS


def _grey(stored: npt.NDArray[Any], volume: Volume) -> npt.NDArray[np.uint8]:
    """Map one slice by the percentile rule; voxels that are no number are black."""
    if volume.channels > 1:
        return _grey_of_colour(stored)
    values = stored.astype(np.float64) * volume.slope + volume.intercept
    absent = np.isnan(values)
    if not np.isfinite(values[~absent]).all():
        raise CorruptScanError("the slice holds infinite values; convert the volume again")
    grey = percentile_window(np.where(absent, 0.0, values), ~absent if absent.any() else None)
    grey[absent] = 0
    return np.ascontiguousarray(grey)


def _grey_of_colour(stored: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    rgb = np.stack([stored[name] for name in "RGB"], axis=-1)
    return np.ascontiguousarray(luma(rgb), np.uint8)


def _is_coloured(voxels: npt.NDArray[Any]) -> bool:
    red, green, blue = (voxels[name] for name in "RGB")
    coloured = np.count_nonzero((red != green) | (green != blue))
    return bool(coloured > COLOURED_SHARE * voxels.size)


def _facts(path: str, volume: Volume) -> SourceFacts:
    name = PurePath(path).name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    guess = guess_sequence(SequenceEvidence(names={"File name": name}))
    orientation = volume.view.orientation
    return SourceFacts(
        series=SeriesFacts(
            guess.sequence,
            guess.evidence,
            None if orientation is None else orientation.plane,
            None if orientation is None else orientation.axes,
            guess.contrast_agent,
        )
    )
