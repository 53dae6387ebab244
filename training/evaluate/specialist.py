"""A second opinion on two classes: asked only where the first network is torn between them."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import UsageError
from neuroscan_edge.model.baseline import Baseline, read_baseline
from neuroscan_edge.model.labels import display_name
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans.dataset import Split, load_split, open_dataset
from training.audit.record import Audit
from training.evaluate.run import Evaluation, EvaluationOptions, evaluate
from training.evaluate.subjects import Subject, open_subject
from training.fit.run import validation_split
from training.recipe.recipe import DataRecipe

Probabilities = npt.NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class SecondOpinion:
    """When the specialist is asked.

    Parameters
    ----------
    pair : tuple of int
        The specialist's classes, as indices into the first network's labels, in its own order.
    margin : float
        It is asked where the pair leads and its two probabilities differ by less than this.
    """

    pair: tuple[int, int]
    margin: float

    def asked(self, first: Probabilities) -> npt.NDArray[np.bool_]:
        """Tell for which slices the specialist decides; first: (N, C). Returns (N,) bool."""
        leading = np.sort(np.argsort(-first, axis=1, kind="stable")[:, :2], axis=1)
        torn = (leading == sorted(self.pair)).all(axis=1)
        return torn & (np.abs(first[:, self.pair[0]] - first[:, self.pair[1]]) < self.margin)

    def combine(self, first: Probabilities, second: Probabilities) -> Probabilities:
        """Share the pair's probability out as the specialist says, where it is asked.

        first : (N, C); second : (N, 2). Returns (N, C); rows keep their sum.
        """
        combined = first.copy()
        asked = self.asked(first)
        pair = list(self.pair)
        mass = first[:, pair].sum(axis=1, keepdims=True)
        combined[np.ix_(asked, pair)] = (mass * second)[asked]
        return combined


def pair_of(labels: Sequence[str], specialist: Sequence[str]) -> tuple[int, int]:
    """Find the specialist's classes among the first network's.

    Raises
    ------
    UsageError
        If it does not have exactly two of them.
    """
    if len(specialist) != 2 or not set(specialist) <= set(labels):
        raise UsageError(
            f"the specialist knows {', '.join(specialist)}; it must know two of "
            f"{', '.join(labels)} (the recipe's data.classes)"
        )
    return labels.index(specialist[0]), labels.index(specialist[1])


def choose_margin(
    pair: tuple[int, int],
    first: Probabilities,
    second: Probabilities,
    targets: npt.NDArray[np.int64],
) -> SecondOpinion:
    """Choose the margin with the most right decisions; of equals the smallest.

    Margin 0 asks nobody, so on these slices the outcome is never worse than the first network
    alone. They must be held out of the training of both: never the test split.
    """
    best, most = SecondOpinion(pair, 0.0), -1
    for margin in np.linspace(0, 1, 51):
        opinion = SecondOpinion(pair, float(margin))
        right = int((opinion.combine(first, second).argmax(axis=1) == targets).sum())
        if right > most:
            best, most = opinion, right
    return best


def with_second_opinion(first: Subject, second: Subject, opinion: SecondOpinion) -> Subject:
    """Make one subject of the two networks; the specialist sees only what it is asked about."""

    def predict(batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        alone = first.predict(batch)
        asked = opinion.asked(alone)
        opinions = np.full((len(batch), 2), 0.5, np.float32)
        if asked.any():
            opinions[asked] = second.predict(batch[asked])
        return opinion.combine(alone, opinions).astype(np.float32)

    return Subject(
        name=f"{first.name} + specialist",
        labels=first.labels,
        preprocessing=first.preprocessing,
        predict=predict,
        sha256=second.sha256,
        baseline_sha256=None,
        initial_weights=first.initial_weights,
    )


def evaluate_second_opinion(
    first: Path, second: Path, data: Path, audit: Audit | None = None
) -> tuple[SecondOpinion, Evaluation]:
    """Choose the margin on the slices both networks held out, and measure with and without.

    Parameters
    ----------
    first, second : Path
        Baselines (``.keras``); the second knows two of the first's classes.
    data : Path
        Data set with both splits, a folder or a zip.
    audit : Audit or None
        The one that both were fitted with.

    Returns
    -------
    SecondOpinion, Evaluation
        The evaluation's report has ``second_opinion``: the margin, the pair, the held-out slices
        on which it was chosen, and for how many slices of each part the specialist was asked.

    Raises
    ------
    UsageError
        If the two differ in preprocessing, or were not fitted on one division of this data.
    """
    cards = [read_baseline(path) for path in (first, second)]
    divisions = [_division(card) for card in cards]
    if divisions[0] != divisions[1] or cards[0].preprocessing != cards[1].preprocessing:
        raise UsageError(
            f"{cards[1].name} was fitted with another preprocessing or division of the data than "
            f"{cards[0].name}: what one held out, the other may have seen; give both recipes one "
            "seed, validation_fraction, duplicate_distance, fold and [preprocessing]"
        )
    recipe, seed = divisions[0]
    pair = pair_of(cards[0].labels, cards[1].labels)
    subjects = [open_subject(path) for path in (first, second)]
    with tempfile.TemporaryDirectory(prefix="neuroscan-") as work:
        root = open_dataset(data, Path(work))
        split = load_split(root, "training", cards[0].labels)
        if audit:
            split = audit.without_conflicts(split)
        for card in cards:
            _require_fitted_on(card, split.only(card.labels))
        images = load_images(split, cards[0].preprocessing)
    _, held_out = validation_split(images, recipe, seed)
    preprocessor = CpuPreprocessor(cards[0].preprocessing)
    batch = np.stack([preprocessor.equalise(images.resized[i]) for i in held_out])[..., None]
    alone, opinions = (subject.predict(batch) for subject in subjects)
    targets = images.targets[held_out]
    opinion = choose_margin(pair, alone, opinions, targets)
    both = with_second_opinion(*subjects, opinion)
    evaluation = evaluate([subjects[0], both], data, EvaluationOptions(audit=audit))
    together = opinion.combine(alone, opinions)
    tests = evaluation.probabilities[subjects[0].name]
    asked = opinion.asked(tests)
    evaluation.report["second_opinion"] = {
        "margin": opinion.margin,
        "pair": list(cards[1].labels),
        "held_out": {
            "images": len(targets),
            "asked": int(opinion.asked(alone).sum()),
            "right_alone": int((alone.argmax(axis=1) == targets).sum()),
            "right_together": int((together.argmax(axis=1) == targets).sum()),
        },
        "asked": {
            "published": int(asked.sum()),
            "leak_free": int(asked[evaluation.leak_free].sum()),
        },
    }
    return opinion, evaluation


def verdict(report: Mapping[str, Any]) -> str:
    """Say in words what asking the specialist did, from an evaluation's report."""
    found = report["second_opinion"]
    held_out, asked = found["held_out"], found["asked"]
    pair = " and ".join(map(display_name, found["pair"]))
    if not found["margin"]:
        return (
            f"The specialist for {pair} is not asked: on the {held_out['images']} slices that both "
            f"networks held out, no margin makes more than the {held_out['right_alone']} decisions "
            "right that the first network makes alone. It does not help."
        )
    return (
        f"The specialist for {pair} is asked where these two lead and their probabilities differ "
        f"by less than {found['margin']:.2f}, which was chosen on the {held_out['images']} slices "
        f"that both networks held out: asked for {held_out['asked']} of them, it raises the right "
        f"decisions from {held_out['right_alone']} to {held_out['right_together']}. It is asked "
        f"for {asked['published']} slices of the published split, {asked['leak_free']} of them "
        "leak-free. It is measured here only: no bundle holds it."
    )


def _require_fitted_on(card: Baseline, split: Split) -> None:
    if card.training_data["fingerprint"] != split.fingerprint:
        raise UsageError(
            f"{card.name} was fitted on other data, or with another audit: what it held out is "
            "not known here; give the data and the audit.json that both baselines were fitted with"
        )


def _division(card: Baseline) -> tuple[DataRecipe, int]:
    data = {**card.recipe["data"], "classes": ()}
    return DataRecipe(**data), card.recipe["seed"]
