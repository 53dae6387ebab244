"""Results: the fields of the contract, in every form."""

import csv
import io
import json

import numpy as np
import pytest

from neuroscan_edge.results import Result, result_format
from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.scans import DicomUids, Provenance
from neuroscan_edge.spec import RESEARCH_USE, Precision

INFO = RuntimeInfo("onnxruntime", "1.0", "cpu", Precision.INT8, "ab" * 32)
CONTRACT = {
    "path",
    "frame",
    "prediction",
    "probabilities",
    "model",
    "precision",
    "runtime",
    "engine_sha256",
    "error",
}


@pytest.fixture
def good(bundle) -> Result:
    provenance = Provenance('a "b",c.dcm', 2, DicomUids("1.2.3", "1.2", "1"))
    row = np.array([0.1, 0.7, 0.15, 0.05], np.float32)
    return Result.of(provenance, bundle, INFO, row, None)


@pytest.fixture
def bad(bundle) -> Result:
    return Result.of(Provenance("x\x1b[2J.png"), bundle, INFO, None, "corrupt: export it again")


def test_json_lines_hold_the_contract(good, bad, bundle):
    form = result_format("jsonl", bundle.labels)
    record, failed = (json.loads(form.line(each)) for each in (good, bad))
    assert set(record) >= CONTRACT
    assert record["prediction"] == "meningioma_tumor"
    assert list(record["probabilities"]) == list(bundle.labels)
    assert record["probabilities"]["meningioma_tumor"] == 0.7
    assert (record["precision"], record["frame"], record["error"]) == ("int8", 2, None)
    assert record["sop_instance_uid"] == "1.2.3"
    assert record["notice"] == RESEARCH_USE
    assert (failed["prediction"], failed["probabilities"]) == (None, None)
    assert failed["error"] == "corrupt: export it again"


def test_csv_holds_the_same(good, bad, bundle):
    form = result_format("csv", bundle.labels)
    text = form.opening + form.line(good) + form.line(bad)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["path"] == 'a "b",c.dcm'
    assert rows[0]["prediction"] == "meningioma_tumor"
    assert float(rows[0]["probability_meningioma_tumor"]) == 0.7
    assert rows[1]["prediction"] == rows[1]["probability_no_tumor"] == ""
    assert rows[1]["error"] == "corrupt: export it again"


def test_the_table_states_its_use_and_obeys_no_file_name(good, bad, bundle):
    form = result_format("table", bundle.labels)
    text = form.opening + form.line(good) + form.line(bad)
    assert RESEARCH_USE in text
    assert "70.0%" in text and "frame 2" in text
    assert "\x1b" not in text
