"""Fitting and measuring the decision policy of a bundle: temperature, outliers, quality."""
