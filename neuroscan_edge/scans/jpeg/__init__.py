"""JPEG streams: markers, luminance alone, colour, and lossless decoding."""
