"""How far a slice lies from those that a network was trained on, by the network's own features.

Each layer has one mean a class and one covariance for all: the class-conditional Mahalanobis
distance of Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and
Adversarial Attacks" (NeurIPS 2018). The covariance is kept as its strongest directions, and one
variance for all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import SpecError

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OutlierLayer:
    """What one layer's features are like in training.

    The squared distance of features x from class c is
    ``rate * |x - mean_c|^2 - |(x - mean_c) directions|^2``.

    Parameters
    ----------
    tensor : str
        Name of the layer's output in the graph: (N, F), or (N, F, H, W), of which the mean over
        H and W is taken.
    means : (C, F) float32
        Mean of each class.
    directions : (F, K) float32
        Strongest directions of the features' variation about their class's mean, each scaled by
        ``sqrt(rate - 1 / variance)``.
    rate : float
        One over the variance in every other direction.

    Raises
    ------
    SpecError
        If shapes disagree or a value is not finite.
    """

    tensor: str
    means: Float32
    directions: Float32
    rate: float

    def __post_init__(self) -> None:
        features = self.means.shape[1] if self.means.ndim == 2 else -1
        if self.directions.ndim != 2 or self.directions.shape[0] != features:
            raise SpecError(
                f"outlier statistics of {self.tensor} have means {self.means.shape} and directions "
                f"{self.directions.shape}; give (classes, features) and (features, directions)"
            )
        finite = np.isfinite(self.means).all() and np.isfinite(self.directions).all()
        if not (finite and np.isfinite(self.rate) and self.rate > 0):
            raise SpecError(
                f"outlier statistics of {self.tensor} are not finite, or rate is not > 0"
            )

    def scaled(self, factor: float) -> "OutlierLayer":
        """Return the layer with every distance multiplied by `factor`."""
        directions = np.asarray(self.directions * factor, np.float32)
        return OutlierLayer(self.tensor, self.means, directions, self.rate * factor**2)

    def squared_distances(self, features: npt.NDArray[np.floating]) -> Float64:
        """Squared distance to the nearest class, (N, F) to (N,) float64."""
        nearest = np.full(len(features), np.inf)
        for mean in self.means.astype(np.float64):
            apart = features - mean
            within = np.square(apart @ self.directions.astype(np.float64)).sum(axis=1)
            nearest = np.minimum(nearest, self.rate * np.square(apart).sum(axis=1) - within)
        return np.asarray(np.maximum(nearest, 0.0), np.float64)


def outlier_scores(
    layers: Sequence[OutlierLayer], features: Mapping[str, npt.NDArray[np.floating]]
) -> Float64:
    """Combine the layers' distances, (N,): the root of the sum of their squares.

    `features` are (N, F) by tensor name, averaged over H and W. What the graph computes in float32
    is held against this.
    """
    squares = [layer.squared_distances(features[layer.tensor]) for layer in layers]
    return np.asarray(np.sqrt(np.sum(squares, axis=0)))


def fit_layer(
    tensor: str,
    features: npt.NDArray[np.floating],
    targets: npt.NDArray[np.integer],
    classes: int,
    directions: int,
    *,
    shrinkage: float = 1e-3,
) -> OutlierLayer:
    """Fit one layer's statistics.

    Parameters
    ----------
    tensor : str
        The layer's output.
    features : (N, F) float
        Of the training slices.
    targets : (N,) int
        Their classes; each of `classes` at least once.
    classes : int
        Number of classes.
    directions : int
        How many are kept; fewer than F.
    shrinkage : float
        Share of the mean variance that is added to every direction's.

    Raises
    ------
    SpecError
        If a class has no slice, or there is nothing to tell slices apart by.
    """
    values = features.astype(np.float64)
    missing = set(range(classes)) - set(targets.tolist())
    if missing:
        raise SpecError(f"{len(missing)} classes have no slice to fit {tensor} on; give some")
    means = np.stack([values[targets == label].mean(axis=0) for label in range(classes)])
    about = values - means[targets]
    variances, axes = np.linalg.eigh(about.T @ about / len(about))
    # eigh sorts upwards.
    variances, axes = np.maximum(variances[::-1], 0.0), axes[:, ::-1]
    floor = shrinkage * variances.mean()
    kept = min(directions, len(variances) - 1)
    if not floor > 0 or kept < 1:
        raise SpecError(f"{tensor} is the same for every slice of a class; choose another layer")
    rate = 1.0 / (variances[kept:].mean() + floor)
    weights = np.sqrt(np.maximum(rate - 1.0 / (variances[:kept] + floor), 0.0))
    return OutlierLayer(
        tensor,
        means.astype(np.float32),
        np.asarray(axes[:, :kept] * weights, np.float32),
        float(rate),
    )
