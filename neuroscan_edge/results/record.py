"""One record a slice: the decision on it, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.model.judging import decide
from neuroscan_edge.model.labels import tumour_probability
from neuroscan_edge.runtimes.protocol import RuntimeInfo
from neuroscan_edge.scans.scan import DicomUids, Provenance, SeriesFacts
from neuroscan_edge.spec import RESEARCH_USE, Decision, Finding

RESULT_SCHEMA = 2
"""Of the rows; goes up when keys are added or taken away, or change their meaning.

2 added what is known of the series: sequence, sequence_evidence, plane, orientation,
contrast_agent."""

SERIES_KEYS = ("sequence", "sequence_evidence", "plane", "orientation", "contrast_agent")
"""Keys that rows of schema 1 have not."""

Record = Mapping[str, Any]
"""A row as JSON values, of a slice or of a group of slices."""


@dataclass(frozen=True, slots=True)
class Result:
    """The decision on one slice, or why there is none.

    Parameters
    ----------
    provenance : Provenance
        Which slice.
    prediction : str or None
        The most probable class; None on error.
    probabilities : mapping of str to float, or None
        By class, in the model's order; None on error.
    model : str
        The bundle's name.
    info : RuntimeInfo
        What ran it.
    error : str or None
        ``<kind>: <what was found and what to do>``.
    certified : bool or None
        Whether a certificate is of what ran; None where that was not looked up.
    decision : Decision or None
        What becomes of the slice; None on error.
    findings : tuple of Finding
        Why a person must look, or why the slice was not classified.
    outlier_score : float or None
        How far the slice lies from those the model was trained on; None where it was not computed.
    heatmap : str or None
        File name of what was drawn of it; None where nothing was.
    series : SeriesFacts
        What the file says of the slice's series.
    """

    provenance: Provenance
    prediction: str | None
    probabilities: Mapping[str, float] | None
    model: str
    info: RuntimeInfo
    error: str | None
    certified: bool | None = None
    decision: Decision | None = None
    findings: tuple[Finding, ...] = ()
    outlier_score: float | None = None
    heatmap: str | None = None
    series: SeriesFacts = SeriesFacts()

    @classmethod
    def of(
        cls,
        provenance: Provenance,
        bundle: Bundle,
        info: RuntimeInfo,
        probabilities: npt.NDArray[np.float32] | None,
        error: str | None,
        findings: tuple[Finding, ...] = (),
        outlier_score: np.float32 | None = None,
    ) -> "Result":
        """Make a result from a row of probabilities, (classes,) float32, an error or a rejection.

        Probabilities are calibrated here, and the bundle's judging decides. `findings` are those
        of the input.
        """
        if probabilities is None:
            decision = None if error else Decision.REJECTED
            return cls(
                provenance,
                None,
                None,
                bundle.name,
                info,
                error,
                decision=decision,
                findings=findings,
            )
        probabilities = bundle.judging.calibrated(probabilities)
        score = None if outlier_score is None else _shortest(outlier_score)
        findings = (*findings, *bundle.judging.findings(probabilities, score))
        by_class = {
            label: _shortest(value)
            for label, value in zip(bundle.labels, probabilities, strict=True)
        }
        prediction = bundle.labels[int(np.argmax(probabilities))]
        return cls(
            provenance,
            prediction,
            by_class,
            bundle.name,
            info,
            None,
            decision=decide(findings),
            findings=findings,
            outlier_score=score,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record as it is written to JSON lines."""
        uids: DicomUids = self.provenance.uids
        return {
            "path": self.provenance.path,
            "frame": self.provenance.frame,
            "prediction": self.prediction,
            "probabilities": dict(self.probabilities) if self.probabilities is not None else None,
            "decision": None if self.decision is None else str(self.decision),
            "quality": [str(finding) for finding in self.findings],
            "outlier_score": self.outlier_score,
            "model": self.model,
            "precision": str(self.info.precision),
            "runtime": self.info.runtime,
            "engine_sha256": self.info.engine_sha256,
            "certified": self.certified,
            "sop_instance_uid": uids.sop_instance_uid,
            "series_instance_uid": uids.series_instance_uid,
            "study_instance_uid": uids.study_instance_uid,
            "error": self.error,
            "notice": RESEARCH_USE,
            "level": "slice",
            "risk": None if self.probabilities is None else tumour_probability(self.probabilities),
            "schema": RESULT_SCHEMA,
            "heatmap": self.heatmap,
            "sequence": str(self.series.sequence),
            "sequence_evidence": list(self.series.evidence),
            "plane": None if self.series.plane is None else str(self.series.plane),
            "orientation": self.series.orientation,
            "contrast_agent": self.series.contrast_agent,
        }


def as_current(record: Record) -> Record:
    """Return a row of this or an earlier schema as one of this: what it lacks is null."""
    schema = record.get("schema", 1)
    if schema == RESULT_SCHEMA:
        return record
    return {**record, **dict.fromkeys(SERIES_KEYS), "schema": RESULT_SCHEMA}


def _shortest(value: np.float32) -> float:
    """Return the number whose shortest text reads back as the same float32."""
    return float(str(value))
