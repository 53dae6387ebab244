"""Certificates: what they bind, what breaks them, and what `classify` makes of them."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from neuroscan_edge.errors import BundleVersionError, CertificateError, OutputError, UsageError
from neuroscan_edge.model.bundle import GRAPHS, open_bundle, write_files
from neuroscan_edge.parity import Verdict, read_certificate, standing
from neuroscan_edge.parity.certificate import certificate_name, seal, write_into
from neuroscan_edge.parity.evaluation.operating_point import operating_point, scores_of
from neuroscan_edge.parity.gate import Gate
from neuroscan_edge.parity.junit import junit
from neuroscan_edge.parity.outputs import Outputs, write_outputs
from neuroscan_edge.parity.report_page import report_page
from neuroscan_edge.parity.summary import markdown_summary, terminal_summary
from neuroscan_edge.runtimes import RuntimeOptions, choose_runtime
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName
from neuroscan_edge.system.machine import this_machine
from support.damaged_bundles import biases_dropped
from support.labelled import TEST_IMAGES, answering, certify, neuroscan_edge
from support.tiny_models import LABELS

HERE = this_machine()
KIND = f"{HERE.architecture}{'' if HERE.exact_int8 else '-no-vnni'}"
STORED = f"certificates/onnxruntime-int8-cpu-{KIND}.json"


@pytest.fixture(scope="module")
def passed(sound, data):
    return certify(sound, data, every_stage=True)


@pytest.fixture
def broken(folder, data, monkeypatch):
    """A run in which the engine confuses two classes."""
    answering(monkeypatch, lambda rows: rows[:, [1, 0, 2, 3]])
    return certify(folder, data)


def store(bundle, certificate, engine: str | None = None) -> None:
    write_into(bundle, {certificate_name(certificate, engine): certificate.to_bytes()})


def choice_of(folder: Path, precision: Precision = Precision.INT8):
    bundle = open_bundle(folder)
    options = RuntimeOptions(precision, runtime=RuntimeName.ONNXRUNTIME)
    return bundle, choose_runtime(bundle, options)


def test_a_certificate_survives_the_bundle_and_certifies_exactly_this(passed, folder):
    store(open_bundle(folder), passed.certificate)
    bundle, choice = choice_of(folder)
    assert read_certificate(bundle.read(STORED)) == passed.certificate
    assert standing(bundle, choice).certified
    assert "on 240 images" in str(standing(bundle, choice))
    other = standing(*choice_of(folder, Precision.FP16))
    assert not other.certified and "no certificate of it" in other.reason


@pytest.mark.parametrize("engine", ["my engine", "../..", "naïve.v1", "onnxruntime-int8"])
def test_no_name_of_an_engine_spoils_the_bundle(passed, folder, engine):
    store(open_bundle(folder), passed.certificate)
    store(open_bundle(folder), passed.certificate, engine)
    names = [name for name in open_bundle(folder).files if name.startswith("certificates/")]
    assert len(names) == 2


def test_it_binds_every_hash(passed, sound):
    subject = passed.certificate.subject
    graph = open_bundle(sound).files[GRAPHS[Precision.INT8]].sha256
    assert subject.graph_sha256 == subject.engine_sha256 == graph
    assert subject.preprocessing_sha256 == open_bundle(sound).preprocessing.sha256
    assert subject.baseline_sha256 == "5a" * 32
    document = passed.certificate.document
    assert document["data"]["fingerprint"] and document["environment"]["packages"]["onnxruntime"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"runtime_version": "1.0.0"}, "another version of the runtime"),
        ({"graph_sha256": "0" * 64}, "another graph"),
        ({"engine_sha256": "0" * 64}, "another engine"),
        ({"baseline_sha256": "0" * 64}, "another baseline"),
        ({"preprocessing_sha256": "0" * 64}, "another preprocessing"),
        ({"labels": ("a", "b", "c", "d")}, "other labels"),
        ({"architecture": "aarch64"}, "another processor architecture"),
        ({"exact_int8": not this_machine().exact_int8}, "other INT8 arithmetic"),
        ({"device": "gpu"}, "another kind of device"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_certificate_of_something_else_certifies_nothing(passed, folder, change, says):
    certificate = passed.certificate
    about = {
        key: value
        for key, value in certificate.document.items()
        if key not in {"schema", "intended_use", "verdict", "subject", "certificate_sha256"}
    }
    other = seal(certificate.verdict, replace(certificate.subject, **change), about)
    store(open_bundle(folder), other)
    found = standing(*choice_of(folder))
    assert not found.certified
    assert says in found.reason


def tampered(data: bytes) -> bytes:
    document = json.loads(data)
    document["verdict"] = "passed"
    document["criteria"][2]["value"] = 1.0
    return json.dumps(document).encode()


def test_a_tampered_certificate_is_found_out(broken, folder, scans):
    assert broken.certificate.verdict is Verdict.FAILED
    with pytest.raises(CertificateError, match="it was altered"):
        read_certificate(tampered(broken.certificate.to_bytes()))
    # Whoever alters the manifest as well still cannot hide it.
    write_files(
        folder,
        open_bundle(folder).manifest,
        {STORED: tampered(broken.certificate.to_bytes())},
    )
    found = standing(*choice_of(folder))
    assert not found.certified and "altered" in found.reason
    done = neuroscan_edge("classify", scans, "--model", folder, "--require-certificate")
    assert done.exit_code == 2
    assert "altered" in done.stderr and done.stdout == ""
    # And a file that the manifest does not know opens no bundle.
    (folder / STORED).write_bytes(broken.certificate.to_bytes())
    done = neuroscan_edge("classify", scans, "--model", folder)
    assert done.exit_code == 2 and STORED in done.stderr


def test_a_malformed_or_newer_certificate_is_refused(passed):
    for data in (b"", b"[]", b"{}", b'{"schema": 1}'):
        with pytest.raises(CertificateError, match="no certificate"):
            read_certificate(data)
    newer = {**passed.certificate.document, "schema": 99}
    with pytest.raises(BundleVersionError, match="schema 99"):
        read_certificate(json.dumps(newer).encode())


def test_a_failure_takes_the_place_of_an_earlier_pass(passed, broken, folder):
    store(open_bundle(folder), passed.certificate)
    store(open_bundle(folder), broken.certificate)
    found = standing(*choice_of(folder))
    assert not found.certified
    assert "parity failed at the engine stage" in found.reason


def test_a_failure_on_the_leak_free_part_revokes_a_pass_on_the_whole(passed, broken, folder):
    store(open_bundle(folder), passed.certificate)
    document = json.loads(broken.certificate.to_bytes())
    document["data"]["part"] = "leak-free"
    about = {
        key: value
        for key, value in document.items()
        if key not in {"schema", "intended_use", "verdict", "subject", "certificate_sha256"}
    }
    store(open_bundle(folder), seal(Verdict.FAILED, broken.certificate.subject, about))
    assert not standing(*choice_of(folder)).certified


def test_a_looser_gate_is_said(folder, data):
    gate = Gate(min_images_per_class=10)
    store(open_bundle(folder), certify(folder, data, gate=gate).certificate)
    assert "looser gate: data.min_images_per_class" in str(standing(*choice_of(folder)))


def test_classify_says_and_requires(passed, folder, scans):
    arguments = ("classify", scans, "--model", folder, "--runtime", "onnxruntime")
    done = neuroscan_edge(*arguments, "--require-certificate", "--format", "jsonl")
    assert done.exit_code == 2
    assert "the bundle holds no certificate of it" in done.stderr
    assert "neuroscan-edge parity" in done.stderr and done.stdout == ""
    done = neuroscan_edge(*arguments, "--format", "jsonl")
    assert "; not certified (" in done.stderr.splitlines()[0]
    assert json.loads(done.stdout.splitlines()[0])["certified"] is False
    store(open_bundle(folder), passed.certificate)
    done = neuroscan_edge(*arguments, "--require-certificate", "--format", "jsonl")
    assert done.exit_code == 0, done.stderr
    assert "; certified (on 240 images)" in done.stderr.splitlines()[0]
    assert json.loads(done.stdout.splitlines()[0])["certified"] is True


def test_the_command_certifies_and_writes_everything(folder, data, tmp_path):
    outputs = {name: tmp_path / f"out.{name}" for name in ("report", "json", "junit", "markdown")}
    options = [part for name, path in outputs.items() for part in (f"--{name}", path)]
    before = {name: open_bundle(folder).files[name] for name in GRAPHS.values()}
    done = neuroscan_edge(
        "parity", folder, "--data", data, "--runtime", "onnxruntime", "--threads", 1, *options
    )
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("PASSED") and RESEARCH_USE in done.stdout
    bundle = open_bundle(folder)
    assert bundle.read(STORED) == outputs["json"].read_bytes()
    assert {name: bundle.files[name] for name in GRAPHS.values()} == before
    assert "Parity PASSED" in outputs["markdown"].read_text()
    assert outputs["report"].read_text().startswith("<!doctype html>")
    assert ElementTree.parse(outputs["junit"]).getroot()[0].get("failures") == "0"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--gate", "STRICT"), 3, "CANNOT CERTIFY"),
        (("--data", "nowhere"), 2, "is not a folder"),
        (("--json", "no/such/folder/c.json"), 2, "is not a folder"),
        (("--gate", "none.toml"), 2, "cannot be read"),
        (("--precision", "int3"), 2, "int3"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_exit_codes(folder, data, tmp_path, arguments, code, says):
    gate = tmp_path / "gate.toml"
    gate.write_text("[data]\nmin_images_per_class = 100")
    given = [gate if each == "STRICT" else each for each in arguments]
    known = [] if "--data" in arguments else ["--data", data]
    done = neuroscan_edge("parity", folder, *known, "--no-store", *given)
    assert done.exit_code == code
    assert says in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert STORED not in open_bundle(folder).files


def test_a_failed_run_exits_with_1_and_names_the_stage(folder, data):
    biases_dropped(folder)
    what = ("--precision", "int8", "--runtime", "onnxruntime", "--threads", 1)
    done = neuroscan_edge("parity", folder, "--data", data, *what)
    assert done.exit_code == 1
    assert done.stdout.startswith("FAILED")
    assert "stage int8 failed, changes" in done.stdout
    assert "failed at the int8 stage" in str(standing(*choice_of(folder)))


def test_junit_counts_what_failed_and_what_was_not_run(broken, passed):
    suite = ElementTree.fromstring(junit(broken.certificate))[0]
    failed = {
        case.get("name") for case in suite.iter("testcase") if case.find("failure") is not None
    }
    assert {"agreement", "engine", "certificate"} <= failed
    assert suite.get("failures") == str(len(failed))
    assert int(suite.get("tests")) == len(list(suite.iter("testcase")))
    sound = ElementTree.fromstring(junit(passed.certificate))[0]
    assert (sound.get("failures"), sound.get("errors"), sound.get("skipped")) == ("0", "0", "0")


def test_the_page_needs_nothing_else_and_shows_every_flip(broken):
    text = report_page(broken)
    assert "<script" not in text and "http" not in text
    assert text.index("FAILED") < text.index("The gate"), "the verdict is first"
    changed = len(broken.certificate.document["changed"])
    assert changed > 60
    assert text.count('class="flip"') == changed == text.count("data:image/png;base64,")
    assert RESEARCH_USE in text


def test_a_page_without_flips_or_figures_is_a_page(passed, folder, data, monkeypatch):
    assert "None: every slice gets the same decision" in report_page(passed)
    answering(monkeypatch, lambda rows: rows * float("nan"))
    text = report_page(certify(folder, data))
    assert "no usable answers" in text


def test_a_hostile_file_name_or_label_stays_text(broken):
    files = tuple(
        replace(file, path=file.path.with_name("<img src=x>.png")) for file in broken.slices.files
    )
    text = report_page(replace(broken, slices=replace(broken.slices, files=files)))
    assert "<img src=x>" not in text and "&lt;img src=x&gt;" in text


def test_no_certificate_holds_an_image_or_a_file_name(broken):
    text = broken.certificate.to_bytes().decode()
    assert ".png" not in text and "base64" not in text
    assert str(broken.slices.files[0].path.parent) not in text


def test_summaries_say_the_verdict_and_the_reason(broken):
    for text in (markdown_summary(broken.certificate), terminal_summary(broken.certificate)):
        assert "FAILED" in text and "agreement" in text and "engine" in text


def test_a_bundle_that_cannot_be_written_says_how_to_go_on(passed, folder, monkeypatch):
    def refuse(*arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("neuroscan_edge.parity.certificate.write_files", refuse)
    with pytest.raises(OutputError, match="--no-store"):
        write_outputs(passed, folder, Outputs())
    with pytest.raises(UsageError, match="is not a folder"):
        Outputs(report=folder / "none" / "page.html").check()


def test_a_certificate_holds_what_an_operating_point_is_chosen_on(folder, data):
    found = certify(folder, data)
    scores = scores_of(found.certificate.document)
    assert (len(scores.risks), scores.part) == (4 * TEST_IMAGES, "whole")
    point = operating_point(scores, 0.95)
    # The tiny classifier is right on every image, with a margin.
    assert point.sensitivity.value >= 0.95
    assert point.specificity.value == 1
    without = LABELS.index("no_tumor")
    engine = found.engine.measured.probabilities[:, without]
    expected = sorted(round(1 - float(str(each)), 12) for each in engine)
    assert sorted(scores.risks.tolist()) == expected
