import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroscan_edge.errors import SpecError
from neuroscan_edge.preprocess import reference
from neuroscan_edge.preprocess.cpu import OPENCV_IS_EXACT, CpuPreprocessor
from neuroscan_edge.scans import read_scans
from neuroscan_edge.spec import Interpolation, Preprocessing

NO_MISMATCH = 0
ONE_GREY_LEVEL = 1
IMAGES_PER_CLASS = 4
THREADS = 8

needs_exact_opencv = pytest.mark.skipif(
    not OPENCV_IS_EXACT, reason="OpenCV computes other bytes on this processor family"
)

# Rows x columns.
SIZES = {
    f"{rows}x{columns}": (rows, columns)
    for rows, columns in [
        (1, 1),
        (1, 7),
        (7, 1),
        (2, 2),
        (3, 2),
        (16, 1000),
        (1000, 16),
        (1, 40000),
        (40000, 1),
        (64, 64),
        (111, 113),
        (112, 112),
        (200, 210),
        (223, 225),
        (224, 112),
        (224, 224),
        (224, 225),
        (224, 448),
        (225, 225),
        (236, 236),
        (240, 240),
        (256, 256),
        (320, 260),
        (447, 448),
        (448, 224),
        (448, 448),
        (448, 449),
        (450, 224),
        (512, 512),
        (630, 630),
        (672, 672),
        (896, 896),
        (1365, 1024),
        (2048, 1536),
    ]
}


def constant(rows, columns):
    return np.full((rows, columns), 93, np.uint8)


def noise(rows, columns):
    return np.random.default_rng(rows * 65537 + columns).integers(0, 256, (rows, columns), np.uint8)


def gradient(rows, columns):
    down = np.linspace(0, 160, rows)[:, None]
    across = np.linspace(0, 95, columns)[None, :]
    return np.rint(down + across).astype(np.uint8)


def dark_background(rows, columns):
    """A textured disc on black, as a slice of a head is."""
    down = np.linspace(-1, 1, rows)[:, None]
    across = np.linspace(-1, 1, columns)[None, :]
    radius = np.hypot(down, across)
    texture = 110 + 60 * np.sin(9 * down) * np.cos(7 * across) + noise(rows, columns) / 16
    return np.where(radius < 0.7, texture, 0).astype(np.uint8)


def checkerboard(rows, columns):
    return (255 * (np.add.outer(np.arange(rows), np.arange(columns)) % 2)).astype(np.uint8)


CONTENTS = {
    "constant": constant,
    "noise": noise,
    "gradient": gradient,
    "dark background": dark_background,
    "checkerboard": checkerboard,
}

SPECS = {
    "nearest": Preprocessing(interpolation=Interpolation.NEAREST),
    "half": Preprocessing(height=112, width=112),
    "299 square": Preprocessing(height=299, width=299),
    "tall": Preprocessing(height=256, width=96),
    "wide": Preprocessing(height=96, width=256),
    "one pixel": Preprocessing(height=1, width=1, tile_grid=(1, 1)),
    "one row": Preprocessing(height=1, width=224, tile_grid=(8, 1)),
    "one column": Preprocessing(height=224, width=1, tile_grid=(1, 8)),
    "one row, undivided": Preprocessing(height=1, width=223, tile_grid=(8, 1)),
    "one column, nearest": Preprocessing(
        height=224, width=1, interpolation=Interpolation.NEAREST, tile_grid=(1, 8)
    ),
    "one tile": Preprocessing(tile_grid=(1, 1)),
    "columns undivided": Preprocessing(tile_grid=(9, 8)),
    "rows undivided": Preprocessing(tile_grid=(8, 9)),
    "both undivided": Preprocessing(tile_grid=(13, 11)),
    "more columns than rows": Preprocessing(tile_grid=(16, 4)),
    "odd size": Preprocessing(height=223, width=221),
    "one pixel a tile": Preprocessing(height=24, width=24, tile_grid=(24, 24)),
    "padding longer than the image": Preprocessing(height=4, width=5, tile_grid=(2, 4)),
    "clip limit below one count": Preprocessing(clip_limit=0.01),
    "clip limit 1": Preprocessing(clip_limit=1.0),
    "clip limit 3.3": Preprocessing(clip_limit=3.3),
    "clip limit 4": Preprocessing(clip_limit=4.0),
    "clip limit 40": Preprocessing(clip_limit=40.0),
    "clip limit above any count": Preprocessing(clip_limit=256.0),
    "clip limit ten thousand": Preprocessing(clip_limit=1e4),
}

SPEC_SOURCES = {
    name: SIZES[name] for name in ("1x1", "7x1", "111x113", "224x224", "448x448", "512x512")
}

