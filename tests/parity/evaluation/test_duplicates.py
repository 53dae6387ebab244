"""Near-duplicates: pairs, groups, correlation, memory."""

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from neuroscan_edge.parity.evaluation.duplicates import (
    ALIKE_CORRELATION,
    correlation,
    distances,
    duplicate_groups,
    near_pairs,
    nearest_distances,
    without_duplicates_in,
)
from neuroscan_edge.parity.evaluation.images import load_images
from neuroscan_edge.scans.dataset import load_split
from neuroscan_edge.spec import Preprocessing

LABELS = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
SPEC = Preprocessing(height=64, width=64)


def test_copies_are_one_group_and_strangers_are_not(small_data):
    images = load_images(load_split(small_data, "training"), SPEC)
    groups = duplicate_groups(images.hashes, 4)
    names = [(file.path.parent.name, file.path.name) for file in images.files]
    for label in LABELS:
        of = {name: groups[names.index((label, name))] for name in ("00.png", "copy.png", "01.png")}
        assert of["00.png"] == of["copy.png"]
        assert of["00.png"] != of["01.png"]


def test_leaked_tests_are_found(small_data):
    training = load_images(load_split(small_data, "training"), SPEC)
    tests = load_images(load_split(small_data, "testing"), SPEC)
    clean = without_duplicates_in(tests.hashes, training.hashes, 4)
    leaked = [file.path.name == "leaked.jpg" for file in tests.files]
    assert not clean[leaked].any()
    assert clean[~np.array(leaked)].all()


def test_pairs_and_nearest_are_found_across_blocks():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 1 << 63, 600, np.uint64)
    hashes[[3, 300, 599]] = hashes[3]
    hashes[299] ^= np.uint64(0b101)
    hashes[300] = hashes[299] ^ np.uint64(1 << 40)
    expected = np.argwhere(np.triu(distances(hashes, hashes) <= 4, k=1))
    first, second, bits = near_pairs(hashes, 4)
    np.testing.assert_array_equal(np.column_stack([first, second]), expected)
    assert (3, 599, 0) in set(zip(first, second, bits, strict=True))
    assert (299, 300, 1) in set(zip(first, second, bits, strict=True))
    nearest = nearest_distances(hashes[:400], hashes[400:])
    np.testing.assert_array_equal(nearest, distances(hashes[:400], hashes[400:]).min(axis=1))
    none = hashes[:0]
    assert [len(each) for each in near_pairs(none, 4)] == [0, 0, 0]
    assert len(nearest_distances(none, hashes)) == 0


def test_groups_are_numbered_by_their_first_slice():
    rng = np.random.default_rng(2)
    hashes = rng.integers(0, 1 << 63, 700, np.uint64)
    hashes[[5, 300, 699]] = hashes[600]
    hashes[100:200] = hashes[:100] ^ np.uint64(0b11)
    hashes[200:300] = hashes[100:200] ^ np.uint64(0b111000)
    near = csr_array(distances(hashes, hashes) <= 4)
    expected = connected_components(near, directed=False)[1]
    np.testing.assert_array_equal(duplicate_groups(hashes, 4), expected)
    clean = without_duplicates_in(hashes[:400], hashes[400:], 4)
    np.testing.assert_array_equal(clean, (distances(hashes[:400], hashes[400:]) > 4).all(axis=1))
    assert len(duplicate_groups(hashes[:0], 4)) == 0


def test_memory_grows_with_the_slices_not_with_their_square():
    hashes = np.full(20_000, 7, np.uint64)
    tracemalloc.start()
    try:
        assert not duplicate_groups(hashes, 4).any()
        assert not without_duplicates_in(hashes, hashes, 4).any()
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_correlation_is_pearsons_and_defined_for_constant_slices():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 256, (2, 64, 64), np.uint8)
    expected = np.corrcoef(first.ravel(), second.ravel())[0, 1]
    assert correlation(first, second) == pytest.approx(expected, abs=1e-12)
    assert correlation(first, 255 - first) == pytest.approx(-1)
    assert correlation(first, first // 2) > ALIKE_CORRELATION
    flat = np.full((64, 64), 3, np.uint8)
    assert (correlation(flat, flat), correlation(flat, flat + 1)) == (1.0, 0.0)
