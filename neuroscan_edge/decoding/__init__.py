"""Files to slices that the model takes, in processes that may die: `Decoders`."""

from neuroscan_edge.decoding.decoders import DecoderOptions, Decoders, DecodersNotAvailableError
from neuroscan_edge.decoding.preparing import QUICK_S, Preparation, Prepared
from neuroscan_edge.decoding.starting import ready_decoders, start_decoders

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
