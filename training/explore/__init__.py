"""Pictures and figures of a data set: samples, histograms, CLAHE, intensities."""
