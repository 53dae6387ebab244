"""The unmodified CUDA source on the host: the reference's bytes, in any order of threads."""

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroscan_edge.preprocess import reference
from neuroscan_edge.preprocess.opencv import CpuPreprocessor
from neuroscan_edge.spec import Interpolation, Preprocessing
from support.emulation.emulator import (
    GXX,
    KERNEL_SOURCE,
    NO_GXX,
    ORDERS,
    compile_program,
    run_program,
)
from support.preprocess_cases import (
    CONTENTS,
    GOLDEN_RESULT_SHA256,
    SIZES,
    SPEC_SOURCES,
    SPECS,
    assert_same_bytes,
    dark_background,
    golden_source,
    noise,
)

DIED = 1
needs_gxx = pytest.mark.skipif(GXX is None, reason=NO_GXX)


def expected(slices, spec):
    """What the CPU path gives; `test_exactness` holds it against the reference."""
    preprocess = CpuPreprocessor(spec)
    return np.stack([preprocess(pixels) for pixels in slices])


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_default_spec(emulator, size):
    slices = [content(*size) for content in CONTENTS.values()]
    right = expected(slices, Preprocessing())
    for order in ORDERS:
        found = emulator.preprocess(slices, Preprocessing(), order, seed=size[0])
        assert_same_bytes(right, found)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_other_specs(emulator, spec):
    orders = 2 * list(ORDERS)
    for seed, (size, order) in enumerate(zip(SPEC_SOURCES.values(), orders, strict=True)):
        slices = [noise(*size), dark_background(*size)]
        found = emulator.preprocess(slices, spec, order, seed)
        assert_same_bytes(expected(slices, spec), found)


def test_golden(emulator):
    (result,) = emulator.preprocess([golden_source()], Preprocessing())
    assert hashlib.sha256(result.tobytes()).hexdigest() == GOLDEN_RESULT_SHA256


def test_slices_of_all_sizes_in_one_batch(emulator):
    slices = [dark_background(*size) for size in SIZES.values()]
    for order in ORDERS:
        found = emulator.preprocess(slices, Preprocessing(), order, seed=1)
        assert_same_bytes(expected(slices, Preprocessing()), found)


def test_a_slice_is_the_same_alone_and_in_any_batch(emulator):
    slices = [noise(50 + index, 90 - index) for index in range(7)]
    spec = Preprocessing(height=31, width=33, tile_grid=(3, 5))
    together = emulator.preprocess(slices, spec)
    for index, pixels in enumerate(slices):
        assert_same_bytes(emulator.preprocess([pixels], spec)[0], together[index])
    assert_same_bytes(emulator.preprocess(slices[::-1], spec), together[::-1])


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_small_spec(emulator, data):
    height, width = data.draw(st.tuples(st.integers(1, 48), st.integers(1, 48)), "target")
    spec = Preprocessing(
        height=height,
        width=width,
        interpolation=data.draw(st.sampled_from(Interpolation)),
        clip_limit=data.draw(st.floats(0.001, 300.0)),
        tile_grid=data.draw(
            st.tuples(st.integers(1, min(width, 9)), st.integers(1, min(height, 9)))
        ),
    )
    sizes = data.draw(
        st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=3)
    )
    slices = [noise(*size) for size in sizes]
    order = data.draw(st.sampled_from(sorted(ORDERS)))
    reference_result = np.stack([reference.preprocess(pixels, spec) for pixels in slices])
    assert_same_bytes(reference_result, emulator.preprocess(slices, spec, order))


LARGEST = {
    "a side of 4096": (Preprocessing(height=4096, width=64, tile_grid=(8, 64)), (500, 500)),
    "one tile of 2048x1024": (Preprocessing(2048, 1024, tile_grid=(1, 1)), (700, 300)),
    "one tile, undivided rows": (Preprocessing(1021, 700, tile_grid=(1, 2)), (1200, 1100)),
    "a wide source": (Preprocessing(), (3, 1 << 22)),
    "a tall source": (Preprocessing(), (1 << 22, 3)),
    "the largest source": (Preprocessing(), (4096, 4096)),
    "the longest row": (Preprocessing(), (1, 1 << 24)),
}


@pytest.mark.parametrize(("spec", "size"), LARGEST.values(), ids=LARGEST.keys())
def test_largest(emulator, spec, size):
    row = noise(1, size[1])[0].astype(np.uint16)
    slices = [((row + 7 * np.arange(size[0])[:, None]) % 251).astype(np.uint8)]
    assert_same_bytes(expected(slices, spec), emulator.preprocess(slices, spec, "reverse"))


