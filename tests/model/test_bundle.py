"""Bundles: what is verified, and that nothing unverified is ever used."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from neuroscan_edge.errors import (
    BundleError,
    BundleIntegrityError,
    BundleVersionError,
    NeuroScanError,
    PrecisionNotAvailableError,
    UsageError,
)
from neuroscan_edge.model.bundle import (
    BUNDLE_SCHEMA,
    GRAPHS,
    Bundle,
    find_bundle,
    open_bundle,
    without_file,
)
from neuroscan_edge.parity import Verdict, read_certificate
from neuroscan_edge.parity.baseline_predictions import read_predictions
from neuroscan_edge.parity.certificate import stored_certificates
from neuroscan_edge.spec import Precision, Preprocessing

INT8 = GRAPHS[Precision.INT8]


def edit(bundle: Bundle, **changes: object) -> None:
    path = bundle.folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_an_intact_bundle_opens(bundle):
    opened = open_bundle(bundle.folder)
    assert opened.labels == bundle.labels
    assert set(opened.precisions) == set(Precision)
    graph = opened.graph(Precision.INT8)
    assert hashlib.sha256(graph.data).hexdigest() == graph.sha256


def test_an_altered_file_is_refused_and_its_hash_named(bundle):
    path = bundle.folder / INT8
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleIntegrityError) as raised:
        open_bundle(bundle.folder)
    assert str(path) in str(raised.value)
    assert bundle.files[INT8].sha256 in str(raised.value)


def test_a_truncated_file_is_refused(bundle):
    path = bundle.folder / INT8
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleIntegrityError, match="truncated or altered"):
        open_bundle(bundle.folder)


def test_a_missing_file_is_refused_and_its_hash_named(bundle):
    (bundle.folder / INT8).unlink()
    with pytest.raises(BundleIntegrityError, match=bundle.files[INT8].sha256):
        open_bundle(bundle.folder)


def test_a_file_altered_after_opening_is_refused(bundle):
    path = bundle.folder / INT8
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(BundleIntegrityError, match="altered or damaged"):
        bundle.graph(Precision.INT8)


def test_a_newer_schema_asks_for_an_upgrade(bundle):
    edit(bundle, schema=BUNDLE_SCHEMA + 1)
    with pytest.raises(BundleVersionError, match="upgrade neuroscan-edge"):
        open_bundle(bundle.folder)


def test_other_preprocessing_under_the_old_hash_is_refused(bundle):
    edit(bundle, preprocessing=Preprocessing(clip_limit=3.0).to_json())
    with pytest.raises(BundleIntegrityError, match="preprocessing hash"):
        open_bundle(bundle.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema": "1"},
        {"schema": 0},
        {"labels": ["one"]},
        {"labels": ["a", "a"]},
        {"labels": [1, 2]},
        {"labels": "glioma"},
        {"preprocessing": None},
        {"preprocessing": {"schema": 1}},
        {"input": {}},
        {"files": []},
        {"files": {"../outside": {"sha256": "0" * 64, "size_bytes": 1}}},
        {"files": {"/etc/passwd": {"sha256": "0" * 64, "size_bytes": 1}}},
        {"files": {"a.onnx": {"sha256": "0", "size_bytes": 1}}},
        {"files": {"a.onnx": {"sha256": "0" * 64, "size_bytes": "1"}}},
        {"name": ""},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_a_malformed_manifest_is_a_clear_error(bundle, changes):
    edit(bundle, **changes)
    with pytest.raises(NeuroScanError) as raised:
        open_bundle(bundle.folder)
    assert "model.json" in str(raised.value) or "preprocessing" in str(raised.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\xff"], ids=range(5))
def test_a_manifest_that_is_no_json_object_is_a_clear_error(bundle, text):
    (bundle.folder / "model.json").write_text(text, encoding="latin-1")
    with pytest.raises(BundleError):
        open_bundle(bundle.folder)


def test_a_pipe_in_a_bundle_is_not_waited_for(bundle):
    path = bundle.folder / INT8
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleIntegrityError, match="not a regular file"):
        open_bundle(bundle.folder)


def test_a_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="give the folder of a bundle"):
        open_bundle(tmp_path)


def test_a_precision_that_is_not_there_lists_those_that_are(bundle):
    smaller = without_file(bundle.folder, GRAPHS[Precision.FP32])
    assert not (bundle.folder / GRAPHS[Precision.FP32]).exists()
    with pytest.raises(PrecisionNotAvailableError, match="fp16, int8"):
        smaller.graph(Precision.FP32)


def test_an_unknown_bundle_lists_those_that_are_shipped():
    with pytest.raises(UsageError, match="xception-tuned"):
        find_bundle("no-such-model")


def test_a_name_cannot_leave_the_folder_of_shipped_bundles():
    with pytest.raises(UsageError):
        find_bundle("../engines/xception-tuned/nothing")


def test_the_default_bundle_is_whole_and_small():
    opened = open_bundle(find_bundle())
    assert {Precision.FP16, Precision.INT8} <= set(opened.precisions)
    assert opened.files[GRAPHS[Precision.FP16]].size_bytes <= 45_000_000
    assert opened.files[INT8].size_bytes <= 25_000_000
    assert opened.preprocessing == Preprocessing()
    folder = Path(opened.folder)
    tracked = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(opened.files) <= tracked


def test_the_default_bundle_carries_certificates_of_its_graphs_and_answers_to_check_them():
    opened = open_bundle(find_bundle())
    found = {name: read_certificate(data, name) for name, data in stored_certificates(opened)}
    for precision in (Precision.FP16, Precision.INT8):
        kind = "-x86_64" if precision is Precision.INT8 else ""
        certificate = found[f"certificates/onnxruntime-{precision}-cpu{kind}.json"]
        assert certificate.verdict is Verdict.PASSED
        assert certificate.looser == ()
        assert certificate.subject.graph_sha256 == opened.files[GRAPHS[precision]].sha256
        assert certificate.subject.labels == opened.labels
        leak_free = found[f"certificates/onnxruntime-{precision}-cpu{kind}-leak-free.json"]
        assert leak_free.verdict is Verdict.CANNOT_CERTIFY
    record = read_predictions(opened)
    assert record is not None
    assert record.baseline_sha256 == opened.manifest["baseline_sha256"]
    assert len(record.answers) > 300, "some of the 394 test images are one file twice"
