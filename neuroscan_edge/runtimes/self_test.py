"""Known answers: what a model must say of some made-up slices before it is let near a real one.

A runtime may compute wrongly without a word (docs/engines.md has a case). So every model that is
opened for use answers probes first, and is refused if it does not say what its bundle says it must.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import NeuroScanError
from neuroscan_edge.model.bundle import KNOWN_ANSWERS, Bundle
from neuroscan_edge.runtimes.protocol import Runtime
from neuroscan_edge.spec import Precision

PROBES = 4
LARGEST_DIFFERENCE = 0.2
"""In probability: more than what integer kernels and float16 differ by from one runtime to another,
see docs/engines.md; far less than what a broken layer does."""


class WrongAnswersError(NeuroScanError):
    """A model computes wrongly here: nothing it says can be trusted."""


def probe_slices(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw heads of a kind: an ellipse with structure and noise, each another; seeded.

    Returns (`PROBES`, height, width, 1) uint8.
    """
    rng = np.random.default_rng(2026)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    probes = []
    for number in range(PROBES):
        inside = (rows / 0.85) ** 2 + (columns / 0.68) ** 2 < 1
        waves = np.cos((4 + 3 * number) * rows + number) * np.cos((5 + 2 * number) * columns)
        spot = np.exp(-((rows - 0.2 * number + 0.3) ** 2 + (columns - 0.2) ** 2) / 0.02)
        grey = 90 + 40 * waves + 120 * spot + rng.normal(0, 6, rows.shape)
        probes.append(np.where(inside, np.clip(grey, 0, 255), 3))
    return np.asarray(np.rint(np.stack(probes))[..., None], np.uint8)


def stated_answers(bundle: Bundle, precision: Precision) -> npt.NDArray[np.float64] | None:
    """Return what a graph must say of the probes, (`PROBES`, C); None if none is stated."""
    stated: Mapping[str, Any] = bundle.manifest.get(KNOWN_ANSWERS) or {}
    rows = stated.get(str(precision))
    return None if rows is None else np.array(rows, np.float64)


def check_answers(runtime: Runtime, bundle: Bundle, streams: int = 1) -> None:
    """Have a model answer the probes.

    Parameters
    ----------
    runtime, bundle
        The model as it is loaded, and what states its answers.
    streams : int
        Each with weights of its own, so that each is asked everything.

    Raises
    ------
    WrongAnswersError
        If an answer differs by more than `LARGEST_DIFFERENCE` from the bundle's.
    """
    expected = stated_answers(bundle, runtime.info.precision)
    if expected is None:
        return
    expected = np.tile(expected, (streams, 1))
    found = runtime(np.tile(probe_slices(*bundle.preprocessing.shape), (streams, 1, 1, 1)))
    difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else np.inf
    # Written so that NaN is wrong too.
    if not difference <= LARGEST_DIFFERENCE:
        info = runtime.info
        raise WrongAnswersError(
            f"{info.runtime} {info.version} computes the {info.precision} graph of {bundle.name} "
            f"wrongly here: probabilities of known slices are off by {difference:.2f}, at most "
            f"{LARGEST_DIFFERENCE} is accepted; run again, or with another --runtime"
        )
