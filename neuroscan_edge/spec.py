"""Frozen, validated, device-free value types shared by every stage."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from neuroscan_edge.errors import SpecError

RESEARCH_USE = "Research use only. Not for diagnosis."

PREPROCESSING_SCHEMA = 1
MAX_SIDE = 4096
"""Largest output side in pixels; keeps the fixed-point resize within int32."""


MAX_CLIP_LIMIT = 10_000
"""Keeps the clipped histogram count within int32, where OpenCV and the reference agree."""


MAX_BATCH = 1024
"""Most slices a batch."""


class Word(str, Enum):
    """A string enumeration that prints as its value (StrEnum needs Python 3.11)."""

    def __str__(self) -> str:
        return str(self.value)


class Interpolation(Word):
    """Resize kernels that have a bit-exact reference, named as in OpenCV."""

    LINEAR = "linear"
    NEAREST = "nearest"


class Precision(Word):
    """Precision of a graph or engine."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class RuntimeName(Word):
    """Inference runtimes, by the words that commands and records use."""

    TENSORRT = "tensorrt"
    TENSORRT_RTX = "tensorrt-rtx"
    ONNXRUNTIME = "onnxruntime"
    OPENVINO = "openvino"

    @property
    def on_gpu(self) -> bool:
        """Whether its engines belong to an NVIDIA GPU."""
        return self in {RuntimeName.TENSORRT, RuntimeName.TENSORRT_RTX}


class PreprocessOn(Word):
    """Where slices are preprocessed; the bytes are the same."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class SortBy(Word):
    """The order of result rows: as the scans were given, or the most suspicious first."""

    INPUT = "input"
    RISK = "risk"


class GroupBy(Word):
    """Which rows are added to those of slices."""

    NONE = "none"
    SERIES = "series"
    STUDY = "study"

    @property
    def levels(self) -> tuple[str, ...]:
        """The kinds of group rows: a study is shown with its series."""
        return {"none": (), "series": ("series",), "study": ("series", "study")}[self.value]


class Aggregate(Word):
    """How the probabilities of slices become those of their series or study."""

    MEAN_LOG = "mean-log"
    MEAN = "mean"
    MAX_TUMOUR = "max-tumour"

    @property
    def stated(self) -> str:
        """The words that a row says it in."""
        return {
            "mean-log": "mean_log_probability",
            "mean": "mean_probability",
            "max-tumour": "highest_tumour_probability",
        }[self.value]


class CalibrationMethod(Word):
    """How an activation's range is taken from the values seen."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a grayscale slice becomes the bytes a graph reads.

    A slice ``(H, W) uint8`` is resized to ``(height, width)`` and then equalised by CLAHE; the
    result is again ``uint8``. Every implementation must produce the same bytes for the same spec.

    Parameters
    ----------
    height, width : int
        Output size in pixels, 1 to 4096.
    interpolation : Interpolation
        Resize kernel.
    clip_limit : float
        CLAHE contrast limit, relative to a flat histogram; greater than 0.
    tile_grid : tuple of int
        CLAHE tiles as (columns, rows), each at least 1 and at most the output side.

    Raises
    ------
    SpecError
        If a parameter is outside its domain.
    """

    height: int = 224
    width: int = 224
    interpolation: Interpolation = Interpolation.LINEAR
    clip_limit: float = 2.0
    tile_grid: tuple[int, int] = (8, 8)

    def __post_init__(self) -> None:
        for name, side in (("height", self.height), ("width", self.width)):
            if not _is_int(side) or not 1 <= side <= MAX_SIDE:
                raise SpecError(f"{name} is {side!r}; it must be a whole number, 1 to {MAX_SIDE}")
        try:
            object.__setattr__(self, "interpolation", Interpolation(self.interpolation))
        except ValueError:
            known = ", ".join(map(str, Interpolation))
            raise SpecError(f"interpolation is {self.interpolation!r}; known: {known}") from None
        if not _is_number(self.clip_limit) or not 0 < self.clip_limit <= MAX_CLIP_LIMIT:
            raise SpecError(
                f"clip_limit is {self.clip_limit!r}; it must be above 0, at most {MAX_CLIP_LIMIT}"
            )
        object.__setattr__(self, "clip_limit", float(self.clip_limit))
        pair = isinstance(self.tile_grid, list | tuple) and len(self.tile_grid) == 2
        if not pair or not all(map(_is_int, self.tile_grid)):
            raise SpecError(f"tile_grid is {self.tile_grid!r}; it must be (columns, rows)")
        grid = (self.tile_grid[0], self.tile_grid[1])
        columns, rows = grid
        if not 1 <= columns <= self.width or not 1 <= rows <= self.height:
            raise SpecError(
                f"tile_grid is {grid}; columns must be 1 to {self.width}, rows 1 to {self.height}"
            )
        object.__setattr__(self, "tile_grid", grid)

    @property
    def shape(self) -> tuple[int, int]:
        """Output shape as (rows, columns)."""
        return (self.height, self.width)

    @property
    def sha256(self) -> str:
        """Hash that changes exactly when the bytes produced may change."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON-ready values, with its schema version."""
        fields = asdict(self)
        fields["interpolation"] = str(self.interpolation)
        fields["tile_grid"] = list(self.tile_grid)
        return {"schema": PREPROCESSING_SCHEMA, **fields}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Preprocessing":
        """Build a spec from `to_json` values.

        Raises
        ------
        SpecError
            If the schema is not this one, or a field is missing, unknown or out of range.
        """
        values = dict(fields)
        schema = values.pop("schema", None)
        if schema != PREPROCESSING_SCHEMA:
            raise SpecError(
                f"preprocessing schema is {schema!r}, this version reads {PREPROCESSING_SCHEMA}"
            )
        known = {"height", "width", "interpolation", "clip_limit", "tile_grid"}
        if set(values) != known:
            odd = ", ".join(sorted(set(values) ^ known))
            raise SpecError(f"preprocessing fields differ from those of schema {schema}: {odd}")
        return cls(**values)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class MrSequence(Word):
    """Kinds of MR sequences, as a series is chosen by them."""

    T1 = "T1"
    T1C = "T1C"
    """T1 with a contrast agent."""
    T2 = "T2"
    FLAIR = "FLAIR"
    OTHER = "other"
    """Known to be none of those: diffusion, perfusion, T2*, proton density, angiography ..."""
    UNKNOWN = "unknown"
    """The header does not say, or contradicts itself."""


