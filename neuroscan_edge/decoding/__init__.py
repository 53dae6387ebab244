"""Files to slices that the model takes, in processes that may die: `Decoders`."""

from neuroscan_edge.decoding.decoders import DecoderOptions, Decoders, DecodersNotAvailableError
from neuroscan_edge.decoding.preparing import Preparation, Prepared

__all__ = [
    "DecoderOptions",
    "Decoders",
    "DecodersNotAvailableError",
    "Preparation",
    "Prepared",
]