# Tiles of more than a patch, several sizes, planes that are no multiple of four.
SMALL_BATCHES = {
    "tiles of several patches": (
        Preprocessing(height=80, width=72, tile_grid=(2, 2)),
        [noise(100, 90), dark_background(33, 47), noise(80, 72), noise(160, 144), noise(1, 1)],
    ),
    "undivided, odd planes": (
        Preprocessing(height=37, width=41, tile_grid=(4, 3)),
        [noise(61, 20), noise(74, 82), dark_background(40, 40)],
    ),
    "nearest": (
        Preprocessing(height=37, width=41, interpolation=Interpolation.NEAREST, tile_grid=(4, 3)),
        [noise(61, 20), noise(5, 7)],
    ),
    "one pixel": (Preprocessing(height=1, width=1, tile_grid=(1, 1)), [noise(1, 1), noise(9, 2)]),
    "one row, undivided": (
        Preprocessing(height=1, width=23, tile_grid=(8, 1)),
        [noise(3, 30), noise(1, 1)],
    ),
}


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    if GXX is None:
        pytest.skip(NO_GXX)
    return compile_program(tmp_path_factory.mktemp("sanitized"), sanitized=True)


@pytest.mark.parametrize(("spec", "slices"), SMALL_BATCHES.values(), ids=SMALL_BATCHES.keys())
def test_under_address_sanitizer(sanitized, spec, slices):
    outcome = run_program(sanitized, slices, spec, "shuffled")
    assert outcome.code == 0, outcome.errors
    assert_same_bytes(expected(slices, spec), outcome.output)


def caught_in(program, spec, slices):
    """Thread orders in which a broken kernel dies or gives other bytes."""
    right = expected(slices, spec)
    caught = []
    for order in ORDERS:
        outcome = run_program(program, slices, spec, order)
        if outcome.code or not np.array_equal(outcome.output, right):
            caught.append(order)
    return caught


def broken(folder, wrong, *, sanitized=False):
    folder.mkdir()
    source = folder / "broken.cu"
    source.write_text(wrong)
    return compile_program(folder, sanitized=sanitized, source=source)


BARRIERS = [
    match.start() for match in re.finditer(r"__syncthreads\(\);", KERNEL_SOURCE.read_text())
]


@needs_gxx
@pytest.mark.parametrize("barrier", range(len(BARRIERS)))
def test_a_missing_barrier_is_caught(tmp_path, barrier):
    text = KERNEL_SOURCE.read_text()
    start = BARRIERS[barrier]
    without = text[:start] + text[start:].replace("__syncthreads();", "", 1)
    program = broken(tmp_path / "kernel", without)
    assert caught_in(program, *SMALL_BATCHES["tiles of several patches"])


@needs_gxx
def test_a_barrier_that_not_all_reach_is_caught(tmp_path):
    text = KERNEL_SOURCE.read_text()
    program = broken(
        tmp_path / "kernel",
        text.replace("__syncthreads();", "if (thread != 77) __syncthreads();", 1),
    )
    outcome = run_program(program, *reversed(SMALL_BATCHES["one pixel"]))
    assert outcome.code == DIED and "failure" in outcome.errors


OVERRUNS = {
    "a source row": ("tap.second = clamp(index + 1, 0, source - 1);", "tap.second = index + 1;"),
    "a look-up table": ("min(index + 1, tiles - 1)", "index + 1"),
    "the output": ("image_x < width && image_y < height", "true"),
    "shared memory": ("atomicAdd(&histogram[level], 1)", "atomicAdd(&histogram[level + 1], 1)"),
}


@needs_gxx
@pytest.mark.parametrize(("right", "wrong"), OVERRUNS.values(), ids=OVERRUNS.keys())
def test_reading_or_writing_out_of_bounds_is_caught(tmp_path, right, wrong):
    text = KERNEL_SOURCE.read_text()
    assert text.count(right) == 1
    program = broken(tmp_path / "kernel", text.replace(right, wrong), sanitized=True)
    spec, slices = SMALL_BATCHES["undivided, odd planes"]
    white = [np.full_like(pixels, 255) for pixels in slices]
    outcome = run_program(program, white, spec)
    assert outcome.code and "AddressSanitizer" in outcome.errors


CONTRACTED = """__fadd_rn(__fmul_rn(left_upper, column.to_first),
                                      __fmul_rn(right_upper, column.to_second));"""


@needs_gxx
def test_a_contracted_multiply_add_is_caught(tmp_path):
    text = KERNEL_SOURCE.read_text()
    assert text.count(CONTRACTED) == 1
    fused = "std::fma(left_upper, column.to_first, __fmul_rn(right_upper, column.to_second));"
    program = broken(tmp_path / "kernel", text.replace(CONTRACTED, fused))
    slices = [noise(224, 224)]
    assert caught_in(program, Preprocessing(), slices) == list(ORDERS)
