"""NIfTI volumes, read with nibabel: one scan a slice along the acquisition axis."""
