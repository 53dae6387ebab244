"""The order of rows, and the rows of series and studies."""

import json
import math
import random
import tracemalloc

import numpy as np
import pytest

from neuroscan_edge.errors import OutputError, SpecError, UsageError
from neuroscan_edge.results.grouping import SMALLEST_PROBABILITY, Grouping, Groups
from neuroscan_edge.results.ordering import Arrangement, arranged, by_risk
from neuroscan_edge.spec import Aggregate, Finding, GroupBy, SortBy
from support.result_rows import LABELS, row, with_risk

BY_RISK = Arrangement(SortBy.RISK)


def grouped(rows, **options):
    grouping = Grouping(options.pop("by", GroupBy.SERIES), **options)
    return [each for each in arranged(rows, Arrangement(grouping=grouping)) if "slices" in each]


def paths(rows):
    return [each["path"] for each in rows]


def test_the_most_suspicious_come_first_and_the_unclassified_last():
    rows = [
        row(0, None, error="corrupt: export it again"),
        with_risk(1, 0.2),
        row(2, None, findings=(Finding.BLANK,)),
        with_risk(3, 0.9, findings=(Finding.AMBIGUOUS,)),
        with_risk(4, 0.2),
        with_risk(5, 1.0),
        with_risk(6, 0.0),
    ]
    ordered = list(arranged(rows, BY_RISK))
    expected = [5, 3, 1, 4, 6, 0, 2]
    assert paths(ordered) == [f"{number:03}.dcm" for number in expected]
    assert ordered == [rows[number] for number in expected], "rows are unchanged"


def test_input_order_passes_rows_on_as_they_come():
    taken = []

    def source():
        for number in range(3):
            taken.append(number)
            yield row(number)

    first = next(iter(arranged(source(), Arrangement())))
    assert (first["path"], taken) == ("000.dcm", [0])


def test_sorting_many_rows_needs_little_memory():
    count = 20_000
    rng = random.Random(1)
    tracemalloc.start()
    highest = 2.0
    for each in by_risk(with_risk(number, rng.random()) for number in range(count)):
        assert each["risk"] <= highest
        highest = each["risk"]
        count -= 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 0
    assert peak < 4e6, "rows wait on disk: 20,000 of them are 14 MB"


def test_a_full_disk_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(OutputError, match="TMPDIR"):
        list(arranged([row()], BY_RISK))


def test_a_model_without_a_class_for_none_cannot_be_sorted_by_risk():
    with pytest.raises(UsageError, match="no class no_tumor"):
        BY_RISK.check(("cat", "dog"))
    highest = Grouping(GroupBy.SERIES, Aggregate.MAX_TUMOUR)
    with pytest.raises(UsageError, match="--aggregate max-tumour"):
        Arrangement(grouping=highest).check(("cat", "dog"))
    Arrangement(grouping=Grouping(GroupBy.SERIES)).check(("cat", "dog"))
    BY_RISK.check(LABELS)


def test_the_mean_of_logarithms_is_the_normalised_geometric_mean():
    slices = np.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.5, 0.2, 0.1], [0.4, 0.1, 0.2, 0.3]])
    rows = [row(n, tuple(values), series="1.2", study="1") for n, values in enumerate(slices)]
    (made,) = grouped(rows)
    means = np.exp(np.log(slices).mean(axis=0))
    assert np.allclose(list(made["probabilities"].values()), means / means.sum(), atol=1e-12)
    assert made["prediction"] == LABELS[0]
    assert (made["aggregated"], made["aggregated_from"]) == ("mean_log_probability", "answered")
    assert made["risk"] == pytest.approx(1 - made["probabilities"]["no_tumor"])


def test_a_probability_of_zero_does_not_rule_a_class_out():
    rows = [
        row(0, (0.0, 0.0, 1.0, 0.0), series="1"),
        row(1, (0.9, 0.05, 0.05, 0.0), series="1"),
    ]
    values = grouped(rows)[0]["probabilities"]
    floored = math.sqrt(SMALLEST_PROBABILITY * 0.9)
    assert values["glioma_tumor"] / values["no_tumor"] == pytest.approx(floored / math.sqrt(0.05))
    assert all(map(math.isfinite, values.values()))


def test_thousands_of_sure_slices_do_not_underflow():
    rows = (row(n, (1.0, 0.0, 0.0, 0.0), series="1") for n in range(5000))
    assert grouped(rows)[0]["probabilities"]["glioma_tumor"] == pytest.approx(1.0)


def test_mean_and_highest_tumour_probability():
    rows = [with_risk(n, risk, series="1") for n, risk in enumerate((0.1, 0.8, 0.3))]
    (mean,) = grouped(rows, aggregate=Aggregate.MEAN)
    assert mean["probabilities"]["glioma_tumor"] == pytest.approx(0.4)
    (highest,) = grouped(rows, aggregate=Aggregate.MAX_TUMOUR)
    assert highest["probabilities"] == rows[1]["probabilities"]
    assert highest["aggregated"] == "highest_tumour_probability"


