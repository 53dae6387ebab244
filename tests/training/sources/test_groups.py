"""Parts of the data share no patient, and the held-out part is fixed."""

from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.errors import DatasetError
from training.sources.groups import (
    HeldOut,
    choose_held_out,
    divide,
    group_names,
    group_position,
    held_out_csv,
    read_held_out,
)
from training.sources.listing import SourceFile


def file(number: int, source: str = "a", patient: str = "", **changes: object) -> SourceFile:
    known: dict[str, object] = {
        "path": Path(f"{source}/{number}.png"),
        "source": source,
        "label": "none",
        "split": "training",
        "sequence": "t1",
        "patient": patient,
        "sha256": f"{number:064x}",
    }
    return SourceFile(**{**known, **changes})  # type: ignore[arg-type]


def unlike(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2**63, count).astype(np.uint64)


def test_one_patient_is_one_group_across_sources() -> None:
    files = [file(0, "a", "p/1"), file(1, "b", "p/1"), file(2, "b", "p/2")]
    assert group_names(files, unlike(3)) == ["p/1", "p/1", "p/2"]


def test_near_duplicates_of_unknown_patients_are_one_group() -> None:
    hashes = unlike(3)
    hashes[2] = hashes[0] ^ np.uint64(1)
    names = group_names([file(0), file(1), file(2)], hashes)
    assert names[0] == names[2] != names[1]


def test_near_duplicate_of_a_known_patient_joins_that_patient() -> None:
    hashes = np.full(2, 5, np.uint64)
    assert group_names([file(0), file(1, patient="p/1")], hashes) == ["p/1", "p/1"]


def test_two_known_patients_are_never_joined() -> None:
    files = [file(0, patient="p/1"), file(1, patient="p/2"), file(2)]
    names = group_names(files, np.full(3, 5, np.uint64))
    assert names[:2] == ["p/1", "p/2"]


def patients(count: int) -> tuple[list[SourceFile], list[str]]:
    files = [file(number, patient=f"p/{number // 2}") for number in range(2 * count)]
    return files, [each.patient for each in files]


def test_parts_share_no_group_and_cover_all_files() -> None:
    files, names = patients(200)
    chosen = choose_held_out(files, names)
    held_out = HeldOut({files[place].sha256: "x" for place in chosen})
    parts = divide(files, names, held_out)
    members = [parts.training, parts.validation, parts.held_out, parts.left_out]
    groups = [{names[place] for place in each} for each in members]
    assert sum(map(len, members)) == len(files)
    assert sum(map(len, groups)) == len(set().union(*groups)) == 200
    assert 0.08 < len(groups[2]) / 200 < 0.22


def test_patient_of_a_left_out_source_is_not_trained_on_elsewhere() -> None:
    files, names = patients(60)
    trained = next(name for name in names if group_position(name) > 0.5)
    files.append(file(999, "b", trained))
    parts = divide(files, [*names, trained], HeldOut({"none": "x"}), ("b",))
    assert parts.left_out.tolist() == [120]
    assert trained not in {[*names, trained][place] for place in parts.training}


def test_tested_patients_disputed_labels_and_tests_are_in_no_part() -> None:
    files, names = patients(60)
    extra = [
        file(1000, "study", "t/1", split="testing"),
        file(1001, "b", "t/1"),
        file(1002, "study", "t/2", disputed=True),
    ]
    parts = divide([*files, *extra], [*names, "t/1", "t/1", "t/2"], HeldOut({"none": "x"}))
    every = np.concatenate([parts.training, parts.validation, parts.held_out, parts.left_out])
    assert every.max() < len(files)


def test_group_in_two_splits_is_refused() -> None:
    files, names = patients(60)
    with pytest.raises(DatasetError, match="is in two splits"):
        divide(files, names, HeldOut({files[0].sha256: "x"}))


def test_nothing_left_to_train_on_is_refused() -> None:
    files, names = patients(60)
    with pytest.raises(DatasetError, match="no file is left"):
        divide(files, names, HeldOut({"none": "x"}), ("a",))


def test_list_of_held_out_files_names_no_patient(tmp_path: Path) -> None:
    files, names = patients(3)
    path = tmp_path / "held-out.csv"
    path.write_bytes(held_out_csv(files, names))
    assert "p/1" not in path.read_text()
    assert all(each.sha256 in read_held_out(path) for each in files)


@pytest.mark.parametrize("content", ["", "sha256,group\n", "a,b\n1,2\n"])
def test_file_that_is_no_list_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "held-out.csv"
    path.write_text(content)
    with pytest.raises(DatasetError, match=r"no list of held-out files|lists no file"):
        read_held_out(path)
