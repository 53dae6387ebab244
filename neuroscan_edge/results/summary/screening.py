"""The operating point that a summary holds its slices against, from a certificate."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import BundleError, CertificateError, NeuroScanError, UsageError
from neuroscan_edge.model.bundle import find_bundle, open_bundle
from neuroscan_edge.parity.certificate import Certificate, read_certificate, stored_certificates
from neuroscan_edge.parity.evaluation.operating_point import (
    OperatingPoint,
    Scores,
    has_scores,
    operating_point,
    scores_of,
)
from neuroscan_edge.results.summary.counts import Tally

MadeBy = tuple[str, str, str, str]

_LARGEST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Screening:
    """An operating point, or why there is none.

    Parameters
    ----------
    point : OperatingPoint or None
        The threshold and what it does.
    scores : Scores or None
        What it was chosen on.
    engine_sha256 : str or None
        The engine that it holds for.
    source : str
        The certificate's name, or the reason.
    """

    point: OperatingPoint | None
    scores: Scores | None
    engine_sha256: str | None
    source: str

    def to_json(self, tally: Tally) -> dict[str, Any]:
        """Return the point, and how many slices are suspicious by it, ready for JSON."""
        if self.point is None:
            return {"available": False, "reason": self.source}
        return {
            "available": True,
            "certificate": self.source,
            "engine_sha256": self.engine_sha256,
            **self.point.to_json(),
            "results": {
                "judged": tally.judged,
                "suspicious": tally.suspicious,
                "share": tally.suspicious / tally.judged if tally.judged else None,
            },
        }


def screen(made_by: MadeBy, certificate: Path | None, sensitivity: float) -> Screening:
    """Choose the operating point of the engine that made the rows.

    Parameters
    ----------
    made_by : (model, precision, runtime, engine_sha256)
        As rows state it.
    certificate : Path or None
        The one to take; None looks for one in the bundle of that name.
    sensitivity : float
        To keep.

    Raises
    ------
    CertificateError
        If the certificate that was given cannot be read, or is of another engine.
    UsageError
        If it speaks of too few images.
    SpecError
        If the sensitivity is out of range.
    """
    if certificate is not None:
        given = _read(certificate)
        if given.subject.engine_sha256 != made_by[3]:
            raise CertificateError(
                f"{certificate} is of the engine {given.subject.engine_sha256}, the results are of "
                f"{made_by[3]}: a threshold holds for its own engine; give that one's certificate"
            )
        return _screening(given, certificate.name, sensitivity)
    try:
        name, found = _look_up(made_by)
        return _screening(found, name, sensitivity)
    except (BundleError, CertificateError, UsageError) as error:
        return Screening(None, None, None, str(error))


def _screening(certificate: Certificate, name: str, sensitivity: float) -> Screening:
    scores = scores_of(certificate.document)
    point = operating_point(scores, sensitivity)
    return Screening(point, scores, certificate.subject.engine_sha256, name)


def _look_up(made_by: MadeBy) -> tuple[str, Certificate]:
    model, precision, runtime, engine_sha256 = made_by
    # A name from a file of results: it must not lead to a folder elsewhere.
    if not re.fullmatch(r"\w[\w.-]*", model):
        raise CertificateError(
            "the results name a model that is no bundle's name; give one: --certificate FILE"
        )
    bundle = open_bundle(find_bundle(model))
    found = []
    for name, data in stored_certificates(bundle):
        try:
            certificate = read_certificate(data, name)
        except NeuroScanError:
            # An altered one says nothing; classify names it.
            continue
        subject = certificate.subject
        if (
            certificate.part == "whole"
            and subject.engine_sha256 == engine_sha256
            and (str(subject.precision), str(subject.runtime)) == (precision, runtime)
        ):
            found.append((name, certificate))
    # One may be older than the scores that another of the same engine holds.
    found.sort(key=lambda each: not has_scores(each[1].document))
    if found:
        return found[0]
    raise CertificateError(
        f"the bundle {model} holds no certificate of the engine that made these results; give one: "
        "--certificate FILE"
    )


def _read(path: Path) -> Certificate:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise CertificateError(f"{path} is too large for a certificate; give another file")
        return read_certificate(path.read_bytes(), str(path))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read ({error.strerror})") from error