def test_only_answered_slices_are_taken_and_all_are_counted():
    rows = [
        with_risk(0, 0.1, series="1"),
        with_risk(1, 0.9, series="1", findings=(Finding.CLIPPED,)),
        row(2, None, findings=(Finding.BLANK,), series="1"),
        row(3, None, error="corrupt: export it again", series="1"),
    ]
    (made,) = grouped(rows)
    assert made["probabilities"]["glioma_tumor"] == pytest.approx(0.1)
    counts = [made[key] for key in ("slices", "answered", "referred", "rejected", "failed")]
    assert counts == [4, 1, 1, 1, 1]
    assert made["quality"] == ["clipped", "blank"]
    assert made["most_suspicious"][0] == {
        "path": "001.dcm",
        "frame": 0,
        "sop_instance_uid": "1.2.3.1",
        "decision": "refer",
        "risk": 0.9,
    }, "a referred slice is named all the same"


def test_referred_slices_stand_in_where_none_was_answered():
    rows = [with_risk(n, 0.6, series="1", findings=(Finding.CLIPPED,)) for n in range(2)]
    (made,) = grouped(rows)
    assert (made["decision"], made["aggregated_from"]) == ("refer", "referred")
    assert made["risk"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("options", "decision"),
    [({"findings": (Finding.BLANK,)}, "rejected"), ({"error": "corrupt: export it"}, None)],
)
def test_a_group_of_nothing_classified_has_no_class(options, decision):
    (made,) = grouped([row(0, None, series="1", **options)])
    assert (made["prediction"], made["probabilities"], made["risk"]) == (None, None, None)
    assert made["decision"] == decision


def test_the_most_suspicious_are_named_in_order_and_equals_as_they_came():
    risks = (0.5, 0.9, 0.5, 0.1, 0.9)
    rows = [with_risk(n, risk, series="1") for n, risk in enumerate(risks)]
    (made,) = grouped(rows, most_suspicious=3)
    assert paths(made["most_suspicious"]) == ["001.dcm", "004.dcm", "000.dcm"]
    with pytest.raises(SpecError, match="give 0 to 100"):
        Grouping(most_suspicious=101)


def test_series_come_before_studies_and_slices_of_none_are_counted():
    rows = [row(n, series=f"1.{n % 3}", study="1" if n % 3 < 2 else "2") for n in range(6)]
    rows.append(row(6))
    groups = Groups(Grouping(GroupBy.STUDY))
    made = list(arranged(rows, Arrangement(), groups))[len(rows) :]
    found = [(each["level"], each["series_instance_uid"], each["slices"]) for each in made]
    assert found == [
        ("series", "1.0", 2),
        ("series", "1.1", 2),
        ("series", "1.2", 2),
        ("study", None, 4),
        ("study", None, 2),
    ]
    assert groups.ungrouped == 1
    assert made[0]["study_instance_uid"] == "1"


def test_groups_are_sorted_within_their_level_and_do_not_depend_on_the_order_of_slices():
    rows = [with_risk(n, (n * 7 % 10) / 10, series=f"1.{n % 4}", study="1") for n in range(20)]
    plain = Arrangement(grouping=Grouping(GroupBy.STUDY))
    sorted_too = Arrangement(SortBy.RISK, plain.grouping)
    by_input, by_their_risk = list(arranged(rows, plain)), list(arranged(rows, sorted_too))
    assert len(by_their_risk) == 25
    key = json.dumps
    assert sorted(map(key, by_input)) == sorted(map(key, by_their_risk)), "the very same rows"
    risks = [each["risk"] for each in by_their_risk if each["level"] == "series"]
    assert risks == sorted(risks, reverse=True)
    assert by_their_risk[-1]["level"] == "study"


def test_rows_read_back_from_json_lines_give_the_same():
    rows = [with_risk(n, n / 7, series=f"1.{n % 2}", study="1") for n in range(7)]
    again = [json.loads(json.dumps(each)) for each in rows]
    arrangement = Arrangement(SortBy.RISK, Grouping(GroupBy.STUDY))
    first, second = (
        [json.dumps(each) for each in arranged(source, arrangement)] for source in (rows, again)
    )
    assert first == second


def test_what_the_slices_do_not_agree_on_is_not_stated_of_the_group():
    other = {**row(1, series="1"), "engine_sha256": "cd" * 32, "certified": False}
    (made,) = grouped([row(0, series="1"), other])
    assert (made["engine_sha256"], made["certified"], made["model"]) == (None, None, "tiny")
