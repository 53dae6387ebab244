"""Counts over rows are those of counting by hand."""

import io
import json
import tracemalloc

import numpy as np
import pytest

from neuroscan_edge.results.grouping import Grouping
from neuroscan_edge.results.ordering import Arrangement, arranged
from neuroscan_edge.results.summary.counts import MOST_DIFFERENT, Confidences, Tally
from neuroscan_edge.results.summary.rows import Rows
from neuroscan_edge.spec import Finding, GroupBy
from support.result_rows import LABELS, row, with_risk


def tally(rows, **options) -> Tally:
    lines = "\n".join(json.dumps(each) for each in rows)
    made = Tally(**options)
    for each in Rows(io.BytesIO(lines.encode())):
        made.add(each)
    return made


def some_rows(count: int = 300) -> list[dict]:
    rng = np.random.default_rng(4)
    rows = []
    for number in range(count):
        values = rng.dirichlet([0.5] * 4)
        uids = {"series": f"1.{number % 7}", "study": f"2.{number % 3}"}
        match number % 10:
            case 0:
                rows.append(row(number, None, error="corrupt: export it again", **uids))
            case 1:
                rows.append(row(number, None, findings=(Finding.BLANK,), **uids))
            case 2 | 3:
                rows.append(row(number, tuple(values), (Finding.AMBIGUOUS,), **uids))
            case _:
                rows.append(row(number, tuple(values), **uids))
    return rows


def test_counts_and_rates():
    rows = some_rows()
    found = tally(rows).to_json()
    assert found["slices"] == 300
    decisions = {name: each["count"] for name, each in found["decisions"].items()}
    assert decisions == {"answer": 180, "refer": 60, "rejected": 30, "failed": 30}
    assert found["decisions"]["refer"]["share"] == 0.2
    assert found["findings"]["ambiguous"]["count"] == 60
    assert found["errors"] == {"corrupt": {"count": 30, "share": 0.1}}
    for label in LABELS:
        of_class = [each for each in rows if each["prediction"] == label]
        referred = [each for each in of_class if each["decision"] == "refer"]
        assert found["by_class"][label]["slices"] == len(of_class)
        assert found["by_class"][label]["referral_rate"] == len(referred) / len(of_class)
        highest = [max(each["probabilities"].values()) for each in of_class]
        histogram = np.histogram(highest, 20, (0, 1))[0].tolist()
        assert found["by_class"][label]["confidence"]["histogram"] == histogram
    assert found["made_by"][0]["slices"] == 300
    assert found["certified"] == {"yes": 300}
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_quantiles_are_right_to_a_thousandth(share):
    values = np.random.default_rng(0).beta(5, 1, 4001)
    counted = Confidences()
    for value in values:
        counted.add(value)
    assert counted.quantile(share) == pytest.approx(np.quantile(values, share), abs=0.0015)
    assert sum(counted.coarse(20)) == counted.count == 4001


def test_one_and_zero_have_their_place():
    counted = Confidences()
    for value in (0.0, 1.0):
        counted.add(value)
    assert (counted.coarse(20)[0], counted.coarse(20)[-1]) == (1, 1)


def test_rows_of_groups_are_counted_apart():
    arrangement = Arrangement(grouping=Grouping(GroupBy.STUDY))
    found = tally(arranged(some_rows(), arrangement)).to_json()
    assert found["slices"] == 300
    assert {level: each["rows"] for level, each in found["groups"].items()} == {
        "series": 7,
        "study": 3,
    }
    assert found["aggregated"] == {"mean_log_probability": 10}


def test_slices_above_a_threshold_are_those_of_its_engine():
    rows = [with_risk(number, number / 10) for number in range(10)]
    rows += [{**with_risk(number, 0.9), "engine_sha256": "cd" * 32} for number in range(5)]
    found = tally(rows, threshold=0.7, engine_sha256="ab" * 32)
    assert (found.judged, found.suspicious) == (10, 3), "at the threshold is suspicious"


def test_memory_does_not_grow_with_rows_or_with_hostile_words():
    def lines():
        for number in range(20_000):
            changed = {**row(number), "model": f"model {number}", "prediction": f"class {number}"}
            changed["probabilities"] = {f"class {number}": 0.9, "no_tumor": 0.1}
            yield json.dumps(changed).encode() + b"\n"

    class Stream(io.RawIOBase):
        source = lines()

        def readline(self, size: int = -1) -> bytes:
            return next(self.source, b"")

    made = Tally()
    tracemalloc.start()
    for each in Rows(Stream()):
        made.add(each)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert made.slices == 20_000
    assert len(made.classes) <= MOST_DIFFERENT + 1
    assert made.classes["other"].confidences.count == 20_000 - MOST_DIFFERENT
    assert peak < 6e6
