"""Draws are balanced: a source does not give a class away."""

from pathlib import Path

import numpy as np
import pytest

from neuroscan_edge.errors import DatasetError
from training.sources.listing import SourceFile
from training.sources.sampling import BalancedSampler


def files_of(source: str, label: str, sequence: str, count: int) -> list[SourceFile]:
    return [
        SourceFile(Path("x"), source, label, "training", sequence, "", "") for _ in range(count)
    ]


FILES = [
    *files_of("a", "glioma", "t1", 90),
    *files_of("a", "none", "t1", 10),
    *files_of("b", "glioma", "t1", 16),
    *files_of("b", "none", "t2", 4),
    *files_of("b", "none", "flair", 5),
]


def chance(sampler: BalancedSampler, **values: str) -> float:
    chosen = [all(getattr(file, k) == v for k, v in values.items()) for file in FILES]
    return float(sampler.probabilities[chosen].sum())


def test_classes_of_a_source_are_equally_likely() -> None:
    sampler = BalancedSampler(FILES, {})
    for source in "ab":
        of_source = chance(sampler, source=source)
        assert chance(sampler, source=source, label="none") == pytest.approx(of_source / 2)


def test_source_is_chosen_by_weight_and_root_of_its_size() -> None:
    sampler = BalancedSampler(FILES, {"a": 1.0, "b": 3.0})
    assert chance(sampler, source="a") == pytest.approx(10 / (10 + 3 * 5))


def test_sequences_of_a_class_are_drawn_by_the_root_of_their_size() -> None:
    sampler = BalancedSampler(FILES, {})
    ratio = chance(sampler, sequence="t2") / chance(sampler, sequence="flair")
    assert ratio == pytest.approx(2 / 5**0.5)


def test_draws_follow_the_chances_and_repeat() -> None:
    sampler = BalancedSampler(FILES, {"b": 0.5})
    order = sampler.order(seed=3, epoch=1, draws=1000)
    counts = np.bincount(order, minlength=len(FILES))
    assert np.abs(counts - 1000 * sampler.probabilities).max() <= 1
    np.testing.assert_array_equal(order, sampler.order(3, 1, 1000))
    assert not np.array_equal(order, sampler.order(3, 2, 1000))


def test_weight_of_zero_never_draws() -> None:
    order = BalancedSampler(FILES, {"a": 0.0}).order(0, 0, 500)
    assert order.min() >= 100


def test_no_positive_weight_is_refused() -> None:
    with pytest.raises(DatasetError, match="no source has a positive weight"):
        BalancedSampler(FILES, {"a": 0.0, "b": 0.0})
