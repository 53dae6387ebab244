"""The lab: train and evaluate Keras baselines, as ``python -m training``; never at the edge."""

from neuroscan_edge.system import no_telemetry

# Before any import here of a library that reports its use.
no_telemetry.switch_off()
