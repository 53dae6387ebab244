"""Model cards: every figure comes from the inputs."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from neuroscan_edge.errors import BundleError
from neuroscan_edge.model.baseline import Baseline, write_card
from neuroscan_edge.model.bundle import open_bundle, write_files
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.system.files import sha256_file
from support.models_as_told import LABELS, OPTIONS, SPEC, fixed, mistaken
from support.tiny_models import tiny_bundle
from training.cli import app
from training.evaluate.card import add_card, model_card
from training.evaluate.run import EvaluationError, evaluate
from training.evaluate.subjects import Subject
from training.recipe.recipe import ModelRecipe, Recipe, Stage


@pytest.fixture(scope="module")
def baseline(small_data, tmp_path_factory) -> Baseline:
    """A record beside a file that stands for the weights."""
    path = tmp_path_factory.mktemp("baseline") / "small.keras"
    path.write_bytes(b"weights")
    split = load_split(small_data, "training")
    recipe = Recipe(
        name="small",
        stages=(Stage(epochs=3, learning_rate=1e-3), Stage(epochs=7)),
        seed=41,
        model=ModelRecipe(backbone="densenet121", hidden_units=96),
        preprocessing=SPEC,
    )
    made = Baseline(
        path=path,
        name="small",
        sha256=sha256_file(path),
        labels=LABELS,
        preprocessing=SPEC,
        training_data={
            "fingerprint": "f" * 64,
            "split_fingerprint": split.fingerprint,
            "audited": True,
            "counts": {name: count - 1 for name, count in split.counts.items()},
            "held_out": dict.fromkeys(split.labels, 2),
            "unreadable": 4,
        },
        recipe=recipe.to_json(),
        metrics={},
        initial_weights={"source": "none"},
    )
    write_card(made)
    return made


@pytest.fixture(scope="module")
def report(baseline, small_data) -> dict[str, Any]:
    """The baseline errs on two gliomas, its INT8 graph on one of them and a meningioma."""
    subjects = [
        Subject("small keras", LABELS, SPEC, fixed(mistaken(0, 1)), baseline.sha256, None),
        Subject("small int8", LABELS, SPEC, fixed(mistaken(0, 5)), "b" * 64, baseline.sha256),
        Subject("stranger", LABELS, SPEC, fixed(mistaken(9)), "c" * 64, "d" * 64),
    ]
    return evaluate(subjects, small_data, OPTIONS).report


def test_the_card_holds_the_figures_of_its_inputs(baseline, report):
    text = model_card(baseline, report)
    low, high = report["published"]["small keras"]["intervals"]["accuracy"]
    assert f"| 90.0 ({100 * low:.1f} to {100 * high:.1f}) |" in text
    assert "| Glioma | 15 | 2 | 5 | 5 | 4 | 4 |" in text
    for held in (
        baseline.sha256,
        baseline.training_data["fingerprint"],
        report["data"]["testing"]["fingerprint"],
        SPEC.sha256,
        "64 x 64 pixels",
        "backbone densenet121",
        "hidden units 96",
        "seed: 41",
        "of the backbone: random, not pretrained",
        "under two labels; 4 files unreadable and skipped)",
        "Research use only. Not for diagnosis.",
    ):
        assert held in text
    assert "| 1 | 3 | 0.001 |" in text and "| 2 | 7 | 0.0002 |" in text


def test_limits_follow_from_the_figures(baseline, report):
    text = model_card(baseline, report)
    assert "- Published split: 40.0 % of Glioma (2 of 5) is called Meningioma." in text
    assert "- Leak-free part: only 4 images of “No tumour”" in text
    assert "Accuracy is 90.0 % on the published split and 87.5 % on its leak-free part" in text
    assert "mean confidence is 70.0 % where 90.0 % of the decisions are right" in text
    assert "another training split" not in text


def test_a_class_without_leak_free_images_is_named(baseline, report):
    changed = json.loads(json.dumps(report))
    figures = changed["leak_free"]["small keras"]["per_class"]["no_tumor"]
    figures |= {"images": 0, "recall": None, "f1": None, "auroc": None}
    changed["leak_free"]["small keras"]["confusion"][2] = [0, 0, 0, 0]
    text = model_card(baseline, changed)
    assert "- Leak-free part: no image of “No tumour”, so nothing is known" in text
    assert "| No tumour | – | – | – | – |" in text


def test_what_was_made_from_the_baseline_is_shown_with_its_agreement(baseline, report):
    text = model_card(baseline, report)
    assert "## Made from this baseline" in text
    assert "| small int8 | Published split | 90.0 | +0.0 (" in text
    assert "stranger" not in text


def test_agreement_with_another_model_is_not_passed_off_as_the_baselines(baseline, report):
    text = model_card(baseline, {**report, "reference": "stranger"})
    assert "compared with stranger in this evaluation, not with the baseline" in text
    assert "same decision" not in text


def test_another_training_split_is_named(baseline, report):
    changed = json.loads(json.dumps(report))
    changed["data"]["training"]["fingerprint"] = "0" * 64
    assert "found against another training split" in model_card(baseline, changed)


def test_an_evaluation_of_another_baseline_is_refused(baseline, report):
    changed = json.loads(json.dumps(report))
    changed["subjects"]["small keras"]["sha256"] = "e" * 64
    with pytest.raises(EvaluationError, match=f"have SHA-256 {baseline.sha256}: evaluate this"):
        model_card(baseline, changed)


def test_the_command_writes_the_card(baseline, report, tmp_path):
    evaluation, output = tmp_path / "evaluation.json", tmp_path / "card.md"
    evaluation.write_text(json.dumps(report))
    arguments = ["card", baseline.path, "--evaluation", evaluation, "--output", output]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert output.read_text() == model_card(baseline, report)


def test_the_command_names_an_old_record(baseline, tmp_path):
    evaluation = tmp_path / "figures.json"
    evaluation.write_text('{"published": {}}')
    arguments = ["card", baseline.path, "--evaluation", evaluation]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == 1
    assert "evaluate again" in done.output


def test_the_card_goes_into_its_own_bundle_only(baseline, report, tmp_path):
    bundle = tiny_bundle(tmp_path / "tiny")
    text = model_card(baseline, report)
    with pytest.raises(BundleError, match="exported from a baseline with SHA-256 None"):
        add_card(bundle, baseline, text)
    manifest = {**bundle.manifest, "baseline_sha256": baseline.sha256}
    exported = write_files(bundle.folder, manifest, {})
    assert add_card(exported, baseline, text).read("model-card.md").decode() == text
    assert open_bundle(bundle.folder).precisions == bundle.precisions
