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
from neuroscan_edge.preprocess.opencv import OPENCV_IS_EXACT, CpuPreprocessor
from neuroscan_edge.scans import read_scans
from neuroscan_edge.spec import MAX_CLIP_LIMIT, Interpolation, Preprocessing
from support.preprocess_cases import (
    CONTENTS,
    GOLDEN_RESULT_SHA256,
    GOLDEN_SOURCE_SHA256,
    SIZES,
    SPEC_SOURCES,
    SPECS,
    assert_same_bytes,
    dark_background,
    golden_source,
    gradient,
    noise,
)

ONE_GREY_LEVEL = 1
IMAGES_PER_CLASS = 4
THREADS = 8

needs_exact_opencv = pytest.mark.skipif(
    not OPENCV_IS_EXACT, reason="OpenCV computes other bytes on this processor family"
)

GRIDS = {
    f"{columns} by {rows}": (columns, rows)
    for columns, rows in [(8, 8), (1, 1), (2, 3), (7, 5), (16, 16), (9, 8), (8, 9)]
}


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
def test_clip_limit_above_the_largest_allowed_is_refused(clip_limit):
    with pytest.raises(SpecError, match="clip_limit"):
        Preprocessing(clip_limit=clip_limit)


@pytest.mark.parametrize("clip_limit", [1_000, 9_999, MAX_CLIP_LIMIT])
def test_largest_clip_limits_are_exact(clip_limit):
    spec = Preprocessing(clip_limit=clip_limit)
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
