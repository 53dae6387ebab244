"""NeuroScan Edge: brain-MRI slice classification beside the scanner. Research use only."""

__version__ = "0.1.0"
