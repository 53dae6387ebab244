"""Names of the outputs that a graph may have beside its probabilities."""

OUTLIER_SCORE = "outlier_score"
"""(N,) float32: how far from the training slices; above 1 is out of distribution."""

HEATMAPS = "heatmaps"
"""(N, C, H, W) float32, not negative: Grad-CAM of every class."""

PREFIX = "judging/"
"""Of every node and weight behind these outputs: they stay float32 in a graph of any precision."""
