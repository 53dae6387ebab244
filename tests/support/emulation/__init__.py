"""CUDA kernels compiled for the host."""
