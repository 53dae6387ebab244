"""TensorRT and TensorRT for RTX: builder, runner, tensor checks and kernel cache."""
