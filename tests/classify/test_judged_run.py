"""Judging in a whole run: calibrated, decided, drawn."""

import json

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.classify.pipeline import NonFiniteOutputError, PipelineOptions, classify_files
from neuroscan_edge.cli.app import app
from neuroscan_edge.model.judging import Judging
from neuroscan_edge.runtimes import RuntimeOptions, open_runtime
from neuroscan_edge.runtimes.protocol import Outputs
from neuroscan_edge.scans import find_scans
from neuroscan_edge.spec import Precision, RuntimeName
from support.judged import judged_bundle
from support.tiny_models import tiny_images

RULES = Judging(1.5, 0.5, 0.3, outliers=True, quality=None)
RUN = RuntimeOptions(Precision.FP32, threads=1, runtime=RuntimeName.ONNXRUNTIME)


@pytest.fixture
def bundle(tmp_path):
    return judged_bundle(tmp_path / "bundle", RULES)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, pixels in enumerate(tiny_images(24, seed=9)[..., 0]):
        cv2.imwrite(str(folder / f"{number:02}.png"), cv2.resize(pixels, (64, 64)))
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64), np.uint8)
    for number, pixels in enumerate(noise):
        cv2.imwrite(str(folder / f"noise{number}.png"), pixels)
    cv2.imwrite(str(folder / "zz-black.png"), np.zeros((64, 64), np.uint8))
    (folder / "zz-broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def classify(folder, bundle, *options):
    arguments = ["classify", folder, "--model", bundle.folder, "--precision", "fp32", *options]
    return CliRunner().invoke(app, [str(each) for each in arguments])


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_what_the_rules_make_of_the_models_outputs(bundle, folder):
    files = find_scans([folder]).files
    with open_runtime(bundle, RUN) as runtime:
        seen: list[np.ndarray] = []

        class Spy:
            info = runtime.info

            def __call__(self, batch):
                return self.outputs(batch).probabilities

            def outputs(self, batch):
                seen.append(batch)
                return runtime.outputs(batch)

        results = list(classify_files(files, bundle, Spy(), PipelineOptions(8, 1)))
        outputs = Outputs.joined([runtime.outputs(batch) for batch in seen])
    classified = [each for each in results if each.probabilities is not None]
    assert len(classified) == 28 and len(results) == 30
    calibrated = RULES.calibrated(outputs.probabilities)
    for result, row, score in zip(classified, calibrated, outputs.outlier_scores, strict=True):
        np.testing.assert_allclose(list(result.probabilities.values()), row, atol=1e-6)
        assert result.outlier_score == pytest.approx(float(score), rel=1e-5)
        assert result.findings == RULES.findings(row, float(score))
        assert str(result.decision) == ("refer" if result.findings else "answer")
    decisions = {str(each.decision) for each in results}
    assert decisions == {"answer", "refer", "rejected", "None"}


def test_noise_is_out_of_distribution_and_a_black_slice_is_rejected(bundle, folder, tmp_path):
    output = tmp_path / "results.jsonl"
    assert classify(folder, bundle, "--output", output).exit_code == 1
    rows = {row["path"].rpartition("/")[2]: row for row in rows_of(output)}
    for number in range(4):
        assert "out_of_distribution" in rows[f"noise{number}.png"]["quality"]
        assert rows[f"noise{number}.png"]["decision"] == "refer"
    assert rows["zz-black.png"]["quality"] == ["blank"]
    assert rows["zz-black.png"]["decision"] == "rejected"
    assert rows["zz-broken.png"]["error"].startswith("corrupt: ")


def test_a_picture_is_drawn_of_each_classified_slice(bundle, folder, tmp_path):
    output, pictures = tmp_path / "results.jsonl", tmp_path / "maps"
    done = classify(folder, bundle, "--output", output, "--heatmaps", pictures)
    assert done.exit_code == 1, done.output
    rows = rows_of(output)
    named = [row["heatmap"] for row in rows]
    assert [name is not None for name in named] == [r["probabilities"] is not None for r in rows]
    assert sorted(filter(None, named)) == sorted(each.name for each in pictures.iterdir())
    for name in filter(None, named):
        picture = cv2.imread(str(pictures / name))
        assert picture.shape == (256 + 44, 512, 3)
    left, right = np.split(cv2.imread(str(pictures / named[0]))[22:-22], 2, axis=1)
    assert np.abs(left.astype(int) - right).max() > 30


def test_pictures_change_no_decision_and_no_probability(bundle, folder, tmp_path):
    plain, drawn = tmp_path / "plain.jsonl", tmp_path / "drawn.jsonl"
    classify(folder, bundle, "--output", plain)
    classify(folder, bundle, "--output", drawn, "--heatmaps", tmp_path / "maps")
    for one, other in zip(rows_of(plain), rows_of(drawn), strict=True):
        assert {**other, "heatmap": None} == one


def test_a_folder_that_cannot_be_made_is_a_clear_error(bundle, folder, tmp_path):
    (tmp_path / "maps").write_bytes(b"")
    done = classify(
        folder, bundle, "--output", tmp_path / "r.jsonl", "--heatmaps", tmp_path / "maps"
    )
    assert done.exit_code == 2
    assert "maps is not a folder" in done.output and not (tmp_path / "r.jsonl").exists()


def test_pictures_of_another_run_are_not_overwritten(bundle, folder, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    classify(folder, bundle, "--output", first, "--heatmaps", tmp_path / "maps")
    done = classify(folder, bundle, "--output", second, "--heatmaps", tmp_path / "maps")
    assert done.exit_code == 2 and "pictures of an earlier run" in done.output
    again = ("--restart", "--output", second, "--heatmaps", tmp_path / "maps")
    assert classify(folder, bundle, *again).exit_code == 1


def test_a_score_that_is_no_number_ends_the_run(bundle, folder):
    class Broken:
        def __init__(self, runtime):
            self.info = runtime.info

        def __call__(self, batch):
            return self.outputs(batch).probabilities

        def outputs(self, batch):
            rows = np.full((len(batch), 4), 0.25, np.float32)
            return Outputs(rows, np.full(len(batch), np.nan, np.float32))

    with open_runtime(bundle, RUN) as runtime, pytest.raises(NonFiniteOutputError, match="outlier"):
        list(classify_files(find_scans([folder]).files, bundle, Broken(runtime)))


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        (("--heatmaps", "maps"), "leave out --heatmaps"),
        (("--sort", "risk"), "leave out --heatmaps"),
        (("--resume",), "leave --resume out"),
    ],
)
def test_a_watched_folder_neither_draws_nor_sorts_and_goes_on_by_itself(tmp_path, option, reason):
    arguments = ["classify", "--watch", tmp_path, "--output", tmp_path / "r.jsonl"]
    done = CliRunner().invoke(app, [str(each) for each in (*arguments, *option)])
    assert done.exit_code == 2 and reason in done.output


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--resume", "--restart"), "give one of them"),
        (("--format", "csv"), "is named as jsonl, --format asks for csv"),
    ],
)
def test_options_that_contradict_each_other_are_refused(bundle, folder, tmp_path, options, reason):
    done = classify(folder, bundle, "--output", tmp_path / "r.jsonl", *options)
    assert done.exit_code == 2 and reason in done.output
