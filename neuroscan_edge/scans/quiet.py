"""Silence for decoding threads.

Decoders warn of odd but readable values and quote them; a DICOM header's may name a patient.
Python's `warnings.catch_warnings` saves and restores state of the whole process, so two threads
that use it at once can leave it changed for ever: here the first to enter saves it and the last to
leave restores it.
"""

import logging
import threading
import warnings
from types import TracebackType


class Quiet:
    """Context manager that drops warnings, and libraries' log records, while anyone is inside.

    Parameters
    ----------
    *loggers : str
        Names of the libraries' loggers.
    """

    def __init__(self, *loggers: str) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._saved: warnings.catch_warnings[None] | None = None
        for logger in loggers:
            logging.getLogger(logger).addFilter(self._passes)

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._saved = warnings.catch_warnings()
                self._saved.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._saved is not None:
                self._saved.__exit__(None, None, None)

    def _passes(self, record: logging.LogRecord) -> bool:
        return self._inside == 0


quiet = Quiet("pydicom", "tifffile")
