"""TensorRT's logger, of which only the errors are kept: some failures are told nowhere else."""

from typing import Any

_FATAL = {"ERROR", "INTERNAL_ERROR"}


def error_logger(trt: Any, errors: list[str]) -> Any:
    """Make a logger of a TensorRT module that appends every error to a list."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps errors; nothing is printed."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity.name in _FATAL:
                errors.append(message)

    return Logger()
