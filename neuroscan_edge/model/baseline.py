"""The Keras baseline on disk: ``NAME.keras`` and, beside it, the card ``NAME.json``.

The card says what the weights alone cannot: the labels in order, the preprocessing, the data and
the recipe. Export refuses a model without one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neuroscan_edge.errors import BundleIntegrityError, BundleVersionError, ExportError
from neuroscan_edge.spec import RESEARCH_USE, Preprocessing
from neuroscan_edge.system.files import sha256_file, write_whole

CARD_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """A trained Keras model and what is known of it.

    Parameters
    ----------
    path : Path
        The ``.keras`` file.
    name : str
        The model's name.
    sha256 : str
        Of the ``.keras`` file.
    labels : tuple of str
        Class names in the order of the model's outputs.
    preprocessing : Preprocessing
        What turns a slice into the model's input.
    training_data : mapping
        ``fingerprint`` (SHA-256) of the images used; ``split_fingerprint`` of the whole training
        split they are from; ``audited``, whether images under two labels were left out;
        ``counts`` by class of the readable ones and, of those, ``held_out`` for validation;
        ``unreadable``, how many files were skipped.
    recipe : mapping
        The training recipe in full.
    metrics : mapping
        Figures measured on these very weights.
    initial_weights : mapping
        Where the backbone's weights came from: ``source`` and, of a file, its ``sha256``.
    """

    path: Path
    name: str
    sha256: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    training_data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    initial_weights: Mapping[str, Any] = field(default_factory=dict)


def card_path(model: Path) -> Path:
    """Where the card of a ``.keras`` file stands."""
    return model.with_suffix(".json")


def write_card(baseline: Baseline) -> None:
    """Write the card beside the model."""
    card = {
        "schema": CARD_SCHEMA,
        "intended_use": RESEARCH_USE,
        "name": baseline.name,
        "sha256": baseline.sha256,
        "labels": list(baseline.labels),
        "preprocessing": baseline.preprocessing.to_json(),
        "training_data": dict(baseline.training_data),
        "initial_weights": dict(baseline.initial_weights),
        "metrics": dict(baseline.metrics),
        "recipe": dict(baseline.recipe),
    }
    write_whole(card_path(baseline.path), (json.dumps(card, indent=2) + "\n").encode())


def read_baseline(path: Path) -> Baseline:
    """Read a baseline's card and check that it belongs to the weights.

    Raises
    ------
    ExportError
        If the model or its card is missing or malformed.
    BundleVersionError
        If the card's schema is newer than this version reads.
    BundleIntegrityError
        If the weights are not those the card describes.
    """
    card_file = card_path(path)
    for needed in (path, card_file):
        if not needed.is_file():
            raise ExportError(
                f"{needed} does not exist; a baseline is NAME.keras with its card NAME.json, "
                "as 'python -m training fit' writes them"
            )
    try:
        card = json.loads(card_file.read_text(encoding="utf-8"))
        schema = card["schema"]
        if schema > CARD_SCHEMA:
            raise BundleVersionError(
                f"{card_file} has schema {schema}, this version reads up to {CARD_SCHEMA}; "
                "upgrade neuroscan-edge"
            )
        baseline = Baseline(
            path=path,
            name=card["name"],
            sha256=card["sha256"],
            labels=tuple(card["labels"]),
            preprocessing=Preprocessing.from_json(card["preprocessing"]),
            training_data=card["training_data"],
            recipe=card["recipe"],
            metrics=card["metrics"],
            initial_weights=dict(card.get("initial_weights", {})),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ExportError(f"{card_file} is not a baseline card: {error!r}") from error
    found = sha256_file(path)
    if found != baseline.sha256:
        raise BundleIntegrityError(
            f"{path} has SHA-256 {found}, its card names {baseline.sha256}; "
            "restore the pair that was written together"
        )
    return baseline
