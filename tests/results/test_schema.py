"""Every row keeps the published schema, and the schema refuses what is no row."""

import json

import jsonschema
import numpy as np
import pytest
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.results import RESULT_SCHEMA
from neuroscan_edge.results.grouping import Grouping
from neuroscan_edge.results.ordering import Arrangement, arranged
from neuroscan_edge.results.record import SERIES_KEYS, as_current
from neuroscan_edge.results.schema import result_schema
from neuroscan_edge.spec import RESEARCH_USE, Aggregate, Finding, GroupBy, Precision, SortBy
from support.dicom_slices import dicom_slice
from support.result_rows import LABELS, row, with_risk

VALIDATOR = jsonschema.Draft202012Validator(result_schema())


def faults(record: dict) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(record)]


def group_row(**options: object) -> dict:
    rows = [with_risk(each, each / 10, series="1.2", study="1") for each in range(5)]
    return list(arranged(rows, Arrangement(grouping=Grouping(GroupBy.SERIES, **options))))[-1]


def test_the_schema_is_a_schema_and_knows_our_words():
    schema = result_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["finding"]["enum"] == [str(each) for each in Finding]
    assert schema["properties"]["schema"]["const"] == RESULT_SCHEMA
    assert schema["properties"]["notice"]["const"] == RESEARCH_USE
    assert schema["properties"]["precision"]["enum"] == [*map(str, Precision), None]
    assert schema["properties"]["aggregated"]["enum"] == [each.stated for each in Aggregate]


@pytest.mark.parametrize(
    "record",
    [
        row(),
        row(findings=(Finding.AMBIGUOUS, Finding.CLIPPED)),
        row(probabilities=None, findings=(Finding.BLANK,)),
        row(probabilities=None, error="too-large: the file has 2 bytes; the limit is 1"),
        group_row(),
        group_row(aggregate=Aggregate.MAX_TUMOUR, most_suspicious=0),
    ],
    ids=["answered", "referred", "rejected", "failed", "series", "series, none named"],
)
def test_each_kind_of_row_keeps_it(record):
    assert faults(record) == []
    assert faults(json.loads(json.dumps(record))) == []


WRONG = {
    "a patient's name": {"patient_name": "DOE^JOHN"},
    "another notice": {"notice": "for diagnosis"},
    "a name where a UID belongs": {"series_instance_uid": "DOE^JOHN"},
    "a probability above 1": {"probabilities": {LABELS[0]: 1.2, LABELS[1]: 0.0}},
    "an answer without a class": {"prediction": None},
    "an answer without probabilities": {"probabilities": None},
    "an answer with findings": {"quality": ["ambiguous"]},
    "a reference without findings": {"decision": "refer"},
    "a finding of no name": {"decision": "refer", "quality": ["odd"]},
    "an answer with an error": {"error": "corrupt: export it again"},
    "no decision and no error": {"decision": None, "prediction": None, "probabilities": None},
    "a rejection with a class": {"decision": "rejected", "quality": ["blank"]},
    "a slice of no file": {"path": None},
    "a frame before the first": {"frame": -1},
    "another schema": {"schema": 3},
    "a sequence of no name": {"sequence": "T3"},
    "a plane of no name": {"plane": "transversal"},
    "an orientation that is none": {"orientation": "LPX"},
    "evidence that is no text": {"sequence_evidence": [1]},
    "a contrast agent by name": {"contrast_agent": "Gadovist"},
    "another level": {"level": "patient"},
    "a series without its counts": {"level": "series"},
    "a slice with counts": {"slices": 3},
    "a hash that is none": {"engine_sha256": "ab"},
    "a risk that is no share": {"risk": 1.5},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_is_no_row_is_refused(change):
    assert faults({**row(), **change})


def test_rows_of_the_first_schema_keep_theirs_and_become_current():
    old = {key: value for key, value in row().items() if key not in SERIES_KEYS}
    old["schema"] = 1
    first = jsonschema.Draft202012Validator(result_schema(1))
    assert list(first.iter_errors(old)) == []
    assert list(first.iter_errors(row()))
    assert faults(old)
    assert faults(as_current(old)) == []
    assert as_current(row()) == row()


@pytest.mark.parametrize("key", row())
def test_no_key_may_be_missing(key):
    assert faults({name: value for name, value in row().items() if name != key})


@pytest.mark.parametrize("sort", SortBy)
@pytest.mark.parametrize("aggregate", Aggregate)
def test_every_row_of_a_real_run_keeps_it(bundle, tmp_path, sort, aggregate):
    folder = tmp_path / "scans"
    folder.mkdir()
    for index in range(9):
        uids = {"SOPInstanceUID": f"1.2.3.{index}", "SeriesInstanceUID": f"1.2.{index // 3}"}
        data = dicom_slice(index, **uids, StudyInstanceUID="1.2")
        (folder / f"{index}.dcm").write_bytes(data if index % 4 else data[: len(data) // 2])
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    output = tmp_path / "results.jsonl"
    arguments = ["classify", folder, "--model", bundle.folder, "--output", output]
    options = ["--sort", sort, "--group", "study", "--aggregate", aggregate]
    done = CliRunner().invoke(app, [str(each) for each in (*arguments, *options)])
    assert done.exit_code == 1, done.output
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [each["level"] for each in records] == ["slice"] * 10 + ["series"] * 3 + ["study"]
    assert {message for each in records for message in faults(each)} == set()
    assert sum(each["error"] is not None for each in records) == 4
    if sort is SortBy.RISK:
        risks = [each["risk"] for each in records[:6]]
        assert risks == sorted(risks, reverse=True)
        assert all(each["error"] for each in records[6:10])
    study = records[-1]
    # What is cut off still says which study it is of.
    assert (study["slices"], study["answered"], study["failed"]) == (9, 6, 3)
    assert np.isclose(sum(study["probabilities"].values()), 1)
