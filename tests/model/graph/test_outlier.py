import numpy as np
import pytest

from neuroscan_edge.errors import SpecError
from neuroscan_edge.model.graph.outlier import OutlierLayer, fit_layer, outlier_scores

ROUNDING = 1e-6


def clouds(count=400, features=6, seed=0):
    """Two classes with one covariance."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(features, features))
    targets = rng.integers(0, 2, count)
    centres = rng.normal(0, 5, (2, features))
    return centres[targets] + rng.normal(size=(count, features)) @ mixing, targets


def test_with_all_but_one_direction_it_is_the_mahalanobis_distance():
    features, targets = clouds()
    layer = fit_layer("f", features, targets, 2, 5, shrinkage=1e-9)
    about = features - np.stack([features[targets == k].mean(0) for k in (0, 1)])[targets]
    inverse = np.linalg.inv(about.T @ about / len(about))
    probes = np.random.default_rng(1).normal(0, 8, (50, 6))
    apart = [probes - features[targets == label].mean(0) for label in (0, 1)]
    expected = np.min([np.einsum("nf,fg,ng->n", d, inverse, d) for d in apart], axis=0)
    np.testing.assert_allclose(layer.squared_distances(probes), expected, rtol=1e-4)


def test_the_nearest_class_counts():
    features, targets = clouds()
    layer = fit_layer("f", features, targets, 2, 4)
    np.testing.assert_allclose(layer.squared_distances(layer.means), 0, atol=1e-3)
    assert layer.squared_distances(layer.means + 100.0).min() > 1e3


def test_a_scaled_layer_gives_scaled_distances():
    features, targets = clouds()
    layer = fit_layer("f", features, targets, 2, 4)
    once = outlier_scores([layer], {"f": features})
    np.testing.assert_allclose(
        outlier_scores([layer.scaled(0.25)], {"f": features}), once / 4, rtol=1e-5, atol=ROUNDING
    )


def test_two_layers_add_their_squares():
    features, targets = clouds()
    one = fit_layer("f", features, targets, 2, 4)
    other = fit_layer("g", features[:, :3], targets, 2, 2)
    both = outlier_scores([one, other], {"f": features, "g": features[:, :3]})
    squares = one.squared_distances(features) + other.squared_distances(features[:, :3])
    np.testing.assert_allclose(both, np.sqrt(squares))


def test_a_class_without_a_slice_is_an_error():
    features, targets = clouds()
    with pytest.raises(SpecError, match="1 classes have no slice"):
        fit_layer("f", features, targets, 3, 4)


def test_features_that_never_vary_are_an_error():
    targets = np.array([0, 1] * 10)
    with pytest.raises(SpecError, match="the same for every slice"):
        fit_layer("f", np.repeat(targets[:, None], 4, axis=1).astype(float), targets, 2, 2)


@pytest.mark.parametrize(
    ("means", "directions", "rate"),
    [
        (np.zeros(3), np.zeros((3, 2)), 1.0),
        (np.zeros((2, 3)), np.zeros((4, 2)), 1.0),
        (np.full((2, 3), np.nan), np.zeros((3, 2)), 1.0),
        (np.zeros((2, 3)), np.zeros((3, 2)), 0.0),
        (np.zeros((2, 3)), np.zeros((3, 2)), np.nan),
    ],
    ids=["means", "directions", "nan", "rate", "nan-rate"],
)
def test_statistics_that_cannot_be_are_refused(means, directions, rate):
    with pytest.raises(SpecError, match="outlier statistics"):
        OutlierLayer("f", means.astype(np.float32), directions.astype(np.float32), rate)
