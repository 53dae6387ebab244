"""Lines of results, sound, old and hostile."""

import io
import json
import tracemalloc

import pytest

from neuroscan_edge.results.summary.rows import LONGEST_LINE_BYTES, Rows
from neuroscan_edge.spec import Finding
from support.result_rows import row


def read(*lines: object) -> tuple[list, Rows]:
    texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in lines]
    rows = Rows(io.BytesIO(b"\n".join(texts)))
    return list(rows), rows


def test_each_kind_of_row_is_read():
    found, rows = read(
        row(0),
        row(1, findings=(Finding.AMBIGUOUS,)),
        row(2, None, findings=(Finding.BLANK,)),
        row(3, None, error="too-large: the limit is 1"),
    )
    assert [each.outcome for each in found] == ["answer", "refer", "rejected", "failed"]
    assert [each.prediction for each in found] == ["meningioma_tumor"] * 2 + [None] * 2
    assert (found[0].confidence, found[0].risk) == (0.7, 0.85)
    assert [each.error_kind for each in found] == [None, None, None, "too-large"]
    assert (found[1].findings, found[0].made_by[3]) == (("ambiguous",), "ab" * 32)
    assert rows.passed_over == 0


def test_rows_of_an_earlier_version_are_read():
    old = row(0)
    for key in ("level", "risk", "schema", "decision", "quality", "outlier_score", "certified"):
        del old[key]
    (found,), rows = read(old)
    assert (found.level, found.outcome, found.risk) == ("slice", "answer", 0.85)
    assert rows.passed_over == 0


SECRET = "DOE^JOHN"
MANY = [str(number) for number in range(101)]
HOSTILE = {
    "no JSON": (SECRET.encode(), "not JSON"),
    "bytes": (b"\xff\xfe\x00", "not JSON"),
    "a list": ([SECRET], "not an object"),
    "a number": (b"7", "not an object"),
    "deep": (b"[" * 200_000, "not JSON"),
    "a huge number": (b'{"frame": ' + b"9" * 10_000 + b"}", "not JSON"),
    "nothing in it": ({}, "its decision"),
    "a newer schema": ({**row(), "schema": 99}, "upgrade neuroscan-edge"),
    "a schema that is text": ({**row(), "schema": SECRET}, "its schema"),
    "another level": ({**row(), "level": SECRET}, "its level"),
    "a level that is a list": ({**row(), "level": [SECRET]}, "its level"),
    "another decision": ({**row(), "decision": SECRET}, "its decision"),
    "no probabilities": ({**row(), "probabilities": None}, "do not go together"),
    "one class": ({**row(), "probabilities": {"a": 1}}, "none by class"),
    "many classes": (
        {**row(), "probabilities": dict.fromkeys(map(str, range(101)), 0)},
        "by class",
    ),
    "text for a probability": ({**row(), "probabilities": {"a": SECRET, "b": 0}}, "0 to 1"),
    "a truth value": ({**row(), "probabilities": {"a": True, "b": 0}}, "0 to 1"),
    "above 1": ({**row(), "probabilities": {"a": 1.1, "b": 0}}, "0 to 1"),
    "not a number": (json.dumps(row()).replace("0.7", "NaN").encode(), "0 to 1"),
    "infinite": (json.dumps(row()).replace("0.7", "1e999").encode(), "0 to 1"),
    "another prediction": ({**row(), "prediction": SECRET}, "none of its classes"),
    "no prediction": ({**row(), "prediction": None}, "none of its classes"),
    "findings that are none": ({**row(), "quality": SECRET}, "its quality"),
    "a path that is none": ({**row(), "path": 7}, "its path"),
    "a model that is none": ({**row(), "model": [SECRET]}, "its model"),
    "a long model": ({**row(), "model": SECRET * 100}, "its model"),
    "a long line": (b"[" + b" " * LONGEST_LINE_BYTES + b"]", "longer than"),
}


@pytest.mark.parametrize(("line", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_a_line_that_is_no_row_is_named_and_the_next_is_read(line, reason):
    found, rows = read(row(0), line, b"", row(1))
    assert [each.path for each in found] == ["000.dcm", "001.dcm"]
    assert rows.passed_over == 1
    ((number, told),) = rows.named
    assert number == 2
    assert reason in told
    assert SECRET not in told, "no line is quoted"


def test_many_bad_lines_are_counted_and_the_first_named():
    found, rows = read(*[b"bad"] * 1000)
    assert (found, rows.passed_over, len(rows.named)) == ([], 1000, 20)


def test_a_file_of_one_endless_line_needs_little_memory():
    class Endless(io.RawIOBase):
        left = 200 << 20

        def readline(self, size: int = -1) -> bytes:
            taken = min(size, self.left)
            self.left -= taken
            return b"x" * taken

    tracemalloc.start()
    rows = Rows(Endless())
    assert list(rows) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows.passed_over == 1
    assert peak < 8 << 20


def test_unknown_findings_and_odd_errors_do_not_pass_their_text_on():
    odd = {**row(), "decision": "refer", "quality": [SECRET, "clipped"]}
    failed = {**row(1, None, error="corrupt: x"), "error": SECRET}
    found, _ = read(odd, failed)
    assert found[0].findings == ("other", "clipped")
    assert found[1].error_kind == "other"
