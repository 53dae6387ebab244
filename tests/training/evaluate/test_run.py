"""Evaluation of made-up models on the small data set: figures, names, files."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from neuroscan_edge.classify.pipeline import NonFiniteOutputError
from neuroscan_edge.errors import DatasetError, ExportError, OutputError, UsageError
from neuroscan_edge.model.baseline import Baseline, card_path, read_baseline, write_card
from neuroscan_edge.parity.evaluation.bootstrap import (
    percentile_interval,
    resample,
    stratified_draws,
)
from neuroscan_edge.spec import Precision, Preprocessing
from neuroscan_edge.system.files import sha256_file
from support.models_as_told import LABELS, OPTIONS, SPEC, TRUTH, fixed, mistaken, subject
from support.places import ROOT
from support.tiny_models import tiny_bundle
from training.audit.run import audit_folder
from training.evaluate.report import (
    MAX_THUMBNAILS,
    confidently_wrong,
    summary,
    write_evaluation,
    write_predictions,
)
from training.evaluate.run import (
    Evaluation,
    EvaluationError,
    evaluate,
    predictions_csv,
    read_evaluation,
)
from training.evaluate.subjects import distinguishing_parts, open_subject, open_subjects
from training.report.folder import make_report_folder


@pytest.fixture(scope="module")
def evaluation(small_data) -> Evaluation:
    """Two models: the first errs on one leaked and one other image, the second on two others."""
    models = [
        subject("first", mistaken(4, 5), sha256="1" * 64, baseline_sha256="1" * 64),
        subject("second", mistaken(5, 6), sha256="2" * 64, baseline_sha256="1" * 64),
    ]
    return evaluate(models, small_data, OPTIONS)


def test_both_parts_are_measured(evaluation):
    report = evaluation.report
    assert report["published"]["first"]["images"] == 20
    assert report["leak_free"]["first"]["images"] == 16
    assert report["published"]["first"]["accuracy"] == 18 / 20
    assert report["leak_free"]["first"]["accuracy"] == 15 / 16
    assert report["leak_free"]["second"]["confusion"][1] == [0, 2, 2, 0]
    assert report["groups"]["leak_free"] == dict.fromkeys(LABELS, 4)
    assert report["data"]["testing"]["counts"] == dict.fromkeys(LABELS, 5)
    sums = {name: each["sha256"] for name, each in report["subjects"].items()}
    assert sums == {"first": "1" * 64, "second": "2" * 64}


def test_only_the_others_are_compared_with_the_first(evaluation):
    first, second = (evaluation.report["published"][name] for name in ("first", "second"))
    assert "agreement" not in first
    assert second["agreement"] == 18 / 20
    assert second["accuracy_difference"]["value"] == 0
    assert second["mcnemar"] == {"only_this_right": 1, "only_reference_right": 1, "p_value": 1.0}
    best = evaluation.report["best_by_class"]["leak_free"]["meningioma_tumor"]["recall"]
    assert (best["best"], best["value"], best["lead"]) == ("first", 3 / 4, 1 / 4)


def test_scikit_learns_report_is_kept_for_the_classes_that_occur(evaluation):
    report = evaluation.report["published"]["first"]["classification_report"]
    assert report["glioma_tumor"]["recall"] == 4 / 5
    assert report["accuracy"] == 18 / 20


def test_the_same_evaluation_twice_is_the_same(evaluation, small_data):
    models = [
        subject("first", mistaken(4, 5), sha256="1" * 64, baseline_sha256="1" * 64),
        subject("second", mistaken(5, 6), sha256="2" * 64, baseline_sha256="1" * 64),
    ]
    assert evaluate(models, small_data, OPTIONS).report == evaluation.report


def test_one_model_needs_no_comparison(small_data):
    report = evaluate([subject("alone", TRUTH)], small_data, OPTIONS).report
    assert "best_by_class" not in report
    assert "Compared with" not in summary(report)


def test_each_model_gets_its_own_preprocessing(small_data):
    seen = {}

    def watching(name: str) -> Callable[[np.ndarray], np.ndarray]:
        def predict(batch: np.ndarray) -> np.ndarray:
            seen[name] = batch.shape
            return fixed(TRUTH)(batch)

        return predict

    small = Preprocessing(height=32, width=40, tile_grid=(4, 4))
    models = [
        subject("large", TRUTH, predict=watching("large")),
        subject("small", TRUTH, predict=watching("small"), preprocessing=small),
    ]
    evaluate(models, small_data, OPTIONS)
    assert seen == {"large": (20, 64, 64, 1), "small": (20, 32, 40, 1)}


def test_a_zip_gives_the_figures_of_its_folder(evaluation, small_data, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", small_data.parent, small_data.name)
    zipped = evaluate([subject("first", mistaken(4, 5))], Path(archive), OPTIONS)
    assert zipped.paths == evaluation.paths
    assert zipped.report["data"] == evaluation.report["data"]


def test_intervals_take_near_duplicates_together(small_data, tmp_path):
    shutil.copytree(small_data / "Training", tmp_path / "Training")
    shutil.copytree(small_data / "Training", tmp_path / "Testing")
    # The first, and last its brighter and its plain copy, of the first class.
    decisions = np.repeat(range(4), 18)
    decisions[[0, 16, 17]] = 1
    found = evaluate([subject("a", decisions)], tmp_path, OPTIONS)
    assert found.report["groups"]["published"] == dict.fromkeys(LABELS, 16)
    draws = stratified_draws(found.targets, found.groups, OPTIONS.bootstrap)
    accuracy = resample(draws, found.targets, found.probabilities["a"]).accuracy
    interval = percentile_interval(accuracy, OPTIONS.bootstrap.level)
    assert found.report["published"]["a"]["intervals"]["accuracy"] == interval
    apart = stratified_draws(found.targets, np.arange(72, dtype=np.int32), OPTIONS.bootstrap)
    narrower = resample(apart, found.targets, found.probabilities["a"]).accuracy
    assert accuracy.std() > narrower.std()


def test_an_audit_names_the_leak_free_tests(evaluation, small_data, tmp_path):
    models = [subject("first", mistaken(4, 5), sha256="1" * 64, baseline_sha256="1" * 64)]
    found = audit_folder(small_data, distance=4)
    told = evaluate(models, small_data, replace(OPTIONS, audit=found))
    np.testing.assert_array_equal(told.leak_free, evaluation.leak_free)
    fewer = replace(found, leak_free=found.leak_free[1:])
    left = evaluate(models, small_data, replace(OPTIONS, audit=fewer)).leak_free
    assert left.sum() == evaluation.leak_free.sum() - 1
    path = next((small_data / "Testing").rglob("*.png"))
    changed = Path(shutil.copytree(small_data, tmp_path / "changed"))
    (changed / path.relative_to(small_data)).unlink()
    with pytest.raises(DatasetError, match="files or labels differ"):
        evaluate(models, changed, replace(OPTIONS, audit=found))


def test_tests_that_all_leaked_leave_no_leak_free_part(small_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(small_data / "Training", data / "Training")
    shutil.copytree(small_data / "Training", data / "Testing")
    truth = np.repeat(range(4), 18)
    found = evaluate([subject("a", truth)], data, OPTIONS)
    assert "leak_free" not in found.report
    assert confidently_wrong(found) == []
    write_evaluation(found, tmp_path)
    assert "Leak-free part: 0 images" in (tmp_path / "evaluation.md").read_text()


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "give at least one"),
        ([subject("a", TRUTH), subject("a", TRUTH)], "two models have one name"),
        ([subject("a", TRUTH), subject("b", TRUTH, labels=LABELS[::-1])], "same classes in the"),
    ],
    ids=["none", "one name", "other labels"],
)
def test_what_cannot_be_compared_is_refused(small_data, models, message):
    with pytest.raises(UsageError, match=message):
        evaluate(models, small_data, OPTIONS)


def test_probabilities_that_are_no_numbers_are_refused(small_data):
    broken = subject("broken", TRUTH, predict=lambda batch: np.full((20, 4), np.nan))
    with pytest.raises(NonFiniteOutputError, match="broken"):
        evaluate([broken], small_data, OPTIONS)


def test_models_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folders = [tmp_path / "runs" / name / "tiny" for name in ("monday", "tuesday")]
    for seed, folder in enumerate(folders):
        tiny_bundle(folder, seed)
    first, second = open_subjects(folders, Precision.FP32)
    assert first.name == "tiny onnxruntime fp32 (monday)"
    assert second.name == "tiny onnxruntime fp32 (tuesday)"
    assert first.sha256 != second.sha256
    odd = Path(shutil.copytree(folders[0], tmp_path / "runs" / "\udcff" / "tiny"))
    assert open_subjects([folders[0], odd], Precision.FP32)[1].name.endswith("(?)")
    with pytest.raises(UsageError, match="given more than once"):
        open_subjects([folders[0], folders[0] / ".." / "tiny"], Precision.FP32)


@pytest.mark.parametrize(
    ("paths", "parts"),
    [
        (["/a/one/m.keras", "/a/two/m.keras"], ["one", "two"]),
        (["/runs/m.keras", "/runs/n.keras"], ["m", "n"]),
        (["/a/x/m.keras", "/a/y/m.keras", "/b/x/m.keras"], ["a/x", "a/y", "b/x"]),
        (["/bundles/mine.v1", "/bundles/mine.v2"], ["mine.v1", "mine.v2"]),
    ],
)
def test_the_shortest_part_that_differs_is_found(paths, parts):
    assert distinguishing_parts([Path(path) for path in paths]) == parts


def test_predictions_are_listed_image_by_image(evaluation, tmp_path):
    write_predictions(evaluation, tmp_path / "images.csv")
    text = (tmp_path / "images.csv").read_text()
    assert text == predictions_csv(evaluation)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 2 * 20
    leaked = [row for row in rows if row["path"] == "Testing/glioma_tumor/leaked.jpg"]
    assert [row["model"] for row in leaked] == ["first", "second"]
    assert [row["prediction"] for row in leaked] == ["meningioma_tumor", "glioma_tumor"]
    assert {row["leak_free"] for row in leaked} == {"false"}
    assert leaked[0]["label"] == "glioma_tumor"
    assert float(leaked[0]["probability_meningioma_tumor"]) == pytest.approx(0.7)
    assert sum(row["leak_free"] == "true" for row in rows) == 2 * 16


def test_the_folder_of_the_predictions_is_made(evaluation, tmp_path):
    write_predictions(evaluation, tmp_path / "new" / "images.csv")
    assert (tmp_path / "new" / "images.csv").read_text() == predictions_csv(evaluation)


def test_a_file_name_that_is_no_text_is_written_as_it_is(evaluation, tmp_path):
    odd = replace(evaluation, paths=("Testing/\udcff.png", *evaluation.paths[1:]))
    write_predictions(odd, tmp_path / "images.csv")
    assert b"Testing/\xff.png" in (tmp_path / "images.csv").read_bytes()


def test_the_page_names_a_file_that_is_no_text(evaluation, tmp_path):
    odd = tuple(path.replace(".png", "\udcff.png") for path in evaluation.paths)
    write_evaluation(replace(evaluation, paths=odd), tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert page.count("?.png</figcaption>") == len(confidently_wrong(evaluation))


def test_dollar_signs_in_names_are_no_formulas(small_data, tmp_path):
    labels = (r"a$\bad$b", *LABELS[1:])
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    for split in ("Training", "Testing"):
        (data / split / LABELS[0]).rename(data / split / labels[0])
    models = [subject(r"$\bad$", mistaken(4), labels=labels), subject("b", TRUTH, labels=labels)]
    write_evaluation(evaluate(models, data, OPTIONS), tmp_path)
    assert cv2.imread(str(tmp_path / "recall.png")).std() > 1


def test_a_baseline_trained_from_random_weights_is_marked(small_data, tmp_path):
    made_of = {"baseline_sha256": "b" * 64}
    models = [
        subject("scratch", TRUTH, initial_weights={"source": "none"}, **made_of),
        subject("bundle", TRUTH, **made_of),
        subject("pretrained", TRUTH, initial_weights={"source": "download"}),
        subject("unknown", TRUTH),
    ]
    found = evaluate(models, small_data, OPTIONS)
    sources = {name: each["initial_weights"] for name, each in found.report["subjects"].items()}
    assert sources == {
        **dict.fromkeys(("scratch", "bundle"), {"source": "none"}),
        **{"pretrained": {"source": "download"}, "unknown": None},
    }
    write_evaluation(found, tmp_path)
    for text in (summary(found.report), (tmp_path / "evaluation.html").read_text()):
        marked = set(re.findall(r"(\w+) \(trained from random weights\)", text))
        assert marked == {"scratch", "bundle"}


@pytest.mark.parametrize(("stated", "told"), [({"source": "none"},) * 2, ({}, None)])
def test_a_baselines_subject_says_where_its_weights_came_from(tmp_path, stated, told):
    import keras

    path = tmp_path / "m.keras"
    keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()]).save(path)
    digest = sha256_file(path)
    write_card(Baseline(path, "m", digest, LABELS, SPEC, {}, {}, {}, initial_weights=stated))
    assert open_subject(path).initial_weights == told


def test_a_card_with_initial_weights_of_another_form_is_refused(tmp_path):
    path = tmp_path / "m.keras"
    path.write_bytes(b"weights")
    write_card(Baseline(path, "m", sha256_file(path), LABELS, SPEC, {}, {}, {}))
    card = json.loads(card_path(path).read_text())
    card_path(path).write_text(json.dumps({**card, "initial_weights": "none"}))
    with pytest.raises(ExportError, match="not a baseline card"):
        read_baseline(path)


def test_unreadable_tests_are_listed_with_reasons(small_data, tmp_path):
    data = Path(shutil.copytree(small_data, tmp_path / "data"))
    (data / "Testing" / LABELS[0] / "<i>\udcff.png").write_bytes(b"")
    found = evaluate([subject("a", TRUTH)], data, OPTIONS)
    write_evaluation(found, tmp_path)
    report = read_evaluation(tmp_path / "evaluation.json")
    assert report["unreadable"] == 1
    (listed,) = report["unreadable_files"]
    assert listed["path"] == f"Testing/{LABELS[0]}/<i>?.png" and "0 bytes" in listed["reason"]
    page = (tmp_path / "evaluation.html").read_text()
    assert f"<td>Testing/{LABELS[0]}/&lt;i&gt;?.png</td><td>the file is empty" in page


@pytest.fixture(scope="module")
def written(evaluation, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(evaluation, folder)
    return folder


def test_the_folder_holds_figures_text_page_and_pictures(written, evaluation):
    pictures = {"confusion.png", "reliability.png", "recall.png"}
    names = {path.name for path in written.iterdir()}
    assert names == pictures | {"evaluation.json", "evaluation.md", "evaluation.html"}
    for name in pictures:
        assert cv2.imread(str(written / name)).std() > 1, "it is blank"
    assert read_evaluation(written / "evaluation.json") == json.loads(json.dumps(evaluation.report))
    text = (written / "evaluation.md").read_text()
    assert all(f"]({name})" in text for name in pictures)


def test_the_summary_gives_figures_with_intervals(evaluation):
    text = summary(evaluation.report)
    assert "Leak-free part: 16 images" in text
    assert re.search(r"\| first \| Published split \| 90\.0 \(\d+\.\d to \d+\.\d\) \|", text)
    assert "## Compared with first" in text
    assert "| Leak-free part | Meningioma | 4 | first | 75.0 | +25.0 (" in text


class _Sources(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_loads_nothing_and_runs_nothing(written):
    text = (written / "evaluation.html").read_text()
    found = _Sources()
    found.feed(text)
    assert re.search(r"https?://|url\(|@import", text) is None
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert len(found.sources) == 3 + 2, "three figures and two images gone wrong"
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)


def test_names_are_escaped_on_the_page_and_in_markdown(small_data, tmp_path):
    hostile = "<b onclick=x>|name|</b>"
    models = [subject(hostile, mistaken(0)), subject("plain", TRUTH)]
    found = evaluate(models, small_data, OPTIONS)
    found = replace(found, paths=("<i>.png", *found.paths[1:]))
    write_evaluation(found, tmp_path)
    page = (tmp_path / "evaluation.html").read_text()
    assert "<b onclick" not in page and "<i>" not in page
    assert "&lt;b onclick=x&gt;|name|" in page and "&lt;i&gt;.png" in page
    assert r"| \<b onclick=x\>\|name\|" in (tmp_path / "evaluation.md").read_text()


def test_only_leak_free_mistakes_are_shown_the_surest_first(small_data):
    unsure = subject("unsure", mistaken(4, 5), predict=fixed(mistaken(4, 5), 0.5))
    sure = subject("sure", mistaken(10), predict=fixed(mistaken(10), 0.9))
    found = evaluate([unsure, sure], small_data, OPTIONS)
    assert confidently_wrong(found) == [10, 5]
    assert confidently_wrong(found, limit=1) == [10]
    assert MAX_THUMBNAILS == 24


def test_of_near_duplicates_one_is_shown(evaluation):
    groups = evaluation.groups.copy()
    assert confidently_wrong(evaluation) == [5, 6]
    groups[6] = groups[5]
    assert confidently_wrong(replace(evaluation, groups=groups)) == [5]


def test_a_file_where_the_folder_should_be_is_an_error(tmp_path):
    (tmp_path / "figures.json").write_text("{}")
    with pytest.raises(OutputError, match="another --output"):
        make_report_folder(tmp_path / "figures.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ("[]", "schema None"),
        ('{"published": {}, "leak_free": {}}', "schema None"),
        ('{"schema": 2, "published": {}}', "schema 2"),
        ('{"schema": 1, "published": {}}', "is not an evaluation .* is missing"),
        ("[" * 100_000, "is not JSON"),
    ],
    ids=["none", "cut", "list", "no schema", "schema 2", "bare", "deep"],
)
def test_what_is_no_evaluation_is_refused(tmp_path, content, message):
    path = tmp_path / "evaluation.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(EvaluationError, match=message):
        read_evaluation(path)


def test_an_evaluation_of_an_earlier_version_is_read():
    recorded = ROOT / "benchmarks" / "results" / "xception-tuned-accuracy.json"
    assert read_evaluation(recorded)["reference"] == "xception-tuned keras"


def without(document: dict[str, Any], *keys: str) -> None:
    for key in keys[:-1]:
        document = document[key]
    del document[keys[-1]]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("subjects", "second"), "published names"),
        (("subjects", "first", "sha256"), "subjects.first.sha256 is missing"),
        (("published", "first", "accuracy"), "published.first.accuracy is missing"),
        (("published", "second", "mcnemar"), "mcnemar is missing"),
        (("leak_free", "first", "per_class", "no_tumor"), "leak_free.first.per_class names"),
        (("leak_free", "first", "confusion", 0), "leak_free.first.confusion has not a row"),
        (("groups", "leak_free"), "groups.leak_free names"),
        (("data", "testing"), "data.testing is missing"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_an_evaluation_that_lacks_a_figure_is_refused(written, tmp_path, keys, message):
    report = json.loads((written / "evaluation.json").read_text())
    without(report, *keys)
    (tmp_path / "evaluation.json").write_text(json.dumps(report))
    with pytest.raises(EvaluationError, match=message):
        read_evaluation(tmp_path / "evaluation.json")
