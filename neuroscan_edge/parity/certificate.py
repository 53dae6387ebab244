"""Certificates: what was measured of an engine, sealed with its own hash, kept in the bundle.

The seal tells an altered certificate from a whole one. It is no signature: who can write to the
bundle can make another.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from neuroscan_edge.errors import (
    EXIT_CANNOT_CERTIFY,
    EXIT_INCOMPLETE,
    BundleVersionError,
    CertificateError,
    OutputError,
)
from neuroscan_edge.model.bundle import Bundle, write_files
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName

CERTIFICATE_SCHEMA = 1
CERTIFICATES = "certificates"

_SEAL = "certificate_sha256"
_AGAIN = 'certify again with "neuroscan-edge parity"'


class Verdict(str, Enum):
    """What a certificate says."""

    PASSED = "passed"
    FAILED = "failed"
    CANNOT_CERTIFY = "cannot-certify"

    def __str__(self) -> str:
        return str(self.value)

    @property
    def exit_code(self) -> int:
        """0, 1 or 3."""
        codes = {Verdict.PASSED: 0, Verdict.FAILED: EXIT_INCOMPLETE}
        return codes.get(self, EXIT_CANNOT_CERTIFY)


@dataclass(frozen=True, slots=True)
class Subject:
    """What a certificate is of: it holds for exactly this.

    Parameters
    ----------
    model : str
        The bundle's name.
    precision : Precision
        Of the graph.
    runtime : RuntimeName
        What ran it.
    runtime_version : str
        Exactly.
    device : str
        ``cpu`` or ``gpu``.
    architecture : str
        ``x86_64``, ``aarch64``.
    exact_int8 : bool
        Of the processor, see `Machine`: INT8 on x86 has other kernels where it is not.
    graph_sha256, engine_sha256 : str
        Of the bundle's graph and of the file that was loaded; one and the same where the graph is
        run without building an engine.
    baseline_sha256 : str
        Of the ``.keras`` file.
    preprocessing_sha256 : str
        Of the specification.
    labels : tuple of str
        In output order.
    """

    model: str
    precision: Precision
    runtime: RuntimeName
    runtime_version: str
    device: str
    architecture: str
    exact_int8: bool
    graph_sha256: str
    engine_sha256: str
    baseline_sha256: str
    preprocessing_sha256: str
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the subject as it stands in a certificate."""
        return {
            "model": self.model,
            "precision": str(self.precision),
            "runtime": str(self.runtime),
            "runtime_version": self.runtime_version,
            "device": self.device,
            "architecture": self.architecture,
            "exact_int8": self.exact_int8,
            "graph_sha256": self.graph_sha256,
            "engine_sha256": self.engine_sha256,
            "baseline_sha256": self.baseline_sha256,
            "preprocessing_sha256": self.preprocessing_sha256,
            "labels": list(self.labels),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Subject":
        """Read `to_json`; raises KeyError, TypeError or ValueError where it is malformed."""
        values = dict(fields)
        values["precision"] = Precision(values["precision"])
        values["runtime"] = RuntimeName(values["runtime"])
        values["labels"] = tuple(map(str, values["labels"]))
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A sealed certificate; make one with `seal` or `read_certificate`.

    Parameters
    ----------
    verdict : Verdict
        What it says.
    subject : Subject
        Of what.
    document : mapping
        All of it, ready for JSON.
    """

    verdict: Verdict
    subject: Subject
    document: Mapping[str, Any] = field(repr=False)

    @property
    def sha256(self) -> str:
        """Its seal."""
        return str(self.document[_SEAL])

    @property
    def images(self) -> int:
        """How many images it speaks of."""
        return int(self.document["data"]["images"])

    @property
    def part(self) -> str:
        """``whole`` or ``leak-free``."""
        return str(self.document["data"]["part"])

    @property
    def looser(self) -> tuple[str, ...]:
        """Limits of its gate that ask for less than the default."""
        return tuple(self.document["gate"]["looser_than_default"])

    def to_bytes(self) -> bytes:
        """JSON, figures to full precision."""
        return (json.dumps(self.document, indent=1, allow_nan=False) + "\n").encode()


def seal(verdict: Verdict, subject: Subject, about: Mapping[str, Any]) -> Certificate:
    """Make a certificate; `about` is everything else, ready for JSON."""
    document = {
        "schema": CERTIFICATE_SCHEMA,
        "intended_use": RESEARCH_USE,
        "verdict": str(verdict),
        "subject": subject.to_json(),
        **about,
    }
    # Through JSON once: what is hashed is what a reader will find.
    document = json.loads(json.dumps(document, allow_nan=False))
    document[_SEAL] = _digest(document)
    return Certificate(verdict, subject, document)


def read_certificate(data: bytes, name: str = "the certificate") -> Certificate:
    """Read a certificate and check its seal.

    Raises
    ------
    CertificateError
        If it is malformed or altered.
    BundleVersionError
        If its schema is newer than this version reads.
    """
    try:
        document = json.loads(data)
        schema, stated = document["schema"], document[_SEAL]
        if schema > CERTIFICATE_SCHEMA:
            raise BundleVersionError(
                f"{name} has schema {schema}, this version reads up to {CERTIFICATE_SCHEMA}; "
                "upgrade neuroscan-edge"
            )
        found = _digest(document)
        if stated != found:
            raise CertificateError(
                f"{name} states SHA-256 {stated}, its content has {found}: it was altered; {_AGAIN}"
            )
        certificate = Certificate(
            Verdict(document["verdict"]), Subject.from_json(document["subject"]), document
        )
        # What `classify` shows of it.
        _ = certificate.images, certificate.part, certificate.looser
        return certificate
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CertificateError(f"{name} is no certificate ({error!r}); {_AGAIN}") from error


def certificate_name(certificate: Certificate, engine: str | None = None) -> str:
    """Name the file of a certificate within its bundle; `engine` is the engine's folder."""
    subject = certificate.subject
    # What differs in these has a certificate of its own: one must not take the other's place.
    stem = f"{subject.runtime}-{subject.precision}-{subject.device}"
    if subject.precision is Precision.INT8 and subject.device == "cpu":
        stem += f"-{subject.architecture}{'' if subject.exact_int8 else '-no-vnni'}"
    if engine is not None:
        # A name that a manifest may not list would make the bundle unusable.
        stem = "engine-" + re.sub(r"[^A-Za-z0-9_-]", "_", engine)
    part = "" if certificate.part == "whole" else f"-{certificate.part}"
    return f"{CERTIFICATES}/{stem}{part}.json"


def write_into(bundle: Bundle, files: Mapping[str, bytes]) -> Bundle:
    """Add files to a bundle and say so where it cannot be written.

    Raises
    ------
    OutputError
        If it cannot.
    """
    try:
        return write_files(bundle.folder, bundle.manifest, files)
    except OSError as error:
        raise OutputError(
            f"{bundle.folder} cannot be written ({error.strerror}); give --no-store, and --json "
            "for the certificate"
        ) from error


def stored_certificates(bundle: Bundle) -> list[tuple[str, bytes]]:
    """Read a bundle's certificates, verified against its manifest: name and bytes, by name."""
    names = sorted(name for name in bundle.files if name.startswith(f"{CERTIFICATES}/"))
    return [(name, bundle.read(name)) for name in names]


def _digest(document: Mapping[str, Any]) -> str:
    content = {key: value for key, value in document.items() if key != _SEAL}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
