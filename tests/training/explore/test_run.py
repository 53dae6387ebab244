"""Exploring: measured values against hand computations, and pictures that show just these."""

import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.model.labels import display_name
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import RESEARCH_USE, Preprocessing
from support.places import ROOT
from training.explore.figures import (
    draw_balance,
    draw_clahe_pairs,
    draw_heatmaps,
    draw_histograms,
    draw_samples,
)
from training.explore.intensities import ClassIntensities, intensities
from training.explore.run import Exploration, class_intensities, explore, sample_positions
from training.report.figures import with_palette

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
PICTURES = {
    "class-balance.png",
    *(f"samples-{split}-{label}.png" for split in ("training", "testing") for label in LABELS),
    *(
        f"{kind}-{split}.png"
        for kind in ("clahe", "histograms", "mean", "variance")
        for split in ("training", "testing")
    ),
}
ONE_LEVEL = 1


@pytest.fixture(scope="module")
def report(small_data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("reports") / "explore"
    assert explore(small_data, output, seed=3) == Exploration(len(PICTURES), 0)
    return output


@pytest.fixture
def few(small_data, tmp_path) -> Path:
    """Two classes of two training images and one test image."""
    root = tmp_path / "data"
    for split, names in (("Training", ("00.png", "01.png")), ("Testing", ("00.png",))):
        for label in LABELS[:2]:
            folder = root / split / label
            folder.mkdir(parents=True)
            for name in names:
                shutil.copy(small_data / split / label / name, folder)
    return root


@pytest.fixture
def classes() -> list[ClassIntensities]:
    """Two classes, the second of them brighter."""
    rng = np.random.default_rng(0)
    made = []
    for label, top in zip(LABELS[1:3], (100, 200), strict=True):
        before, after = rng.integers(0, top, (2, 5, 16, 12), np.uint8)
        made.append(ClassIntensities(label, intensities(before), intensities(after)))
    return made


def test_intensities_equal_a_hand_computation():
    slices = np.array([[[0, 10], [255, 7]], [[4, 10], [255, 8]], [[8, 40], [255, 9]]], np.uint8)
    measured = intensities(slices)
    assert measured.images == 3
    np.testing.assert_array_equal(measured.mean, [[4, 20], [255, 8]])
    np.testing.assert_allclose(measured.variance, [[32 / 3, 200], [0, 2 / 3]], rtol=1e-15)
    assert measured.histogram.shape == (256,)
    counted = {level: int(count) for level, count in enumerate(measured.histogram) if count}
    assert counted == {0: 1, 4: 1, 7: 1, 8: 2, 9: 1, 10: 2, 40: 1, 255: 3}


def test_variance_of_white_slices_does_not_overflow():
    slices = np.full((3000, 2, 2), 255, np.uint8)
    slices[::2] = 0
    np.testing.assert_allclose(intensities(slices).variance, 127.5**2)


def test_samples_are_drawn_from_their_class_once_and_by_seed():
    targets = np.array([0, 1] * 30)
    chosen = sample_positions(targets, 1, 10, seed=4)
    assert len(set(chosen)) == 10 and (targets[chosen] == 1).all()
    np.testing.assert_array_equal(chosen, np.sort(chosen))
    np.testing.assert_array_equal(chosen, sample_positions(targets, 1, 10, seed=4))
    assert (chosen != sample_positions(targets, 1, 10, seed=5)).any()
    assert len(sample_positions(targets, 1, 99, seed=4)) == 30
    assert len(sample_positions(targets, 2, 10, seed=4)) == 0


@pytest.mark.parametrize(("quantity", "peak"), [("mean", 150.0), ("variance", 3000.0)])
def test_heatmaps_show_the_values_on_one_scale_with_their_unit(classes, quantity, peak):
    figure = draw_heatmaps(classes, quantity, peak, "Here: anything")
    panels = {axis.get_title(): axis for axis in figure.axes if axis.images}
    assert list(panels) == [
        f"{name}\n{stage} CLAHE"
        for stage in ("before", "after")
        for name in ("Meningioma", "No tumour")
    ]
    for each in classes:
        for stage, measured in each.stages.items():
            image = panels[f"{display_name(each.label)}\n{stage}"].images[0]
            np.testing.assert_array_equal(image.get_array(), getattr(measured, quantity))
            assert image.get_clim() == (0, peak)
    unit = {"mean": "Mean grey level (0 black, 255 white)", "variance": "grey levels squared"}
    assert any(unit[quantity] in axis.get_ylabel() for axis in figure.axes)
    assert figure.get_suptitle() == "Here: anything"
    assert figure.get_supxlabel() == RESEARCH_USE


@pytest.mark.parametrize("count", [2, 4, 5, 9])
def test_heatmaps_of_any_number_of_classes_are_all_drawn(classes, count):
    figure = draw_heatmaps((classes * 5)[:count], "mean", 255, "Many")
    assert sum(bool(axis.images) for axis in figure.axes) == 2 * count


def test_histograms_are_shares_of_each_class_before_and_after(classes):
    figure = draw_histograms(classes, "Histograms")
    for axis, stage in zip(figure.axes, ("before CLAHE", "after CLAHE"), strict=True):
        assert axis.get_title().lower() == stage.lower()
        assert axis.get_xlabel().startswith("Grey level") and axis.get_yscale() == "log"
        for line, each in zip(axis.lines, classes, strict=True):
            histogram = each.stages[stage].histogram
            np.testing.assert_allclose(line.get_ydata(), histogram / (5 * 16 * 12))
            assert line.get_ydata().sum() == pytest.approx(1)
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names == ["Meningioma (5 images)", "No tumour (5 images)"]


def test_balance_shows_the_share_of_each_class_in_its_split():
    counts = {"training": {"no_tumor": 30, "a": 10}, "testing": {"no_tumor": 0, "a": 8}}
    axis = draw_balance(counts).axes[0]
    shares = [[bar.get_width() for bar in bars] for bars in axis.containers]
    assert shares == [[0.75, 0.25], [0, 1]]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["No tumour", "A"]
    assert {"30 files", "8 files"} <= {text.get_text() for text in axis.texts}


def test_pairs_and_samples_show_the_very_pixels_on_a_fixed_scale():
    first, second, third = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    figures = (
        draw_clahe_pairs({"no_tumor": [(first, second)], "a": [(second, third)]}, "Pairs"),
        draw_samples([first, second, second, third], ["1.png", "2.png", "$x$.png", "x" * 90], "S"),
    )
    for figure in figures:
        images = [axis.images[0] for axis in figure.axes if axis.images]
        for image, pixels in zip(images, (first, second, second, third), strict=True):
            np.testing.assert_array_equal(image.get_array(), pixels)
            assert image.get_clim() == (0, 255)
    titles = [axis.get_title() for axis in figures[1].axes]
    assert titles[:3] == ["1.png", "2.png", "$x$.png"]
    assert len(titles[3]) == 24


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("glioma_tumor", "Glioma"),
        ("meningioma_tumor", "Meningioma"),
        ("no_tumor", "No tumour"),
        ("pituitary_tumor", "Pituitary tumour"),
        ("low_grade_glioma", "Low grade glioma"),
        ("MS", "MS"),
        ("_", ""),
        ("a\udcff", "A?"),
    ],
)
def test_class_names_are_written_for_people(label, name):
    assert display_name(label) == name


