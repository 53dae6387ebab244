"""Evaluation statistics: metrics, intervals, comparisons and near-duplicate groups."""
