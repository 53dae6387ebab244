"""Measurements, each run as ``python -m benchmarks.NAME``, and their recorded results."""
