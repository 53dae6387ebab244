"""Passes over ONNX graphs: each takes a graph and returns another, or reads one."""
