"""Judging a classification: calibrated probabilities, outlier scores, and what becomes of a slice.

`policy` decides at the edge; `graph` and `outlier` put the scores into the graphs, in the lab.
"""

from neuroscan_edge.judging.outputs import HEATMAPS, OUTLIER_SCORE
from neuroscan_edge.judging.policy import Judging, decide

__all__ = ["HEATMAPS", "OUTLIER_SCORE", "Judging", "decide"]