def test_a_palette_changes_a_grey_picture_hardly():
    levels = np.tile(np.arange(256, dtype=np.uint8), (64, 1))
    png = cv2.imencode(".png", cv2.cvtColor(levels, cv2.COLOR_GRAY2BGR))[1].tobytes()
    reduced = cv2.imdecode(np.frombuffer(with_palette(png), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(reduced.astype(int) - levels).max() <= ONE_LEVEL


def test_every_picture_is_there_and_large_enough_to_read(report):
    assert {path.name for path in report.iterdir()} == {*PICTURES, "explore.html"}
    for name in PICTURES:
        with Image.open(report / name) as image:
            assert image.width >= 1100 and image.height >= 250, name
            assert len(image.convert("RGB").getcolors(1 << 24)) > 10, name


def test_the_page_stands_alone_and_holds_every_picture(report):
    html = (report / "explore.html").read_text()
    assert not re.search(r"https?://|<script|<link|url\(", html)
    sources = re.findall(r'src="([^"]*)"', html)
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    pictures = {base64.b64decode(source.split(",")[1]) for source in sources}
    assert pictures == {(report / name).read_bytes() for name in PICTURES}
    assert RESEARCH_USE in html and "Seed 3" in html and "Files left out" not in html


def test_classes_are_measured_as_a_network_sees_them(small_data):
    spec = Preprocessing()
    images = load_images(load_split(small_data, "training"), spec)
    before = images.resized[images.targets == 2]
    preprocessor = CpuPreprocessor(spec)
    after = np.stack([preprocessor.equalise(pixels) for pixels in before])
    measured = class_intensities(images, LABELS, spec)[2]
    assert measured.label == "no_tumor" and measured.after.mean.shape == (224, 224)
    np.testing.assert_allclose(measured.before.mean, before.mean(axis=0))
    np.testing.assert_allclose(measured.after.variance, after.var(axis=0), atol=1e-8)


def test_a_zip_and_the_same_seed_give_the_same_bytes(few, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", few)
    for data, name in ((few, "one"), (Path(archive), "other")):
        explore(data, tmp_path / name, seed=3)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "other" / path.name).read_bytes() == path.read_bytes(), path.name


def test_unreadable_files_are_listed_and_an_absent_test_class_is_no_error(few, tmp_path):
    third = few / "Training" / LABELS[2]
    shutil.copytree(few / "Training" / LABELS[1], third)
    (third / "<i>.png").write_bytes(b"no image")
    assert explore(few, tmp_path / "report").unreadable == 1
    html = (tmp_path / "report" / "explore.html").read_text()
    assert "Files left out: 1" in html
    assert f"Training/{LABELS[2]}/&lt;i&gt;.png" in html and "<i>" not in html
    assert str(few) not in html
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert f"samples-training-{LABELS[2]}.png" in names
    assert f"samples-testing-{LABELS[2]}.png" not in names


def test_dollar_signs_in_names_are_no_formulas(few, tmp_path):
    for split in ("Training", "Testing"):
        folder = (few / split / LABELS[0]).rename(few / split / r"a$\bad$b")
        (folder / "00.png").rename(folder / r"$\bad$.png")
    explore(few, tmp_path / "report")
    assert (tmp_path / "report" / r"samples-training-a$\bad$b.png").is_file()


def test_long_class_names_give_short_and_distinct_file_names(few, tmp_path):
    names = [last.rjust(250, "x") for last in "ab"]
    for split in ("Training", "Testing"):
        for label, name in zip(LABELS, names, strict=False):
            (few / split / label).rename(few / split / name)
    explore(few, tmp_path / "report")
    assert len(list((tmp_path / "report").glob("samples-*.png"))) == 4


def test_a_class_that_cannot_be_read_leaves_no_report(few, tmp_path):
    (few / "Testing" / LABELS[0] / "00.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match=f"no image of {LABELS[0]} can be read"):
        explore(few, tmp_path / "report")
    assert not list((tmp_path / "report").iterdir())


def test_the_command_needs_no_tensorflow(few, tmp_path):
    shutil.rmtree(few / "Testing")
    code = f"""
import sys
from typer.testing import CliRunner
from training.cli import app
done = CliRunner().invoke(app, ["explore", {str(few)!r}, "--output", {str(tmp_path / "r")!r}])
assert done.exit_code == 0, done.output
assert "7 pictures; 0 files cannot be read" in done.output, done.output
assert not {{"tensorflow", "keras"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
