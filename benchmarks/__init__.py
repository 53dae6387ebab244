"""Measurements, each run as ``python -m benchmarks.NAME``, and their recorded results."""

from neuroscan_edge.system import no_telemetry

# Before any import here of a library that reports its use.
no_telemetry.switch_off()
