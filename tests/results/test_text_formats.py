"""Results: the fields of the contract, in every form."""

import csv
import io
import json
import re

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from neuroscan_edge.errors import OutputError
from neuroscan_edge.results import Result, result_format
from neuroscan_edge.results.columns import cells, column_names
from neuroscan_edge.results.grouping import Grouping
from neuroscan_edge.results.ordering import Arrangement, arranged
from neuroscan_edge.results.parquet import ROWS_A_GROUP
from neuroscan_edge.results.schema import result_schema
from neuroscan_edge.results.writer import record_writer
from neuroscan_edge.runtimes import RuntimeInfo
from neuroscan_edge.scans import DicomUids, Provenance
from neuroscan_edge.spec import RESEARCH_USE, Finding, GroupBy, Precision
from support.result_rows import LABELS, row

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


SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
EXECUTABLE = {
    **{f"begins with {sign!a}": (f"{sign}1+1.png", f"'{sign}1+1.png") for sign in SIGNS},
    "white space first": (" \t=1.png", "' \t'=1.png"),
    "no-break space first": ("\u00a0=1.png", "'\u00a0=1.png"),
    "tab first": ("\t@a.png", "'\t'@a.png"),
    "line break first": ("\r\n-a.png", "'\r'\n'-a.png"),
    "after a semicolon": ("a;=cmd|' /C calc'!A0.png", "a;'=cmd|' /C calc'!A0.png"),
    "after a line break": ("a\n=1", "a\n'=1"),
}
INERT = ("scans/=a.png", "a-b+c@d.png", "a;b=c.png", "1=2", "'=1", "", " a.png")


@pytest.mark.parametrize(("path", "cell"), EXECUTABLE.values(), ids=EXECUTABLE.keys())
def test_no_csv_cell_is_executed_by_a_spreadsheet(path, cell):
    record = row(path=path)
    record["most_suspicious"] = [{"path": path}]
    opening, write = (form := result_format("csv", LABELS)).opening, form.row
    (read,) = csv.DictReader(io.StringIO(opening + write(record), newline=""))
    assert read["path"] == cell
    # JSON there: it begins with a bracket and writes control characters as letters.
    assert read["most_suspicious"].startswith("[")
    assert not re.search(r"[;\t\r\n]\s*[" + re.escape(SIGNS) + "]", read["most_suspicious"])
    assert json.loads(json_row(record))["path"] == path


@pytest.mark.parametrize("path", INERT)
def test_other_csv_cells_are_as_they_are(path):
    record = {**row(), "path": path, "outlier_score": -0.5}
    form = result_format("csv", LABELS)
    (read,) = csv.DictReader(io.StringIO(form.opening + form.row(record), newline=""))
    assert read["path"] == path
    assert read["outlier_score"] == "-0.5"


def json_row(record):
    return result_format("jsonl", LABELS).row(record)


def test_the_table_states_its_use_and_obeys_no_file_name(good, bad, bundle):
    form = result_format("table", bundle.labels)
    text = form.opening + form.line(good) + form.line(bad)
    assert RESEARCH_USE in text
    assert "70.0%" in text and "frame 2" in text
    assert "\x1b" not in text


def test_every_kind_of_row_has_the_same_columns(bundle):
    rows = [row(0, series="1.2"), row(1, None, error="corrupt: export it again", series="1.2")]
    rows = list(arranged(rows, Arrangement(grouping=Grouping(GroupBy.SERIES))))
    form = result_format("csv", LABELS)
    text = form.opening + "".join(map(form.row, rows))
    read = list(csv.reader(io.StringIO(text)))
    assert {len(cells) for cells in read} == {len(column_names(LABELS))}
    group = dict(zip(read[0], read[-1], strict=True))
    assert (group["level"], group["slices"], group["failed"]) == ("series", "2", "1")
    assert json.loads(group["most_suspicious"])[0]["path"] == "000.dcm"


def test_the_table_names_series_and_their_counts():
    rows = arranged([row(0, series="1.2")], Arrangement(grouping=Grouping(GroupBy.SERIES)))
    text = "".join(map(result_format("table", LABELS).row, rows))
    assert text.splitlines()[1].endswith("70.0%   85.0%  series 1.2 (1 answered)")


def test_parquet_holds_the_same_as_csv_with_types(tmp_path):
    import pyarrow.parquet

    rows = [row(number, series=f"1.{number % 3}") for number in range(5)]
    rows.append(row(5, None, findings=(Finding.BLANK,)))
    rows.append(row(6, None, error="corrupt: export it again", path="caf\udce9.png"))
    rows = list(arranged(rows, Arrangement(grouping=Grouping(GroupBy.SERIES))))
    path = tmp_path / "results.parquet"
    with path.open("wb") as file, record_writer("parquet", LABELS, file.write) as add:
        for each in rows:
            add(each)
    table = pyarrow.parquet.read_table(path)
    assert table.schema.metadata[b"notice"].decode() == RESEARCH_USE
    read = table.to_pylist()
    read[6]["path"] = "caf\udce9.png"
    assert read == [cells(each, LABELS) for each in rows]
    assert str(table.schema.field("quality").type) == "list<element: string>"


def test_parquet_types_do_not_depend_on_the_rows(tmp_path):
    import pyarrow.parquet

    schemas = []
    for rows in ([row()], [row(probabilities=None, findings=(Finding.BLANK,))], []):
        path = tmp_path / "results.parquet"
        with path.open("wb") as file, record_writer("parquet", LABELS, file.write) as add:
            for each in rows:
                add(each)
        schemas.append(pyarrow.parquet.read_schema(path))
    assert schemas[0].equals(schemas[1]) and schemas[0].equals(schemas[2])


def test_parquet_is_written_in_groups_of_bounded_size():
    import pyarrow.parquet

    written = []
    sizes = []
    with record_writer("parquet", LABELS, written.append) as add:
        for number in range(2 * ROWS_A_GROUP + 1):
            add(row(number))
            sizes.append(sum(map(len, written)))
    assert sizes[0] < sizes[ROWS_A_GROUP] < sizes[2 * ROWS_A_GROUP], "written on the way"
    file = pyarrow.parquet.ParquetFile(io.BytesIO(b"".join(written)))
    assert file.metadata.num_row_groups == 3
    assert file.metadata.num_rows == 2 * ROWS_A_GROUP + 1


def test_an_error_of_the_disk_comes_through_parquet_as_it_is():
    def write(data: bytes) -> None:
        raise OutputError("the disk is full")

    with (
        pytest.raises(OutputError, match="the disk is full"),
        record_writer("parquet", LABELS, write) as add,
    ):
        add(row())


def test_the_rounding_of_an_engine_makes_no_negative_risk(bundle):
    values = np.array([0.0, 0.0, 1.0000001, 0.0], np.float32)
    record = Result.of(Provenance("a.png"), bundle, INFO, values, None).to_json()
    assert record["probabilities"]["no_tumor"] > 1
    assert record["risk"] == 0
    assert not list(Draft202012Validator(result_schema()).iter_errors(record))
