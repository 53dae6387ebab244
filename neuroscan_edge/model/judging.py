"""From a row of probabilities to a decision: answer, refer to a person, or rejected."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import SpecError
from neuroscan_edge.spec import Decision, Finding

JUDGING_SCHEMA = 1
OUTLIER_LIMIT = 1.0
"""Scores are scaled so that what exceeds this is out of distribution."""

_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True, slots=True)
class Judging:
    """When a classification is an answer; part of a bundle, chosen on its training split.

    Parameters
    ----------
    temperature : float
        Logits are divided by it: Guo et al., "On Calibration of Modern Neural Networks"
        (ICML 2017).
    least_confidence : float
        Below this probability of the most probable class, confidence is low.
    plausible : float
        A class of at least this probability cannot be left out; two of them are ambiguous. From
        split conformal prediction: Vovk et al., "Algorithmic Learning in a Random World" (2005).
    outliers : bool
        Whether the graphs give an outlier score.
    about : mapping
        What it was fitted on, and the coverage that was asked for.
    quality : mapping or None
        `neuroscan_edge.scans.quality.QualityThresholds` as JSON; None leaves them to it.

    Raises
    ------
    SpecError
        If a parameter is outside its domain.
    """

    temperature: float = 1.0
    least_confidence: float = 0.0
    plausible: float = 1.0
    outliers: bool = False
    about: Mapping[str, Any] | None = None
    quality: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise SpecError(f"the temperature is {self.temperature}; give a number above 0")
        for name in ("least_confidence", "plausible"):
            if not 0 <= getattr(self, name) <= 1:
                raise SpecError(f"{name} is {getattr(self, name)}; give 0 to 1")

    def to_json(self) -> dict[str, Any]:
        """Return the record as model.json holds it."""
        return {"schema": JUDGING_SCHEMA, **asdict(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Judging":
        """Read `to_json`.

        Raises
        ------
        SpecError
            If it is malformed, or of a newer schema.
        """
        fields = dict(record)
        schema = fields.pop("schema", None)
        if schema != JUDGING_SCHEMA:
            raise SpecError(
                f"judging has schema {schema!r}, this version reads {JUDGING_SCHEMA}; "
                "upgrade neuroscan-edge"
            )
        try:
            return cls(
                float(fields["temperature"]),
                float(fields["least_confidence"]),
                float(fields["plausible"]),
                bool(fields["outliers"]),
                dict(fields["about"] or {}),
                None if fields["quality"] is None else dict(fields["quality"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(f"judging is malformed ({error!r}); copy the bundle again") from error

    def calibrated(self, probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Apply the temperature, (..., C) float32 to the same; the order of classes stays.

        A softmax's logarithm is its logits but for a constant, which the softmax removes again.
        """
        if self.temperature == 1.0:
            return probabilities
        # float64: at a temperature below 1 small probabilities leave float32's range.
        logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / self.temperature
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)

    def findings(
        self, probabilities: npt.NDArray[np.float32], outlier_score: float | None
    ) -> tuple[Finding, ...]:
        """Say why a slice's classification is no answer.

        probabilities : (C,) float32, calibrated.
        """
        found: list[Finding] = []
        if probabilities.max() < self.least_confidence:
            found.append(Finding.LOW_CONFIDENCE)
        if np.count_nonzero(probabilities >= self.plausible) > 1:
            found.append(Finding.AMBIGUOUS)
        # Written so that NaN is out of distribution too.
        if outlier_score is not None and not outlier_score <= OUTLIER_LIMIT:
            found.append(Finding.OUT_OF_DISTRIBUTION)
        return tuple(found)


def decide(findings: tuple[Finding, ...]) -> Decision:
    """Return what becomes of a slice with these findings."""
    if any(finding.rejects for finding in findings):
        return Decision.REJECTED
    return Decision.REFER if findings else Decision.ANSWER