class Plane(Word):
    """The plane of the body that a slice lies in."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"


class Finding(Word):
    """One reason not to take a slice, or its classification, at face value."""

    NOT_AN_IMAGE = "not_an_image"
    NOT_MR = "not_mr"
    NOT_HEAD = "not_head"
    LOCALIZER = "localizer"
    COMPUTED = "computed"
    DERIVED = "derived"
    COLOUR = "colour"
    TOO_SMALL = "too_small"
    BLANK = "blank"
    CLIPPED = "clipped"
    BURNED_IN_ANNOTATION = "burned_in_annotation"
    CONTRADICTORY_HEADER = "contradictory_header"
    WINDOW_UNUSABLE = "window_unusable"
    UNKNOWN_ORIENTATION = "unknown_orientation"
    LOW_CONFIDENCE = "low_confidence"
    AMBIGUOUS = "ambiguous"
    OUT_OF_DISTRIBUTION = "out_of_distribution"

    @property
    def rejects(self) -> bool:
        """Whether such a slice is not classified at all; otherwise a person must look at it."""
        return self in _REJECTS


_REJECTS = frozenset(
    {
        Finding.NOT_AN_IMAGE,
        Finding.NOT_MR,
        Finding.NOT_HEAD,
        Finding.LOCALIZER,
        Finding.COMPUTED,
        Finding.COLOUR,
        Finding.TOO_SMALL,
        Finding.BLANK,
    }
)


class Decision(Word):
    """What becomes of a slice."""

    ANSWER = "answer"
    REFER = "refer"
    REJECTED = "rejected"
