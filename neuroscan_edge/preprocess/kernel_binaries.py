"""The shipped kernel binaries: which fit a GPU, and their verified bytes."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from neuroscan_edge.errors import KernelNotAvailableError

KERNELS = Path(__file__).parent / "kernels"
SOURCE = "resize_clahe.cu"
MANIFEST = "manifest.json"
SCHEMA = 1

# Modules with a GPU on the processor's die run no code of discrete GPUs, nor the other way round.
_EMBEDDED_ALONE = {(8, 7)}


@dataclass(frozen=True, slots=True)
class KernelBinary:
    """One file of kernels.

    Parameters
    ----------
    name : str
        Of the file.
    form : str
        ``cubin``, machine code for one family of GPUs, or ``ptx``, which the driver compiles.
    compute_capability : tuple of int
        That it was built for, (major, minor).
    sha256 : str
        Of its bytes.
    """

    name: str
    form: str
    compute_capability: tuple[int, int]
    sha256: str

    def runs_on(self, gpu: tuple[int, int]) -> bool:
        """Whether a GPU of that compute capability should take it."""
        own = self.compute_capability
        if self.form == "ptx" or own == gpu:
            return own <= gpu
        return own[0] == gpu[0] and own < gpu and own not in _EMBEDDED_ALONE


def shipped_binaries(folder: Path = KERNELS) -> tuple[KernelBinary, ...]:
    """List what is shipped.

    Raises
    ------
    KernelNotAvailableError
        If there is no readable manifest.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        if manifest["schema"] != SCHEMA:
            raise ValueError(f"schema {manifest['schema']}")
        return tuple(
            KernelBinary(
                each["name"], each["form"], _capability(each["compute_capability"]), each["sha256"]
            )
            for each in manifest["binaries"]
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KernelNotAvailableError(
            f"{folder / MANIFEST} is no manifest of kernels ({error}); install neuroscan-edge again"
        ) from error


def fitting_binaries(gpu: tuple[int, int], folder: Path = KERNELS) -> list[tuple[str, bytes]]:
    """Read what a GPU should take, the best first: its own cubin, a near one, PTX.

    Parameters
    ----------
    gpu : tuple of int
        Its compute capability, (major, minor).

    Returns
    -------
    list of (name, bytes)
        Empty if nothing fits.

    Raises
    ------
    KernelNotAvailableError
        If a file is missing or its bytes are not those of the manifest.
    """
    fitting = [each for each in shipped_binaries(folder) if each.runs_on(gpu)]
    fitting.sort(key=lambda each: (each.form == "cubin", each.compute_capability), reverse=True)
    return [(each.name, _read(folder, each)) for each in fitting]


def _read(folder: Path, binary: KernelBinary) -> bytes:
    try:
        data = (folder / binary.name).read_bytes()
    except OSError as error:
        raise KernelNotAvailableError(
            f"{binary.name} is missing ({error.strerror}); install neuroscan-edge again"
        ) from error
    found = hashlib.sha256(data).hexdigest()
    # It is code that will run: these very bytes are handed on.
    if found != binary.sha256:
        raise KernelNotAvailableError(
            f"{binary.name} has SHA-256 {found}, its manifest states {binary.sha256}: it was "
            "altered or damaged; install neuroscan-edge again"
        )
    return data


def _capability(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
