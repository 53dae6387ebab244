"""What the Keras baseline answered, kept in the bundle so that parity needs no TensorFlow.

Keyed by the SHA-256 of each image file: no image, no name and no label is in it. Beside each answer
stands the hash of the very bytes that the model was given, so a preprocessing that gives others is
found out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import BundleVersionError, ParityError
from neuroscan_edge.model.bundle import Bundle
from neuroscan_edge.spec import RESEARCH_USE

PREDICTIONS = "baseline-predictions.json"
PREDICTIONS_SCHEMA = 1
SUM_TOLERANCE = 1e-3
"""Largest distance of a row's sum from 1. A quantised softmax is off by 0.008, float16 by less."""

FloatRows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Answer:
    """The baseline's answer to one image.

    Parameters
    ----------
    input_sha256 : str
        Of the preprocessed bytes, (H, W) uint8 in C order.
    probabilities : tuple of float
        In the order of the baseline's labels; each is a float32.
    """

    input_sha256: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BaselinePredictions:
    """Answers of one baseline.

    Parameters
    ----------
    baseline_sha256 : str
        Of the ``.keras`` file.
    preprocessing_sha256 : str
        Of the specification the images went through.
    labels : tuple of str
        In the order of the probabilities.
    answers : mapping of str to Answer
        By the SHA-256 of the image file.
    """

    baseline_sha256: str
    preprocessing_sha256: str
    labels: tuple[str, ...]
    answers: Mapping[str, Answer]

    def to_bytes(self) -> bytes:
        """Deterministic JSON, an image a line."""
        head = {
            "schema": PREDICTIONS_SCHEMA,
            "intended_use": RESEARCH_USE,
            "baseline_sha256": self.baseline_sha256,
            "preprocessing_sha256": self.preprocessing_sha256,
            "labels": list(self.labels),
        }
        lines = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps([each.input_sha256, *each.probabilities])}"
            for key, each in sorted(self.answers.items())
        )
        opening = json.dumps(head, indent=1).removesuffix("\n}")
        return f'{opening},\n "answers": {{\n{lines}\n }}\n}}\n'.encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "BaselinePredictions":
        """Read `to_bytes`.

        Raises
        ------
        ParityError
            If it is malformed, or an answer is no distribution of probabilities.
        BundleVersionError
            If its schema is newer than this version reads.
        """
        try:
            document = json.loads(data)
            if document["schema"] > PREDICTIONS_SCHEMA:
                raise BundleVersionError(
                    f"{PREDICTIONS} has schema {document['schema']}, this version reads up to "
                    f"{PREDICTIONS_SCHEMA}; upgrade neuroscan-edge"
                )
            labels = tuple(map(str, document["labels"]))
            answers = {key: _answer(row, len(labels)) for key, row in document["answers"].items()}
            return cls(
                document["baseline_sha256"], document["preprocessing_sha256"], labels, answers
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ParityError(
                f"{PREDICTIONS} is malformed ({error!r}); make it again with "
                '"neuroscan-edge parity --baseline MODEL.keras"'
            ) from error

    def rows(self, images: Sequence[str], labels: Sequence[str]) -> FloatRows:
        """Return the answers to images, (N, C) float32, in the order of `labels`."""
        order = [self.labels.index(label) for label in labels]
        found = [self.answers[image].probabilities for image in images]
        return np.array(found, np.float32).reshape(-1, len(self.labels))[:, order]

    def merged(self, other: "BaselinePredictions | None") -> "BaselinePredictions":
        """Add the answers of an older record of the same baseline, preprocessing and labels."""
        if other is None or not self._same_kind(other):
            return self
        answers = {**other.answers, **self.answers}
        return BaselinePredictions(
            self.baseline_sha256, self.preprocessing_sha256, self.labels, answers
        )

    def _same_kind(self, other: "BaselinePredictions") -> bool:
        mine = (self.baseline_sha256, self.preprocessing_sha256, self.labels)
        return mine == (other.baseline_sha256, other.preprocessing_sha256, other.labels)


def record_predictions(
    baseline_sha256: str,
    preprocessing_sha256: str,
    labels: Sequence[str],
    images: Sequence[str],
    batch: npt.NDArray[np.uint8],
    probabilities: FloatRows,
) -> BaselinePredictions:
    """Record what a baseline answered.

    images : N hashes of files; batch : (N, H, W, 1) uint8, as given to the model;
    probabilities : (N, C) float32.
    """
    answers = {
        image: Answer(input_sha256(pixels), tuple(float(str(value)) for value in row))
        for image, pixels, row in zip(images, batch, probabilities, strict=True)
    }
    return BaselinePredictions(baseline_sha256, preprocessing_sha256, tuple(labels), answers)


def input_sha256(pixels: npt.NDArray[np.uint8]) -> str:
    """Hash preprocessed pixels, (H, W) or (H, W, 1) uint8."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def read_predictions(bundle: Bundle) -> BaselinePredictions | None:
    """Read the answers that a bundle carries; None if it carries none."""
    if PREDICTIONS not in bundle.files:
        return None
    return BaselinePredictions.from_bytes(bundle.read(PREDICTIONS))


def faults_of_probabilities(rows: npt.NDArray[np.floating]) -> list[str]:
    """Say what makes rows (N, C) no probabilities; empty where they are."""
    finite = np.isfinite(rows).all(axis=1)
    found = []
    if not finite.all():
        found.append(f"{int((~finite).sum())} of {len(rows)} outputs are not finite numbers")
    rest = rows[finite].astype(np.float64)
    if len(rest):
        outside = (rest < -SUM_TOLERANCE) | (rest > 1 + SUM_TOLERANCE)
        away = np.abs(rest.sum(axis=1) - 1)
        wrong = outside.any(axis=1) | (away > SUM_TOLERANCE)
        if wrong.any():
            found.append(
                f"{int(wrong.sum())} of {len(rows)} outputs are not normalised: sums are up to "
                f"{away.max():.3g} away from 1"
            )
    return found


def _answer(row: Any, classes: int) -> Answer:
    digest, *values = row
    probabilities = tuple(float(value) for value in values)
    if len(probabilities) != classes or not isinstance(digest, str):
        raise ValueError(f"an answer of {len(probabilities)} probabilities for {classes} classes")
    faults = faults_of_probabilities(np.array([probabilities]))
    if faults:
        raise ValueError(faults[0])
    return Answer(digest, probabilities)
