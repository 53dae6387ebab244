"""A recipe with several sources trains on none of what it must not, and is measured by source."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from neuroscan_edge.errors import DatasetError, UsageError
from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.files import sha256_file
from training.audit.by_source import audit_sources
from training.evaluate.cross_validation import cross_validate_by_source
from training.fit.model import BackboneWeights
from training.fit.run import FitOptions, fit
from training.recipe.loading import load_recipe
from training.recipe.recipe import Augmentation, PoolRecipe, Recipe, SourceRecipe, Stage
from training.sources.groups import divide, read_held_out
from training.sources.hold_out import hold_out
from training.sources.listing import list_sources
from training.sources.pool import load_pool

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")


@pytest.fixture
def extra(small_data: Path, tmp_path: Path) -> Path:
    """Two more sources of the drawn images, each patient with two slices."""
    root = tmp_path / "extra"
    rows = []
    for number, path in enumerate(sorted(small_data.glob("Training/*/0*.png"))):
        source, label = f"site{number % 2}", path.parent.name
        target = root / source / label / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        # Bytes after the image's end: another file with the same picture.
        target.write_bytes(target.read_bytes() + source.encode())
        rows.append((target.relative_to(root).as_posix(), source, label, "t1", f"P{number // 4}"))
    with (root / "index.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "source", "label", "sequence", "patient"))
        writer.writerows(rows)
    return root


@pytest.fixture
def recipe(small_recipe: Path) -> Recipe:
    pool = PoolRecipe(
        (SourceRecipe("study"), SourceRecipe("site0", 0.5), SourceRecipe("site1")),
        LABELS,
        leave_out=(("site0",), ("site1",)),
        validation_share=0.3,
        epoch_images=24,
    )
    loaded = load_recipe(small_recipe)
    stage = Stage(epochs=1, learning_rate=1e-3, trainable="head")
    return replace(loaded, stages=(stage,), augmentation=Augmentation(noise=2.0), pool=pool)


@pytest.fixture
def options(small_data: Path, extra: Path, recipe: Recipe, tmp_path: Path) -> FitOptions:
    path = tmp_path / "held-out.csv"
    assert recipe.pool is not None
    counts = hold_out(recipe.pool, path, small_data, extra)
    assert set(counts) == {"study", "site0", "site1"}
    return FitOptions(
        small_data, tmp_path / "run", BackboneWeights("none"), extra=extra, held_out=path
    )


@pytest.mark.slow
def test_network_of_several_sources_is_measured_on_each_source_left_out(
    recipe: Recipe, options: FitOptions
) -> None:
    summary = cross_validate_by_source(recipe, options)
    assert set(summary["sets"]) == {"site0", "site1"}
    for name, found in summary["sets"].items():
        assert found["left_out_sources"] == [name]
        parts = found["parts"]
        assert parts["published"]["images"] == 20
        # Each class's leaked.jpg is a training image.
        assert parts["leak_free"]["images"] == 16
        assert parts[f"left_out/{name}"]["images"] > 0
        assert not any(part.startswith("left_out/") and name not in part for part in parts)
        run = options.output / f"without-{name}"
        card = json.loads(next(run.glob("small.json")).read_text())
        assert name not in card["training_data"]["sources"]
        assert card["training_data"]["left_out_sources"] == [name]
    assert (options.output / "cross-validation-by-source.json").is_file()


@pytest.mark.slow
def test_finished_run_is_returned_and_another_held_out_list_is_another_run(
    recipe: Recipe, options: FitOptions
) -> None:
    first = fit(recipe, options)
    assert fit(recipe, options).sha256 == first.sha256
    assert options.held_out is not None
    assert first.training_data["held_out_sha256"] == sha256_file(options.held_out)
    lines = options.held_out.read_text().splitlines(keepends=True)
    group = lines[-1].strip().rsplit(",", 1)[1]
    options.held_out.write_text("".join(line for line in lines if group not in line))
    with pytest.raises(DatasetError, match="a finished run of another recipe, other data"):
        fit(recipe, options)


def test_audit_finds_pictures_that_sources_share(
    recipe: Recipe, options: FitOptions, small_data: Path, extra: Path
) -> None:
    assert recipe.pool is not None and options.held_out is not None
    loaded = load_pool(list_sources(small_data, extra), recipe.pool, Preprocessing())
    held_out = read_held_out(options.held_out)
    report = audit_sources(loaded, recipe.pool, held_out)
    assert len(report["shared_pictures"]) >= 40
    parts = divide(loaded.files, loaded.groups, held_out)
    trained = {loaded.files[place].sha256 for place in parts.training}
    assert trained and not any(digest in held_out for digest in trained)


def test_several_sources_need_the_held_out_list(recipe: Recipe, options: FitOptions) -> None:
    with pytest.raises(DatasetError, match="give --held-out"):
        fit(recipe, replace(options, held_out=None))


def test_cross_validation_by_source_needs_sources_to_leave_out(
    recipe: Recipe, options: FitOptions
) -> None:
    assert recipe.pool is not None
    nothing = replace(recipe, pool=replace(recipe.pool, leave_out=()))
    with pytest.raises(UsageError, match="names no sources to leave out"):
        cross_validate_by_source(nothing, options)
