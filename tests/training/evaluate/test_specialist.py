"""The second stage: asked where it should be, and never worse where its margin was chosen."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.errors import UsageError
from neuroscan_edge.model.baseline import read_baseline
from support.models_as_told import subject
from training.cli import app
from training.evaluate.specialist import (
    SecondOpinion,
    choose_margin,
    evaluate_second_opinion,
    pair_of,
    verdict,
    with_second_opinion,
)
from training.fit.model import BackboneWeights
from training.fit.run import FitOptions, fit
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
FIRST = np.array(
    [
        [0.45, 0.40, 0.10, 0.05],  # torn between the pair
        [0.80, 0.15, 0.03, 0.02],  # sure
        [0.45, 0.05, 0.40, 0.10],  # torn, but with another class
        [0.30, 0.38, 0.30, 0.02],  # the pair leads, tied with a third class: by index
    ]
)
SECOND = np.array([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9], [0.8, 0.2]])


def test_it_is_asked_only_where_the_pair_leads_and_is_close():
    opinion = SecondOpinion((0, 1), 0.2)
    assert opinion.asked(FIRST).tolist() == [True, False, False, True]
    assert not SecondOpinion((0, 1), 0.0).asked(FIRST).any()
    assert SecondOpinion((1, 0), 0.2).asked(FIRST).tolist() == [True, False, False, True]


def test_the_pair_shares_its_own_probability():
    combined = SecondOpinion((0, 1), 0.2).combine(FIRST, SECOND)
    np.testing.assert_allclose(combined[0], [0.085, 0.765, 0.10, 0.05])
    np.testing.assert_array_equal(combined[1:3], FIRST[1:3])
    np.testing.assert_allclose(combined.sum(axis=1), FIRST.sum(axis=1))
    turned = SecondOpinion((1, 0), 0.2).combine(FIRST, SECOND[:, ::-1])
    np.testing.assert_allclose(turned, combined)


def test_the_margin_is_the_smallest_that_helps_most():
    opinion = choose_margin((0, 1), FIRST, SECOND, np.array([1, 0, 2, 0]))
    # Row 0 needs more than 0.05, row 3 more than 0.08; row 1 would be spoilt beyond 0.65.
    assert opinion.margin == pytest.approx(0.1)


def test_a_specialist_that_only_harms_is_not_asked():
    opinion = choose_margin((0, 1), FIRST, 1 - SECOND, np.array([0, 0, 0, 1]))
    assert opinion.margin == 0
    np.testing.assert_array_equal(opinion.combine(FIRST, SECOND), FIRST)


def test_a_specialist_of_other_classes_is_refused():
    assert pair_of(LABELS, ("meningioma_tumor", "glioma_tumor")) == (1, 0)
    for wrong in (("glioma_tumor", "lymphoma"), LABELS):
        with pytest.raises(UsageError, match="two of"):
            pair_of(LABELS, wrong)


def test_the_specialist_sees_only_what_it_is_asked_about():
    seen = []

    def second(batch: np.ndarray) -> np.ndarray:
        seen.append(batch.copy())
        return SECOND[batch.reshape(-1)].astype(np.float32)

    first = subject("first", [], predict=lambda batch: FIRST[batch.reshape(-1)])
    two = subject("second", [], labels=LABELS[:2], predict=second, sha256="b" * 64)
    both = with_second_opinion(first, two, SecondOpinion((0, 1), 0.2))
    assert both.name == "first + specialist"
    batch = np.arange(4).reshape(4, 1, 1, 1)
    expected = SecondOpinion((0, 1), 0.2).combine(FIRST, SECOND)
    np.testing.assert_allclose(both.predict(batch), expected, atol=1e-6)
    assert [each.reshape(-1).tolist() for each in seen] == [[0, 3]]
    both.predict(batch[1:3])
    assert len(seen) == 1


@pytest.fixture(scope="module")
def baselines(small_data, small_recipe, tmp_path_factory) -> list[Path]:
    """A network of four classes and one of two, fitted on one division."""
    folder = tmp_path_factory.mktemp("specialist")
    recipe = load_recipe(small_recipe)
    recipe = replace(recipe, stages=recipe.stages[:1], augmentation=Augmentation())
    second = replace(recipe, name="pair", data=replace(recipe.data, classes=LABELS[:2]))
    weights = BackboneWeights("none")
    return [
        fit(each, FitOptions(small_data, folder / each.name, weights)).path
        for each in (recipe, second)
    ]


@pytest.mark.slow
def test_the_report_says_what_asking_did(baselines, small_data, tmp_path):
    arguments = ["specialist", *baselines, "--data", small_data, "--output", tmp_path]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "evaluation.json").read_text())
    found = report["second_opinion"]
    assert found["pair"] == list(LABELS[:2])
    held_out = found["held_out"]
    assert held_out["right_together"] >= held_out["right_alone"]
    assert held_out["images"] == read_baseline(baselines[0]).metrics["validation"]["images"]
    said = verdict(report)
    assert said in (tmp_path / "evaluation.md").read_text()
    assert said in done.output
    assert ("does not help" in said) is (found["margin"] == 0)


@pytest.mark.slow
def test_networks_of_other_data_are_refused(baselines, small_data, tmp_path):
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    (data / "Training" / "glioma_tumor" / "03.png").unlink()
    with pytest.raises(UsageError, match="fitted on other data, or with another audit"):
        evaluate_second_opinion(*baselines, data)


def test_a_specialist_that_is_never_asked_is_said_not_to_help():
    held_out = {"images": 40, "asked": 0, "right_alone": 31, "right_together": 31}
    found = {
        "margin": 0.0,
        "pair": list(LABELS[:2]),
        "held_out": held_out,
        "asked": {"published": 0, "leak_free": 0},
    }
    said = verdict({"second_opinion": found})
    assert "no margin makes more than the 31 decisions" in said
    assert "does not help" in said
