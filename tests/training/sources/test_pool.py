"""A recipe's sources are checked before anything is decoded."""

import dataclasses
from pathlib import Path

import pytest

from neuroscan_edge.errors import DatasetError
from training.recipe.recipe import PoolRecipe, RecipeError, SourceRecipe
from training.sources.listing import SourceFile
from training.sources.pool import check_sources, fingerprint

POOL = PoolRecipe((SourceRecipe("a"), SourceRecipe("b")), ("glioma", "none"), ("other",))


def file(source: str, label: str, sha256: str) -> SourceFile:
    return SourceFile(Path(f"{sha256}.png"), source, label, "training", "t1", "", sha256)


FILES = [
    file("a", "glioma", "1"),
    file("a", "none", "2"),
    file("b", "none", "3"),
    file("b", "other", "4"),
]


def test_known_sources_and_labels_pass() -> None:
    check_sources(FILES, POOL)


def test_missing_source_is_refused() -> None:
    with pytest.raises(DatasetError, match="names the sources b, the data holds a"):
        check_sources(FILES[:2], POOL)


def test_label_outside_the_list_is_refused() -> None:
    with pytest.raises(DatasetError, match="has the label 'cyst'; the recipe knows glioma, none"):
        check_sources([*FILES, file("b", "cyst", "5")], POOL)


def test_one_picture_under_two_labels_in_two_sources_is_refused() -> None:
    with pytest.raises(DatasetError, match="the same file under two labels"):
        check_sources([*FILES, file("b", "glioma", "2")], POOL)


def test_source_of_one_class_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check_sources([*FILES[:3]], POOL)
    assert "source b holds none only" in caplog.text


def test_fingerprint_depends_on_source_and_label_and_not_on_order() -> None:
    assert fingerprint(FILES) == fingerprint(FILES[::-1])
    changed = [dataclasses.replace(FILES[0], source="b"), *FILES[1:]]
    assert fingerprint(changed) != fingerprint(FILES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"left_out": ("c",)}, "did you mean"),
        ({"sources": ()}, "names one or more|name one or more"),
        ({"labels": ("glioma",)}, "name two or more"),
        ({"validation_share": 0.9}, "must be 0.02 to 0.5"),
    ],
)
def test_recipe_with_a_bad_pool_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        dataclasses.replace(POOL, **changes)  # type: ignore[arg-type]
