"""Rows of results, made the way runs make them."""

from neuroscan_edge.results import Result
from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.scans import DicomUids, Provenance
from neuroscan_edge.spec import Decision, Finding, Precision

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
INFO = RuntimeInfo("onnxruntime", "1.0", "cpu", Precision.INT8, "ab" * 32)


def row(
    number: int = 0,
    probabilities: tuple[float, ...] | None = (0.1, 0.7, 0.15, 0.05),
    findings: tuple[Finding, ...] = (),
    error: str | None = None,
    series: str | None = None,
    study: str | None = None,
    path: str | None = None,
) -> dict:
    """A slice's row: answered, referred with findings, or without probabilities not classified."""
    by_class = None if probabilities is None else dict(zip(LABELS, probabilities, strict=True))
    decision = Decision.REFER if findings else Decision.ANSWER
    if by_class is None:
        decision = None if error else Decision.REJECTED
    return Result(
        Provenance(path or f"{number:03}.dcm", 0, DicomUids(f"1.2.3.{number}", series, study)),
        None if by_class is None else max(by_class, key=by_class.get),
        by_class,
        "tiny",
        INFO,
        error,
        certified=True,
        decision=decision,
        findings=findings,
    ).to_json()


def with_risk(number: int, risk: float, **options: object) -> dict:
    """A slice whose probability of any tumour is `risk`."""
    return row(number, (risk, 0.0, 1.0 - risk, 0.0), **options)
