"""Raster files: PNG, JPEG, TIFF, BMP and WebP, read to greyscale slices."""
