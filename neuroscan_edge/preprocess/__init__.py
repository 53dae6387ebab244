"""Left of the boundary: from grayscale pixels to the exact bytes a graph reads."""
