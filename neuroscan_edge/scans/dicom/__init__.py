"""DICOM files: recognised by their first bytes, read to greyscale slices."""
