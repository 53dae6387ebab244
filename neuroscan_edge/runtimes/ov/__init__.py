"""OpenVINO: builder and runner."""
