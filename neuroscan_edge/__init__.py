"""NeuroScan Edge: brain-MRI slice classification beside the scanner. Research use only."""

from neuroscan_edge.system import no_telemetry

__version__ = "0.1.0"

# Before any import of a library that reports its use.
no_telemetry.switch_off()
