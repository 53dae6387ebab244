"""Whether what is about to run is certified, as the bundle's certificates say."""

import dataclasses
from dataclasses import dataclass

from neuroscan_edge.errors import CertificateError, NeuroScanError
from neuroscan_edge.model.bundle import GRAPHS, Bundle
from neuroscan_edge.parity.certificate import (
    Certificate,
    Subject,
    Verdict,
    read_certificate,
    stored_certificates,
)
from neuroscan_edge.runtimes import Choice
from neuroscan_edge.spec import Precision
from neuroscan_edge.system.machine import Machine, this_machine

_WORDS = {
    "runtime_version": "another version of the runtime",
    "architecture": "another processor architecture",
    "exact_int8": "a processor with other INT8 arithmetic",
    "device": "another kind of device",
    "engine_sha256": "another engine",
    "graph_sha256": "another graph",
    "baseline_sha256": "another baseline",
    "preprocessing_sha256": "another preprocessing",
    "labels": "other labels",
    "model": "another model",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the certificates say of a choice.

    Parameters
    ----------
    certified : bool
        Whether one that passed is of exactly this, and none that failed is.
    reason : str
        In a few words.
    """

    certified: bool
    reason: str

    def __str__(self) -> str:
        return f"{'certified' if self.certified else 'not certified'} ({self.reason})"


def subject_of(bundle: Bundle, choice: Choice, machine: Machine | None = None) -> Subject:
    """Say what a choice is, in a certificate's terms; nothing is loaded."""
    machine = machine or this_machine()
    graph = bundle.files[GRAPHS[choice.precision]].sha256
    on_gpu = choice.cuda or choice.installed.name.on_gpu
    return Subject(
        model=bundle.name,
        precision=choice.precision,
        runtime=choice.installed.name,
        runtime_version=choice.installed.version,
        device="gpu" if on_gpu else "cpu",
        architecture=machine.architecture,
        exact_int8=machine.exact_int8,
        graph_sha256=graph,
        engine_sha256=choice.engine.manifest.engine_sha256 if choice.engine else graph,
        baseline_sha256=str(bundle.manifest.get("baseline_sha256")),
        preprocessing_sha256=bundle.preprocessing.sha256,
        labels=bundle.labels,
    )


def standing(bundle: Bundle, choice: Choice, machine: Machine | None = None) -> Standing:
    """Look for a certificate of what was chosen.

    An altered certificate certifies nothing and is named.
    """
    wanted = subject_of(bundle, choice, machine)
    reasons = []
    found: list[Certificate] = []
    for name, data in stored_certificates(bundle):
        try:
            certificate = read_certificate(data, name)
        except NeuroScanError as error:
            reasons.append(str(error))
            continue
        subject = certificate.subject
        if (subject.precision, subject.runtime) != (wanted.precision, wanted.runtime):
            continue
        differing = _differing(subject, wanted)
        if not differing:
            found.append(certificate)
        else:
            reasons.append(f"{name} is of {', '.join(_WORDS[each] for each in differing)}")
    for verdict in (Verdict.FAILED, Verdict.PASSED, Verdict.CANNOT_CERTIFY):
        for certificate in found:
            if certificate.verdict is verdict:
                return _of(certificate)
    return Standing(False, "; ".join(reasons) or "the bundle holds no certificate of it")


def require_certified(found: Standing) -> None:
    """Refuse what is not certified.

    Raises
    ------
    CertificateError
        If it is not.
    """
    if not found.certified:
        raise CertificateError(
            f"what would run is {found}; certify it with "
            '"neuroscan-edge parity", or leave out --require-certificate'
        )


def _differing(subject: Subject, wanted: Subject) -> list[str]:
    names = [field.name for field in dataclasses.fields(Subject)]
    found = [name for name in names if getattr(subject, name) != getattr(wanted, name)]
    if wanted.precision is not Precision.INT8 or wanted.device == "gpu":
        # Float kernels, and a GPU's, do not depend on it.
        found = [name for name in found if name != "exact_int8"]
    return found


def _of(certificate: Certificate) -> Standing:
    if certificate.verdict is Verdict.PASSED:
        loose = f", under a looser gate: {', '.join(certificate.looser)}"
        return Standing(
            True, f"on {certificate.images} images{loose if certificate.looser else ''}"
        )
    if certificate.verdict is Verdict.FAILED:
        stage = certificate.document.get("first_failing_stage")
        return Standing(False, f"parity failed at the {stage} stage")
    return Standing(False, "parity could not certify it")
