"""Models that answer the small data set's twenty test images as they are told."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from neuroscan_edge.parity.evaluation.bootstrap import Bootstrap
from neuroscan_edge.spec import Preprocessing
from training.evaluate.run import EvaluationOptions
from training.evaluate.subjects import Subject

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)
OPTIONS = EvaluationOptions(bootstrap=Bootstrap(resamples=100))
TRUTH = np.repeat(range(4), 5)
"""Of each class four images and, last, the leaked one."""


def fixed(decisions: Sequence[int], confidence: float = 0.7) -> Callable[[np.ndarray], np.ndarray]:
    """Answer the test images, in order, with these decisions."""
    probabilities = np.full((len(decisions), 4), (1 - confidence) / 3, np.float32)
    probabilities[np.arange(len(decisions)), decisions] = confidence
    return lambda batch: probabilities


def subject(name: str, decisions: Sequence[int], **changes: object) -> Subject:
    made = Subject(name, LABELS, SPEC, fixed(decisions), "a" * 64, None)
    return replace(made, **changes)


def mistaken(*places: int) -> list[int]:
    """The truth, but for these places, which are called the next class."""
    return [(int(label) + (index in places)) % 4 for index, label in enumerate(TRUTH)]
