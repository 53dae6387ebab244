"""An audit of several sources finds what gives a class away and what is shared."""

from pathlib import Path

import numpy as np
import pytest

from training.audit.by_source import audit_lines, label_given_away, shared_pictures, unbalanced
from training.sources.listing import SourceFile


def file(source: str, label: str, sequence: str = "t1", sha256: str = "0") -> SourceFile:
    return SourceFile(Path("x"), source, label, "training", sequence, "", sha256)


def alike(count: int) -> np.ndarray:
    return np.full(count, 1 / count)


def test_source_that_decides_the_label_gives_it_away() -> None:
    files = [file("a", "glioma")] * 5 + [file("b", "none")] * 5
    found = label_given_away(files, "source", alike(10))
    assert found == {"accuracy": 1.0, "chance": 0.5, "information": 1.0}


def test_source_that_says_nothing_gives_nothing_away() -> None:
    files = [file(source, label) for source in "ab" for label in ("glioma", "none")]
    found = label_given_away(files, "source", alike(4))
    assert found["accuracy"] == found["chance"] == 0.5
    assert found["information"] == pytest.approx(0)


def test_drawing_by_weight_removes_what_a_source_gives_away() -> None:
    files = [file("a", "glioma")] * 9 + [file("a", "none"), file("b", "glioma"), file("b", "none")]
    weights = np.array([0.25 / 9] * 9 + [0.25] * 3)
    assert label_given_away(files, "source", alike(12))["accuracy"] > 0.8
    assert label_given_away(files, "source", weights)["information"] == pytest.approx(0)


def test_classes_and_sequences_of_one_collection_are_named() -> None:
    files = [
        file("study", "pituitary"),
        file("cheng_figshare", "pituitary"),
        file("lgg", "glioma", "flair"),
        file("study", "glioma"),
        file("ms", "none"),
        file("lgg", "none"),
    ]
    found = unbalanced(files)
    assert "pituitary comes from one collection: study and cheng_figshare" in found
    assert "flair slices of glioma come from lgg only" in found
    assert "ms holds none only: there, the source predicts the label" in found
    assert "no flair slice of pituitary" in found


def test_picture_of_two_sources_is_listed_with_its_conflict() -> None:
    files = [file("a", "glioma", sha256="1"), file("b", "none", sha256="2"), file("b", "none")]
    hashes = np.array([5, 4, 2**63 + 12345], np.uint64)
    (pair,) = shared_pictures(files, hashes)
    assert pair["sha256"] == ["1", "2"]
    assert pair["conflicting"] and pair["distance"] == 1


def test_pictures_of_one_source_are_not_listed() -> None:
    assert shared_pictures([file("a", "x"), file("a", "y")], np.array([5, 5], np.uint64)) == []


def test_lines_say_how_well_the_source_predicts_the_label() -> None:
    given = {"accuracy": 0.9, "chance": 0.5, "information": 0.4}
    report = {
        "files": {"a": {"glioma": {"t1": 2, "t2": 1}}},
        "label_given_away": {"source": {"every_file_alike": given, "as_drawn": given}},
        "cannot_be_balanced": [],
        "shared_pictures": [],
        "tested_patients_elsewhere": {"files": 0, "patients": 0},
        "disputed_labels": [],
    }
    text = "\n".join(audit_lines(report))
    assert "The source alone predicts the label of 90 % of the training slices" in text
    assert "| a | glioma | 3 | t1 2, t2 1 |" in text
