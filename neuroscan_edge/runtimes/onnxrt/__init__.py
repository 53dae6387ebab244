"""ONNX Runtime: builder and runners, on the CPU and with CUDA."""
