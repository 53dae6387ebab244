"""``neuroscan-edge summarize`` from results to page."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.parity.certificate import Subject, Verdict, certificate_name, seal, write_into
from neuroscan_edge.parity.evaluation.operating_point import Scores
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName
from neuroscan_edge.system.machine import this_machine
from support.dicom_slices import dicom_slice
from support.result_rows import LABELS, row, with_risk

ABOUT = ("data", "gate", "screening")


def neuroscan_edge(*arguments: object):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.jsonl"
    rng = np.random.default_rng(0)
    rows = [row(n, tuple(map(float, rng.dirichlet([1] * 4)))) for n in range(40)]
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def certificate(engine: str = "ab" * 32, images: int = 100, part: str = "whole"):
    rng = np.random.default_rng(1)
    risks = np.concatenate([rng.beta(4, 1, images), rng.beta(1, 4, images)])
    truth = np.concatenate([np.zeros(images), np.full(images, LABELS.index("no_tumor"))])
    scores = Scores(risks, truth.astype(np.int64), np.arange(2 * images), LABELS, part)
    subject = Subject(
        "tiny",
        Precision.INT8,
        RuntimeName.ONNXRUNTIME,
        "1.0",
        "cpu",
        this_machine().architecture,
        True,
        engine,
        engine,
        "5a" * 32,
        "6b" * 32,
        LABELS,
    )
    about = {
        "data": {"images": 2 * images, "part": part},
        "gate": {"looser_than_default": []},
        "screening": scores.to_json(),
    }
    return seal(Verdict.PASSED, subject, about)


@pytest.fixture
def given(tmp_path):
    path = tmp_path / "certificate.json"
    path.write_bytes(certificate().to_bytes())
    return path


def test_from_scans_to_page(bundle, tmp_path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for number in range(24):
        identity = {"PatientID": str(number), "PatientSex": "FM"[number % 2]}
        uids = {"SeriesInstanceUID": f"1.2.{number // 4}", "StudyInstanceUID": "1.3"}
        (scans / f"{number:02}.dcm").write_bytes(
            dicom_slice(number, PatientAge=f"0{20 + number}Y", **identity, **uids)
        )
    results, html, figures = (tmp_path / name for name in ("r.jsonl", "p.html", "f.json"))
    made = neuroscan_edge(
        "classify", scans, "--model", bundle.folder, "--output", results, "--group", "study"
    )
    assert made.exit_code == 0, made.output
    done = neuroscan_edge("summarize", results, "--demographics", "--html", html, "--json", figures)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(RESEARCH_USE)
    assert "24 slices" in done.output and "6 rows of series" in done.output
    assert "by sex" in done.output and "no operating point" in done.output
    found = json.loads(figures.read_text())
    assert found["slices"] == sum(each["slices"] for each in found["by_class"].values()) == 24
    assert found["groups"]["study"]["rows"] == 1
    assert found["demographics"]["missing_files"] == 0
    assert found["screening"]["available"] is False
    page = html.read_text()
    assert RESEARCH_USE in page and "<svg" in page
    assert not re.search(r'(src|href)="(?!data:)', page), "nothing to load"
    assert str(tmp_path) not in page


def test_the_operating_point_and_the_slices_above_it(tmp_path, given):
    results, figures = tmp_path / "r.jsonl", tmp_path / "f.json"
    rows = [with_risk(number, number / 100) for number in range(100)]
    results.write_text("".join(json.dumps(each) + "\n" for each in rows))
    done = neuroscan_edge(
        "summarize", results, "--certificate", given, "--sensitivity", 0.9, "--json", figures
    )
    assert done.exit_code == 0, done.output
    found = json.loads(figures.read_text())["screening"]
    threshold = found["threshold"]
    assert found["same_images"]["sensitivity"]["count"] == 90
    assert found["results"]["suspicious"] == sum(each["risk"] >= threshold for each in rows)
    assert found["results"]["judged"] == 100
    assert "held out" in done.output and f"{threshold:.4g}" in done.output


def stored(bundle, made):
    return write_into(bundle, {certificate_name(made): made.to_bytes()})


def test_the_bundle_s_own_certificate_is_found(bundle, scans, tmp_path, monkeypatch):
    monkeypatch.chdir(bundle.folder.parent)
    results, figures = tmp_path / "r.jsonl", tmp_path / "f.json"
    options = ("--runtime", "onnxruntime", "--output", results)
    assert neuroscan_edge("classify", scans, "--model", bundle.folder, *options).exit_code == 0
    engine = json.loads(results.read_text().splitlines()[0])["engine_sha256"]
    arguments = ("summarize", results, "--json", figures)
    assert neuroscan_edge(*arguments).exit_code == 0
    assert "no certificate of the engine" in json.loads(figures.read_text())["screening"]["reason"]
    older = certificate(engine)
    about = {**older.document, "screening": None}
    subject = replace(older.subject, exact_int8=False)
    bundle = stored(bundle, seal(Verdict.PASSED, subject, {k: about[k] for k in ABOUT}))
    assert neuroscan_edge(*arguments).exit_code == 0
    assert "certify again" in json.loads(figures.read_text())["screening"]["reason"]
    stored(bundle, certificate(engine))
    assert neuroscan_edge(*arguments).exit_code == 0
    found = json.loads(figures.read_text())["screening"]
    assert found["available"] and found["certificate"].startswith("certificates/onnxruntime-int8")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (certificate("cd" * 32), "a threshold holds for its own engine"),
        (certificate(images=20), "needs 50"),
    ],
)
def test_a_certificate_that_does_not_serve_is_refused(results, tmp_path, made, reason):
    path = tmp_path / "other.json"
    path.write_bytes(made.to_bytes())
    done = neuroscan_edge("summarize", results, "--certificate", path)
    assert done.exit_code == 2
    assert reason in done.output


def test_an_altered_certificate_is_refused(results, given):
    given.write_text(given.read_text().replace('"images": 200', '"images": 900'))
    done = neuroscan_edge("summarize", results, "--certificate", given)
    assert done.exit_code == 2
    assert "altered" in done.output


def test_lines_passed_over_are_told_and_exit_with_1(results, tmp_path):
    with results.open("a") as file:
        file.write("cut off {\n")
    html = tmp_path / "page.html"
    done = neuroscan_edge("summarize", results, "--html", html)
    assert done.exit_code == 1
    assert "line 41: it is not JSON" in done.output
    assert "line 41: it is not JSON" in html.read_text()


@pytest.mark.parametrize("content", ["", "\n\n", "path,frame\na.png,0\n", "\x00" * 100])
def test_what_holds_no_row_is_refused(tmp_path, content):
    path = tmp_path / "results.csv"
    path.write_text(content)
    done = neuroscan_edge("summarize", path)
    assert done.exit_code == 2
    assert "holds no row of results" in done.output and "Traceback" not in done.output


def test_results_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "absent.jsonl"):
        done = neuroscan_edge("summarize", path)
        assert done.exit_code == 2
        assert "is no file" in done.output


def test_an_output_does_not_take_the_place_of_the_results(results, tmp_path):
    before = results.read_bytes()
    for option in ("--html", "--json"):
        done = neuroscan_edge("summarize", results, option, results)
        assert done.exit_code == 2
        assert "write elsewhere" in done.output
    assert neuroscan_edge("summarize", results, "--html", tmp_path / "no" / "p").exit_code == 2
    assert results.read_bytes() == before


def test_names_of_classes_are_no_markup_and_no_control_codes(tmp_path):
    evil = "<script>alert(1)</script>\x1b[2J"
    results, html = tmp_path / "r.jsonl", tmp_path / "p.html"
    record = {**row(), "prediction": evil, "probabilities": {evil: 0.9, "no_tumor": 0.1}}
    results.write_text(json.dumps({**record, "model": evil}))
    done = neuroscan_edge("summarize", results, "--html", html)
    assert done.exit_code == 0, done.output
    assert "<script" not in html.read_text()
    assert "\x1b" not in done.output


def test_a_model_s_name_opens_no_other_folder(bundle, tmp_path):
    results, figures = tmp_path / "r.jsonl", tmp_path / "f.json"
    for name in (str(bundle.folder), f"../{bundle.folder.name}", ".."):
        results.write_text(json.dumps({**row(), "model": name}))
        assert neuroscan_edge("summarize", results, "--json", figures).exit_code == 0
        assert "give one: --certificate" in json.loads(figures.read_text())["screening"]["reason"]


def test_results_of_failures_alone_are_summarised(tmp_path):
    results, html = tmp_path / "r.jsonl", tmp_path / "p.html"
    results.write_text(json.dumps(row(0, None, error="corrupt: export it again")))
    done = neuroscan_edge("summarize", results, "--html", html)
    assert done.exit_code == 0, done.output
    assert "1 slice\n" in done.output and "corrupt" in html.read_text()
