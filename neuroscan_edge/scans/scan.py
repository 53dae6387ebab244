"""What a decoded input is, wherever it came from."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import ScanError
from neuroscan_edge.spec import Finding, MrSequence, Plane


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
class SeriesFacts:
    """What a file says of the series that its slice belongs to, as series are chosen by it.

    Parameters
    ----------
    sequence : MrSequence
        Guessed from the header.
    evidence : tuple of str
        What the guess rests on: elements and known words, never a text of the header.
    plane : Plane or None
        None where the file states no orientation.
    orientation : str or None
        Sides of the patient that columns, rows and the normal point to, such as ``LPS``.
    contrast_agent : bool or None
        Whether a contrast agent was given; None where the header does not say.
    """

    sequence: MrSequence = MrSequence.UNKNOWN
    evidence: tuple[str, ...] = ()
    plane: Plane | None = None
    orientation: str | None = None
    contrast_agent: bool | None = None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a file says of its slice beside the pixels; nothing that names a person.

    Parameters
    ----------
    modality : str or None
        DICOM Modality; None where there is none, as in a raster image.
    image_type : tuple of str
        The values of DICOM Image Type, of the frame where it has its own.
    body_part : str or None
        DICOM Body Part Examined.
    burned_in_annotation : bool
        Whether the header says that text is burned into the pixels.
    colour : bool
        Whether the image was in colour, more than a grey image stored in three channels is.
    series : SeriesFacts or None
        None for a raster image, whose file says nothing of it.
    """

    modality: str | None = None
    image_type: tuple[str, ...] = ()
    body_part: str | None = None
    burned_in_annotation: bool = False
    colour: bool = False
    series: SeriesFacts | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """One decoded slice.

    Parameters
    ----------
    pixels : (H, W) uint8
        Grey levels, 0 black, 255 white; H and W at least 1.
    provenance : Provenance
        Where it came from.
    facts : SourceFacts
        What its file says of it.
    findings : tuple of Finding
        What decoding found wrong with the file, though there are pixels.
    """

    pixels: npt.NDArray[np.uint8]
    provenance: Provenance
    facts: SourceFacts = field(default_factory=SourceFacts)
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ScanFault:
    """One slice of a file that cannot be decoded; others of the file may be.

    Parameters
    ----------
    provenance : Provenance
        Which slice.
    error : ScanError
        Why.
    """

    provenance: Provenance
    error: ScanError

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """Raise the error: whoever takes the pixels of every slice learns of it there."""
        raise self.error


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
    file_pixels : int
        Largest rows times columns times frames of one DICOM file.
    """

    file_bytes: int = 1 << 30
    image_pixels: int = 1 << 24
    frames: int = 1024
    file_pixels: int = 1 << 28
