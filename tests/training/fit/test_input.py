"""Fitting on data with faults, within limits, and to a mean of stages.

Apart from the tests of one finished run: these need none, and go beside them.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.model.baseline import read_baseline
from neuroscan_edge.scans.dataset import load_split
from support.fit_runs import fit_command, history
from training.cli import app
from training.fit.checkpoint import average_weights
from training.fit.memory import MemoryShortageError
from training.fit.model import BackboneWeights, WeightsError, build_classifier
from training.fit.run import FitOptions, fit
from training.recipe.loading import load_recipe

FLOAT32_ROUNDING = 1e-6


@pytest.mark.slow
def test_what_no_stage_can_do_is_said_before_the_first(
    small_data, small_recipe, tmp_path, monkeypatch
):
    recipe = load_recipe(small_recipe)
    options = FitOptions(small_data, tmp_path, BackboneWeights("none"))
    small, large = recipe.stages[0], replace(recipe.stages[1], image_size=1024)
    monkeypatch.setattr("training.fit.memory.available_memory_bytes", lambda: 4 << 30)
    with pytest.raises(MemoryShortageError, match="a batch of 12 needs about"):
        fit(replace(recipe, stages=(small, large)), options)
    unknown = replace(small, trainable="block13_sepconv1_axt")
    with pytest.raises(WeightsError, match="nearest: 'block13_sepconv1_act'"):
        fit(replace(recipe, stages=(small, unknown)), options)
    assert history(tmp_path) == []


@pytest.mark.slow
def test_corrupt_and_conflicting_images_are_left_out_listed_and_counted(
    small_data, small_recipe, tmp_path
):
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    training = data / "Training"
    (training / "glioma_tumor" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\ntorn")
    shutil.copy(training / "no_tumor" / "05.png", training / "glioma_tumor" / "conflict.png")
    recipe = tmp_path / "short.toml"
    text = small_recipe.read_text()
    recipe.write_text(text.replace("epochs = 2", "epochs = 1"))
    run = CliRunner().invoke
    arguments = ["audit", data, "--output", tmp_path / "audit"]
    assert run(app, list(map(str, arguments))).exit_code == 0
    arguments = [
        *("fit", recipe, "--data", data, "--output", tmp_path / "run"),
        *("--backbone-weights", "none", "--audit", tmp_path / "audit" / "audit.json"),
    ]
    done = run(app, list(map(str, arguments)))
    assert done.exit_code == 0, done.output
    assert "1 unreadable files skipped" in done.output
    record = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [each["file"] for each in record["unreadable"]] == ["torn.png"]
    assert str(tmp_path) not in json.dumps(record)
    about = read_baseline(tmp_path / "run" / "small.keras").training_data
    assert about["counts"] == {
        "glioma_tumor": 18,
        "meningioma_tumor": 18,
        "no_tumor": 17,
        "pituitary_tumor": 18,
    }
    assert sum(about["held_out"].values()) == record["images"]["validation"]
    assert (about["audited"], about["unreadable"]) == (True, 1)
    split = load_split(data, "training")
    assert about["split_fingerprint"] == split.fingerprint != about["fingerprint"]


@pytest.mark.slow
def test_a_damaged_state_and_an_unusable_folder_are_named(small_data, small_recipe, tmp_path):
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04torn")
    done = CliRunner().invoke(
        app, fit_command(small_recipe, small_data, tmp_path)[3:], catch_exceptions=False
    )
    assert done.exit_code == 2
    assert "state.npz, the state of an unfinished run, is damaged" in done.output
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(
        app, fit_command(small_recipe, small_data, tmp_path / "file" / "run")[3:]
    )
    assert done.exit_code == 1
    assert "cannot be written" in done.output


@pytest.mark.slow
def test_the_baseline_is_the_mean_of_the_stages_wanted(
    small_data, small_recipe, tmp_path, monkeypatch
):
    # Two runs of several threads differ by chance: all that is compared comes from one.
    averaged = []

    def kept(sets):
        averaged.extend(sets)
        return average_weights(sets)

    monkeypatch.setattr("training.fit.run.average_weights", kept)
    recipe = load_recipe(small_recipe)
    both = replace(recipe, fit=replace(recipe.fit, averaged_stages=(1, 2)))
    path = fit(both, FitOptions(small_data, tmp_path, BackboneWeights("none"))).path
    assert not list(tmp_path.glob("*.npz"))
    model = keras.models.load_model(path, compile=False)
    first, second = averaged
    for name, here, mean, there in zip(
        [weight.path for weight in model.weights], first, model.get_weights(), second, strict=True
    ):
        expected = (here + there) / 2
        if mean.ndim >= 2:
            expected = expected.astype(np.float16).astype(np.float32)
        np.testing.assert_allclose(mean, expected, rtol=FLOAT32_ROUNDING, err_msg=name)
    # The first stage trains the head alone: its backbone is the one that the seed gave.
    keras.utils.set_random_seed(recipe.seed)
    fresh = build_classifier(recipe.model, 4, recipe.preprocessing.shape).get_weights()
    np.testing.assert_array_equal(first[0], fresh[0])
    assert (first[-1] != fresh[-1]).any()
    assert (second[0] != first[0]).any()
