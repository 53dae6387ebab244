"""A hostile or odd input: how it is made, and what may become of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from neuroscan_edge.spec import Decision

ANSWER, REFER, REJECTED = (str(each) for each in Decision)
ERROR = "error"
OUTCOMES = frozenset({ANSWER, REFER, REJECTED, ERROR})
CLASSIFIED = frozenset({ANSWER, REFER})
REFUSED = frozenset({REJECTED, ERROR})
ANY = OUTCOMES


@dataclass(frozen=True)
class Case:
    """One input of the corpus.

    Parameters
    ----------
    name : str
        What is odd about it.
    make : callable
        Puts the input into an empty folder and returns what to classify.
    allowed : frozenset of str
        Outcomes that every one of its rows may have.
    """

    name: str
    make: Callable[[Path], Path]
    allowed: frozenset[str]


def file_case(
    name: str, suffix: str, data: bytes | Callable[[], bytes], allowed: frozenset[str] = ANY
) -> Case:
    """Make a case of one file's bytes; a callable is called when the case is run."""

    def make(folder: Path) -> Path:
        path = folder / f"scan{suffix}"
        path.write_bytes(data() if callable(data) else data)
        return path

    return Case(name, make, allowed)


def head(side: int = 48) -> np.ndarray:
    """(side, side) uint8, a textured disc on black: what the tiny model takes for a slice."""
    rng = np.random.default_rng(11)
    pixels = np.zeros((side, side), np.float32)
    cv2.circle(pixels, (side // 2, side // 2), int(side * 0.42), 120, -1)
    texture = cv2.GaussianBlur(rng.normal(0, 90, (side, side)).astype(np.float32), (0, 0), 2)
    return np.clip(np.where(pixels > 0, pixels + texture, 0), 0, 255).astype(np.uint8)


HEAD = head()
HEAD_16 = HEAD.astype(np.uint16) * 16
