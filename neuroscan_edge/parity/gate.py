"""The gate: how far an engine may depart from its baseline, and when nothing can be claimed."""

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import SpecError, UsageError
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.optional import require

ROUNDING = 1e-9
"""0.56 - 0.55 is above 0.01 in floating point; a limit met exactly is met."""
DEFAULT = "default"


def _require_share(name: str, value: object) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN is between nothing.
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise SpecError(f"{name} is {value!r}; give a share, 0 to 1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one precision is held to, against the baseline on the same images.

    Parameters
    ----------
    accuracy_ratio, f1_ratio : float
        Least accuracy and macro F1 as a share of the baseline's, 0 to 1.
    agreement : float
        Least share of images on which both decide alike, 0 to 1.
    recall_drop : float
        Largest fall of any class's recall, as a share of its images, 0 to 1.
    missed_tumours : float
        Largest share of tumour slices called no tumour that the baseline does not call so, 0 to 1.
    """

    accuracy_ratio: float
    f1_ratio: float
    agreement: float
    recall_drop: float
    missed_tumours: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _require_share(field.name, getattr(self, field.name))


FP16_LIMITS = Limits(0.999, 0.999, 0.995, 0.005, 0.0)
INT8_LIMITS = Limits(0.99, 0.99, 0.98, 0.01, 0.0025)
_AT_LEAST = ("accuracy_ratio", "f1_ratio", "agreement")


@dataclass(frozen=True, slots=True)
class Gate:
    """Limits by precision, and what the data must be for a claim.

    Parameters
    ----------
    fp16, int8 : Limits
        FP32 graphs are held to those of FP16.
    min_images_per_class : int
        Fewer readable images of any class: nothing can be claimed. A fault that strikes 6 % of a
        class shows on 50 of its images with a probability of 95 % (1 - 0.94^50).
    max_unreadable : float
        From this share of unreadable files on, nothing can be claimed.
    negative_label : str
        The class that says there is no tumour.
    source : str
        ``default``, or the name of the file it was read from.
    """

    fp16: Limits = FP16_LIMITS
    int8: Limits = INT8_LIMITS
    min_images_per_class: int = 50
    max_unreadable: float = 0.01
    negative_label: str = "no_tumor"
    source: str = DEFAULT

    def __post_init__(self) -> None:
        least = self.min_images_per_class
        if not isinstance(least, int) or isinstance(least, bool) or least < 1:
            raise SpecError(f"min_images_per_class is {least!r}; give a whole number from 1")
        _require_share("max_unreadable", self.max_unreadable)
        if not isinstance(self.negative_label, str) or not self.negative_label:
            raise SpecError(f"negative_label is {self.negative_label!r}; name a class")

    def limits(self, precision: Precision) -> Limits:
        """Return what a precision is held to."""
        return self.int8 if precision is Precision.INT8 else self.fp16

    @property
    def looser(self) -> tuple[str, ...]:
        """Name each limit that asks for less than the default does."""
        default = Gate()
        found = []
        for precision in ("fp16", "int8"):
            ours, theirs = getattr(self, precision), getattr(default, precision)
            for field in dataclasses.fields(Limits):
                value, wanted = getattr(ours, field.name), getattr(theirs, field.name)
                if (value < wanted) if field.name in _AT_LEAST else (value > wanted):
                    found.append(f"{precision}.{field.name}")
        if self.min_images_per_class < default.min_images_per_class:
            found.append("data.min_images_per_class")
        if self.max_unreadable > default.max_unreadable:
            found.append("data.max_unreadable")
        if self.negative_label != default.negative_label:
            found.append("data.negative_label")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the gate as it stands in a certificate."""
        return {
            "source": self.source,
            "looser_than_default": list(self.looser),
            "fp16": dataclasses.asdict(self.fp16),
            "int8": dataclasses.asdict(self.int8),
            "data": {
                "min_images_per_class": self.min_images_per_class,
                "max_unreadable": self.max_unreadable,
                "negative_label": self.negative_label,
            },
        }


@dataclass(frozen=True, slots=True)
class Criterion:
    """One line of the gate, as measured.

    Parameters
    ----------
    name : str
        As in `Limits`.
    value : float or None
        Measured; None where it is not defined, which does not pass.
    limit : float
        From the gate.
    """

    name: str
    value: float | None
    limit: float

    @property
    def at_least(self) -> bool:
        """Whether the limit is a floor; else it is a ceiling."""
        return self.name in _AT_LEAST

    @property
    def passed(self) -> bool:
        """Whether the limit is kept."""
        # Written so that NaN does not pass.
        if self.value is None:
            return False
        if self.at_least:
            return self.value >= self.limit - ROUNDING
        return self.value <= self.limit + ROUNDING

    def to_json(self) -> dict[str, Any]:
        """Return the line as it stands in a certificate."""
        return {
            "name": self.name,
            "value": self.value,
            "limit": self.limit,
            "is": "at least" if self.at_least else "at most",
            "passed": self.passed,
        }


def judge(limits: Limits, comparison: Mapping[str, Any]) -> tuple[Criterion, ...]:
    """Hold a comparison, from `compare_with_baseline`, against limits."""
    values = {
        "accuracy_ratio": comparison["accuracy_ratio"],
        "f1_ratio": comparison["f1_ratio"],
        "agreement": comparison["agreement"]["value"],
        "recall_drop": comparison["worst_recall_drop"],
        "missed_tumours": comparison["newly_missed_tumours"]["share"],
    }
    return tuple(Criterion(name, value, getattr(limits, name)) for name, value in values.items())


def refusals(gate: Gate, counts: Mapping[str, int], unreadable: int, files: int) -> tuple[str, ...]:
    """Say why nothing can be claimed from data; empty where a claim can be made.

    Parameters
    ----------
    gate : Gate
        What the data must be.
    counts : mapping of str to int
        Readable images of each of the model's classes.
    unreadable, files : int
        Files that could not be read, of all.
    """
    found = []
    for label, images in counts.items():
        if images < gate.min_images_per_class:
            hidden = f"; a drop of {min(3 / images, 1):.0%} could hide" if images else ""
            found.append(
                f"{images or 'no'} image{'s' * (images != 1)} of {label}, the gate asks for "
                f"{gate.min_images_per_class}{hidden}"
            )
    if files and unreadable / files >= gate.max_unreadable and unreadable:
        found.append(
            f"{unreadable} of {files} files cannot be read; the gate allows less than "
            f"{gate.max_unreadable:.3g} of them"
        )
    if gate.negative_label not in counts:
        found.append(
            f"the model has no class {gate.negative_label}, so missed tumours cannot be counted; "
            "name it in the gate as data.negative_label"
        )
    return tuple(found)


def read_gate(path: Path | None) -> Gate:
    """Read a gate from TOML; what it does not name keeps its default, and None is the default.

    Raises
    ------
    UsageError
        If the file cannot be read, or names what a gate does not have.
    SpecError
        If a value is out of its domain.
    """
    if path is None:
        return Gate()
    document = _toml(path)
    sections = {"fp16": FP16_LIMITS, "int8": INT8_LIMITS}
    data = {"min_images_per_class", "max_unreadable", "negative_label"}
    _require_known(path, "", document, {*sections, "data"})
    chosen: dict[str, Any] = {"source": path.name}
    for name, default in sections.items():
        given = _section(path, document, name)
        _require_known(path, f"{name}.", given, {each.name for each in dataclasses.fields(Limits)})
        chosen[name] = dataclasses.replace(default, **given)
    given = _section(path, document, "data")
    _require_known(path, "data.", given, data)
    return Gate(**chosen, **given)


def _toml(path: Path) -> dict[str, Any]:
    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    toml = require(name, extra="parity", why="to read a gate")
    try:
        return dict(toml.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"the gate {path} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UsageError(f"the gate {path} is not TOML ({error})") from error


def _section(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise UsageError(f"the gate {path} has {name} = {section!r}; write a table [{name}]")
    return section


def _require_known(path: Path, prefix: str, found: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(found) - known)
    if unknown:
        raise UsageError(
            f"the gate {path} names {', '.join(prefix + each for each in unknown)}; known are "
            f"{', '.join(prefix + each for each in sorted(known))}"
        )
