"""Parity: whether an engine decides like the Keras baseline that was validated.

Importing this is light, for `classify` does it; a run is `neuroscan_edge.parity.run`.
"""

from neuroscan_edge.parity.certificate import Certificate, Verdict, read_certificate
from neuroscan_edge.parity.standing import Standing, require_certified, standing

__all__ = [
    "Certificate",
    "Standing",
    "Verdict",
    "read_certificate",
    "require_certified",
    "standing",
]
