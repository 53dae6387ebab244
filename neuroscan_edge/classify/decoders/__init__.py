"""Files to slices that the model takes, in processes that may die: `Decoders`."""

from neuroscan_edge.classify.decoders.pool import (
    DecoderOptions,
    Decoders,
    DecodersNotAvailableError,
    ready_decoders,
    start_decoders,
)
from neuroscan_edge.classify.decoders.prepare import QUICK_S, Preparation, Prepared

__all__ = [
    "QUICK_S",
    "DecoderOptions",
    "Decoders",
    "DecodersNotAvailableError",
    "Preparation",
    "Prepared",
    "ready_decoders",
    "start_decoders",
]
