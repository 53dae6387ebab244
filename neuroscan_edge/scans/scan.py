"""What a decoded input is, wherever it came from."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class DicomUids:
    """The identifiers of a DICOM frame that name images, not people."""

    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a slice came from.

    Parameters
    ----------
    path : str
        The file, as the user would write it.
    frame : int
        Zero-based frame within the file.
    uids : DicomUids
        All None for a raster image.
    """

    path: str
    frame: int = 0
    uids: DicomUids = field(default_factory=DicomUids)


@dataclass(frozen=True, slots=True)
class Scan:
    """One decoded slice.

    Parameters
    ----------
    pixels : (H, W) uint8
        Grey levels, 0 black, 255 white; H and W at least 1.
    provenance : Provenance
        Where it came from.
    """

    pixels: npt.NDArray[np.uint8]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before memory is allocated for it.

    Parameters
    ----------
    file_bytes : int
        Largest file read, in bytes.
    image_pixels : int
        Largest rows times columns of one frame.
    frames : int
        Most frames of one file.
    """

    file_bytes: int = 1 << 30
    image_pixels: int = 1 << 24
    frames: int = 1024
