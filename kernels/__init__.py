"""How the shipped CUDA kernels are built; not part of the wheel."""
