"""What a DICOM header says of a frame: its functional groups, its facts, its identifiers."""

import re

import pydicom
from pydicom.dataset import Dataset

from neuroscan_edge.errors import CorruptScanError
from neuroscan_edge.scans.dicom.elements import items, text, texts
from neuroscan_edge.scans.dicom.sequence import series_facts
from neuroscan_edge.scans.scan import DicomUids, SourceFacts

_FRAME_TYPE_SEQUENCES = (
    "MRImageFrameTypeSequence",
    "MRSpectroscopyFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "ParametricMapFrameTypeSequence",
)
# Code strings (PS3.5, 6.2), with the few other signs that scanners write into image types.
_CODE_STRING = re.compile(r"[A-Z0-9_ ]{1,16}")
_IMAGE_TYPE_VALUE = re.compile(r"[A-Z0-9_ .+*/()-]{1,32}")
_MOST_VALUES = 16
# Enhanced images code the region (PS3.16, CID 4030 and 4031); the words are those of its annex L.
# The code's meaning is free text: it is not used.
_BODY_PARTS = {
    ("SCT", "12738006"): "BRAIN",
    ("SCT", "69536005"): "HEAD",
    ("SCT", "774007"): "HEADNECK",
    ("SCT", "89546000"): "SKULL",
    ("SCT", "42575006"): "SELLA",
    ("SCT", "363654007"): "ORBIT",
    ("SCT", "361078006"): "IAC",
    ("SCT", "45048000"): "NECK",
    ("SCT", "122494005"): "CSPINE",
    ("SCT", "122495006"): "TSPINE",
    ("SCT", "122496007"): "LSPINE",
    ("SCT", "421060004"): "SPINE",
    ("SCT", "816094009"): "CHEST",
    ("SCT", "80891009"): "HEART",
    ("SCT", "76752008"): "BREAST",
    ("SCT", "818981001"): "ABDOMEN",
    ("SCT", "10200004"): "LIVER",
    ("SCT", "816092008"): "PELVIS",
    ("SCT", "41216001"): "PROSTATE",
    ("SCT", "29836001"): "HIP",
    ("SCT", "72696002"): "KNEE",
    ("SCT", "16982005"): "SHOULDER",
    ("SCT", "85562004"): "HAND",
    ("SCT", "56459004"): "FOOT",
    ("SRT", "T-A0100"): "BRAIN",
    ("SRT", "T-D1100"): "HEAD",
    ("SRT", "T-D1000"): "HEADNECK",
    ("SRT", "T-D1600"): "NECK",
}


class FrameHeader:
    """The attributes of one frame, wherever the data set keeps them.

    Parameters
    ----------
    dataset : Dataset
        The whole header.
    index : int
        Zero-based frame.

    Raises
    ------
    CorruptScanError
        If the data set has functional groups by frame, but none for this one.
    """

    def __init__(self, dataset: Dataset, index: int) -> None:
        self.dataset = dataset
        per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
        if per_frame and index >= len(per_frame):
            raise CorruptScanError(
                f"frame {index} has no functional groups; the header describes {len(per_frame)} "
                "frames: export the image again"
            )
        shared = items(dataset, "SharedFunctionalGroupsSequence")
        self._groups = [*per_frame[index : index + 1], *shared[:1]]

    def holder(self, sequence: str) -> Dataset:
        """Return the frame's item of a functional group, else the shared one, else the data set."""
        for group in self._groups:
            found = items(group, sequence)
            if found:
                return found[0]
        return self.dataset

    @property
    def byte_order(self) -> str:
        """Of words in the data set, as NumPy writes it."""
        return ">" if self.dataset.original_encoding[1] is False else "<"

    def facts(self) -> SourceFacts:
        """Return what the header says of the frame; values that are no code strings are dropped."""
        image_type = self._image_type()
        return SourceFacts(
            modality=_code_string(text(self.dataset, "Modality")),
            image_type=image_type,
            body_part=self._body_part(),
            burned_in_annotation=_code_string(text(self.dataset, "BurnedInAnnotation")) == "YES",
            series=series_facts(self.dataset, self.holder, image_type),
        )

    def _image_type(self) -> tuple[str, ...]:
        for sequence in _FRAME_TYPE_SEQUENCES:
            holder = self.holder(sequence)
            if holder is not self.dataset and texts(holder, "FrameType"):
                return _image_type_values(texts(holder, "FrameType"))
        return _image_type_values(texts(self.dataset, "ImageType"))

    def _body_part(self) -> str | None:
        stated = _code_string(text(self.dataset, "BodyPartExamined"))
        if stated:
            return stated
        for region in items(self.holder("FrameAnatomySequence"), "AnatomicRegionSequence"):
            return _BODY_PARTS.get(
                (text(region, "CodingSchemeDesignator"), text(region, "CodeValue"))
            )
        return None


def photometric(dataset: Dataset) -> str:
    """Return the photometric interpretation, or an empty text."""
    return text(dataset, "PhotometricInterpretation").upper()


def uids(dataset: Dataset) -> DicomUids:
    """Return the identifiers that are built like UIDs; a header could carry anything there."""

    def valid(keyword: str) -> str | None:
        value = text(dataset, keyword)
        return value if value and pydicom.uid.UID(value).is_valid else None

    return DicomUids(valid("SOPInstanceUID"), valid("SeriesInstanceUID"), valid("StudyInstanceUID"))


def _code_string(value: str) -> str | None:
    value = value.upper()
    return value if _CODE_STRING.fullmatch(value) else None


def _image_type_values(values: list[str]) -> tuple[str, ...]:
    capitals = [value.upper() for value in values[:_MOST_VALUES]]
    return tuple(value for value in capitals if _IMAGE_TYPE_VALUE.fullmatch(value))
