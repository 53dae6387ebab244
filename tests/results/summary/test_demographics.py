"""Tables by sex and age: of enough patients, or not at all."""

import io
import json

import pytest

from neuroscan_edge.errors import SpecError
from neuroscan_edge.results.summary.demographics import DemographicTables, ShownTable
from neuroscan_edge.results.summary.rows import Rows
from neuroscan_edge.spec import Finding
from support.dicom_slices import dicom_slice
from support.result_rows import LABELS, row

PEOPLE = {
    # sex, decade, class: patients, slices of each
    ("F", "045Y", 0): (12, 3),
    ("F", "055Y", 1): (15, 2),
    ("M", "045Y", 0): (14, 2),
    ("M", "055Y", 1): (11, 4),
    ("M", "045Y", 2): (13, 1),
    ("F", "045Y", 2): (12, 1),
}


def tables(folder, people=PEOPLE, smallest=10, **changes) -> DemographicTables:
    made = DemographicTables(smallest)
    lines, number = [], 0
    for case, ((sex, age, label), (patients, slices)) in enumerate(people.items()):
        probabilities = tuple(float(index == label) for index in range(4))
        for patient in range(patients):
            identity = {"PatientID": f"{case} {patient}", **changes}
            path = folder / f"{case}-{patient}.dcm"
            path.write_bytes(dicom_slice(side=8, PatientSex=sex, PatientAge=age, **identity))
            for _ in range(slices):
                number += 1
                lines.append(json.dumps(row(number, probabilities, path=str(path))))
    for each in Rows(io.BytesIO("\n".join(lines).encode())):
        made.add(each)
    return made


def cells(shown: ShownTable) -> dict:
    return {
        (name, column): cell
        for name, line in zip(shown.rows, shown.cells, strict=True)
        for column, cell in zip(shown.columns, line, strict=True)
    }


def test_large_cells_are_shown_as_they_are(tmp_path):
    made = tables(tmp_path)
    sexes = made.by_sex()
    assert (sexes.rows, sexes.totals, sexes.withheld) == (("female", "male"), (78, 85), False)
    assert cells(sexes) == {
        ("female", LABELS[0]): 36,
        ("female", LABELS[1]): 30,
        ("female", LABELS[2]): 12,
        ("male", LABELS[0]): 28,
        ("male", LABELS[1]): 44,
        ("male", LABELS[2]): 13,
    }
    ages = made.by_age()
    assert (ages.rows, ages.totals) == (("40 to 49", "50 to 59"), (89, 74))


def test_many_slices_of_few_patients_are_a_small_cell(tmp_path):
    shown = tables(tmp_path, {**PEOPLE, ("F", "045Y", 0): (2, 40)}).by_sex()
    assert cells(shown)["female", LABELS[0]] is None
    hidden = [name for name, cell in cells(shown).items() if cell is None]
    assert len(hidden) >= 4, "and what it could be computed from"


def test_patients_that_cannot_be_told_apart_count_as_one(tmp_path):
    shown = tables(tmp_path, PatientID=None, StudyInstanceUID=None).by_sex()
    assert set(cells(shown).values()) == {None}
    assert shown.totals == (None, None)


def test_what_no_cell_can_hide_is_told_with_others(tmp_path):
    people = {**PEOPLE, ("F", "045Y", 3): (1, 1)}
    shown = tables(tmp_path, people).by_sex()
    assert LABELS[3] in shown.joined
    assert LABELS[3] not in shown.columns
    assert cells(shown)["female", "the others"] == 13, "twelve without a tumour, and that one"


def test_outcomes_without_a_class_have_their_columns(tmp_path):
    made = DemographicTables(2)
    lines = []
    for number in range(60):
        path = tmp_path / f"{number}.dcm"
        sex = "FM"[number % 2]
        path.write_bytes(dicom_slice(side=8, PatientSex=sex, PatientID=str(number)))
        options = [
            {},
            {"findings": (Finding.CLIPPED,)},
            {"probabilities": None, "findings": (Finding.BLANK,)},
            {"probabilities": None, "error": "corrupt: export it again"},
        ][number // 2 % 4]
        lines.append(json.dumps(row(number, path=str(path), **options)))
    for each in Rows(io.BytesIO("\n".join(lines).encode())):
        made.add(each)
    shown = made.by_sex()
    assert shown.columns == ("meningioma_tumor", "refer", "rejected", "failed")
    assert shown.cells == ((8, 8, 7, 7), (8, 8, 7, 7))


def test_missing_files_are_counted(tmp_path):
    made = DemographicTables()
    lines = "\n".join(json.dumps(row(n, path=str(tmp_path / f"{n}.dcm"))) for n in range(3))
    for each in Rows(io.BytesIO(lines.encode())):
        made.add(each)
    assert made.missing == 3
    assert made.to_json()["by_sex"] == {"withheld": True}


@pytest.mark.parametrize("smallest", [0, 1, -3])
def test_a_smallest_cell_of_one_is_refused(smallest):
    with pytest.raises(SpecError, match="give 2 to"):
        DemographicTables(smallest)