GRIDS = {
    f"{columns} by {rows}": (columns, rows)
    for columns, rows in [(8, 8), (1, 1), (2, 3), (7, 5), (16, 16), (9, 8), (8, 9)]
}


def assert_same_bytes(expected, actual):
    assert actual.dtype == expected.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.count_nonzero(actual != expected) == NO_MISMATCH


def opencv_resize(pixels, height, width, interpolation=Interpolation.LINEAR):
    flag = {"linear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}[str(interpolation)]
    return cv2.resize(pixels, (width, height), interpolation=flag)


def almost_right_resize(pixels, height, width):
    """Bilinear in the same fixed point, but with one rounded sum: right to one grey level."""

    def taps(source, target):
        position = (np.arange(target) + 0.5) * source / target - 0.5
        start = np.floor(position).astype(int)
        fraction = np.rint((position - start) * 2048).astype(np.int64)
        return np.clip(start, 0, source - 1), np.clip(start + 1, 0, source - 1), fraction

    left, right, across = taps(pixels.shape[1], width)
    top, bottom, down = taps(pixels.shape[0], height)
    wide = pixels.astype(np.int64)
    rows = wide[:, left] * (2048 - across) + wide[:, right] * across
    total = rows[top] * (2048 - down)[:, None] + rows[bottom] * down[:, None]
    return ((total + (1 << 21)) >> 22).astype(np.uint8)


def golden_source():
    """Integers only, so that it is the same image wherever it is made."""
    down, across = np.mgrid[0:301, 0:277]
    texture = (down * 37 + across * 101 + down * across) % 97
    inside = (down - 150) ** 2 + (across - 138) ** 2 < 120**2
    return np.where(inside, 60 + texture, texture // 12).astype(np.uint8)


GOLDEN_SOURCE_SHA256 = "d294373e30fb7e3754b991f74b4c2cd140a5797f5aa29341880ab82bd4e4969a"
GOLDEN_RESULT_SHA256 = "05180560bfea3ccb50c3633bcf9b8d885150a73009f3e33b01f07c81bba3460f"


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_default_spec(size, content):
    pixels = content(*size)
    spec = Preprocessing()
    assert_same_bytes(reference.preprocess(pixels, spec), CpuPreprocessor(spec)(pixels))


@pytest.mark.parametrize("size", SPEC_SOURCES.values(), ids=SPEC_SOURCES.keys())
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_other_specs(spec, size):
    for content in (noise, dark_background):
        pixels = content(*size)
        expected = reference.preprocess(pixels, spec)
        assert expected.shape == spec.shape
        assert_same_bytes(expected, CpuPreprocessor(spec)(pixels))


@pytest.mark.parametrize("clip_limit", [1e7, 1e9, 1e12, 1e300])
def test_huge_clip_limit_is_exact_or_refused(clip_limit):
    try:
        spec = Preprocessing(clip_limit=clip_limit)
    except SpecError:
        return
    pixels = dark_background(224, 224)
    assert_same_bytes(reference.preprocess(pixels, spec), CpuPreprocessor(spec)(pixels))


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_small_spec(data):
    rows, columns = data.draw(st.tuples(st.integers(1, 70), st.integers(1, 70)), "source")
    height, width = data.draw(st.tuples(st.integers(1, 48), st.integers(1, 48)), "target")
    spec = Preprocessing(
        height=height,
        width=width,
        interpolation=data.draw(st.sampled_from(Interpolation)),
        clip_limit=data.draw(st.floats(0.001, 300.0)),
        tile_grid=data.draw(st.tuples(st.integers(1, width), st.integers(1, height)), "tiles"),
    )
    pixels = noise(rows, columns)
    assert_same_bytes(reference.preprocess(pixels, spec), CpuPreprocessor(spec)(pixels))


@needs_exact_opencv
@pytest.mark.parametrize("interpolation", Interpolation)
@pytest.mark.parametrize("target", [(224, 224), (96, 256), (1, 1), (299, 61)], ids=str)
@pytest.mark.parametrize("size", SPEC_SOURCES.values(), ids=SPEC_SOURCES.keys())
def test_reference_resize_is_opencv_resize(size, target, interpolation):
    pixels = noise(*size)
    expected = opencv_resize(pixels, *target, interpolation)
    assert_same_bytes(expected, reference.resize(pixels, *target, interpolation))


@needs_exact_opencv
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_reference_resize_to_224_is_opencv_resize(size):
    pixels = noise(*size)
    expected = opencv_resize(pixels, 224, 224)
    assert_same_bytes(expected, reference.resize(pixels, 224, 224, Interpolation.LINEAR))


@needs_exact_opencv
@pytest.mark.parametrize("clip_limit", [0.01, 1.0, 2.0, 3.3, 40.0])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_reference_clahe_is_opencv_clahe(grid, clip_limit):
    for pixels in (noise(224, 224), dark_background(224, 224), gradient(150, 97)):
        expected = cv2.createCLAHE(clip_limit, grid).apply(pixels)
        assert_same_bytes(expected, reference.clahe(pixels, clip_limit, grid))


@pytest.mark.parametrize("size", ["224x224", "448x448", "512x512"])
def test_halves_make_the_whole(size):
    pixels = dark_background(*SIZES[size])
    preprocessor = CpuPreprocessor(Preprocessing())
    resized = preprocessor.resize(pixels)
    assert_same_bytes(preprocessor(pixels), preprocessor.equalise(resized))


@pytest.mark.parametrize("size", ["224x224", "512x512"])
@pytest.mark.parametrize(
    "implementation",
    [
        lambda pixels: reference.preprocess(pixels, Preprocessing()),
        CpuPreprocessor(Preprocessing()),
    ],
    ids=["reference", "cpu"],
)
def test_input_is_left_alone_and_output_is_its_own(implementation, size):
    pixels = dark_background(*SIZES[size])
    before = pixels.copy()
    first = implementation(pixels)
    kept = first.copy()
    second = implementation(np.ascontiguousarray(pixels[::-1]))
    assert np.array_equal(pixels, before)
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)
    assert not np.shares_memory(first, pixels)


def test_views_are_read_as_their_pixels():
    pixels = dark_background(512, 400)
    preprocessor = CpuPreprocessor(Preprocessing())
    for view in (pixels[::-1], pixels[:, ::-1], pixels.T, pixels[3:-5, 7:-11]):
        assert_same_bytes(preprocessor(np.ascontiguousarray(view)), preprocessor(view))


def test_from_several_threads_at_once():
    spec = Preprocessing()
    shared = CpuPreprocessor(spec)
    images = [content(*SIZES["236x236"]) for content in CONTENTS.values()]
    expected = [reference.preprocess(pixels, spec) for pixels in images]
    start = threading.Barrier(THREADS)

    def work(worker):
        start.wait(timeout=30)
        return [
            (index, shared(images[index]))
            for turn in range(12)
            for index in [(turn + worker) % len(images)]
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        results = [pair for pairs in pool.map(work, range(THREADS)) for pair in pairs]
    assert len(results) == THREADS * 12
    for index, actual in results:
        assert_same_bytes(expected[index], actual)


@pytest.mark.dataset
@pytest.mark.parametrize("split", ["Training", "Testing"])
@pytest.mark.parametrize(
    "label", ["glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor"]
)
def test_real_slices(dataset, split, label):
    files = sorted((dataset / split / label).glob("*.jpg"))
    chosen = files[:: max(len(files) // IMAGES_PER_CLASS, 1)][:IMAGES_PER_CLASS]
    assert len(chosen) == IMAGES_PER_CLASS
    spec = Preprocessing()
    preprocessor = CpuPreprocessor(spec)
    for path in chosen:
        (scan,) = read_scans(path)
        expected = reference.preprocess(scan.pixels, spec)
        assert_same_bytes(expected, preprocessor(scan.pixels))


def test_golden_source_is_what_was_pinned():
    assert hashlib.sha256(golden_source().tobytes()).hexdigest() == GOLDEN_SOURCE_SHA256


def test_reference_golden():
    result = reference.preprocess(golden_source(), Preprocessing())
    assert hashlib.sha256(result.tobytes()).hexdigest() == GOLDEN_RESULT_SHA256


def test_cpu_golden():
    # Fails when an OpenCV release changes its arithmetic.
    result = CpuPreprocessor(Preprocessing())(golden_source())
    assert hashlib.sha256(result.tobytes()).hexdigest() == GOLDEN_RESULT_SHA256


def test_almost_right_resize_is_caught():
    pixels = noise(*SIZES["512x512"])
    right = reference.resize(pixels, 224, 224, Interpolation.LINEAR)
    wrong = almost_right_resize(pixels, 224, 224)
    difference = np.abs(right.astype(int) - wrong)
    assert difference.max() == ONE_GREY_LEVEL
    with pytest.raises(AssertionError):
        assert_same_bytes(right, wrong)


def test_almost_right_resize_is_far_off_after_clahe():
    pixels = dark_background(*SIZES["512x512"])
    spec = Preprocessing()
    wrong = reference.clahe(almost_right_resize(pixels, 224, 224), spec.clip_limit, spec.tile_grid)
    right = CpuPreprocessor(spec)(pixels)
    assert np.abs(right.astype(int) - wrong).max() > ONE_GREY_LEVEL
    with pytest.raises(AssertionError):
        assert_same_bytes(right, wrong)
