"""What a batch's upload, preprocessing, computation and download took, by the GPU's own clock."""

from typing import Any


class BatchEvents:
    """Timing events of one batch in flight, around each of its parts.

    Copies in run on a stream of their own, so that each part is timed by a pair on its own stream.

    Parameters
    ----------
    driver : module
        ``pycuda.driver``.
    """

    def __init__(self, driver: Any) -> None:
        # Without DISABLE_TIMING, unlike the events that only order work.
        self._events = [driver.Event() for _ in range(6)]

    def uploading(self, stream: Any) -> None:
        """Mark the beginning of the copy in."""
        self._events[0].record(stream)

    def uploaded(self, stream: Any) -> None:
        """Mark the end of the copy in."""
        self._events[1].record(stream)

    def preprocessing(self, stream: Any) -> None:
        """Mark the beginning of what precedes the engine; the stream has waited for the copy."""
        self._events[2].record(stream)

    def computing(self, stream: Any) -> None:
        """Mark the beginning of the computation, which is the end of the preprocessing."""
        self._events[3].record(stream)

    def computed(self, stream: Any) -> None:
        """Mark the end of the computation, which is the beginning of the copy out."""
        self._events[4].record(stream)

    def downloaded(self, stream: Any) -> None:
        """Mark the end of the copy out."""
        self._events[5].record(stream)

    def times_ms(self) -> tuple[float, float, float, float]:
        """Return upload, preprocessing, compute and download; the batch must be done."""
        start, copied, began, ready, computed, end = self._events
        return (
            float(copied.time_since(start)),
            float(ready.time_since(began)),
            float(computed.time_since(ready)),
            float(end.time_since(computed)),
        )


class NoEvents:
    """In place of `BatchEvents` where nobody asks for times: nothing is recorded."""

    def uploading(self, stream: Any) -> None:
        """Do nothing."""

    uploaded = preprocessing = computing = computed = downloaded = uploading

    def times_ms(self) -> tuple[float, float, float, float]:
        """Return zeros: nothing was timed."""
        return 0.0, 0.0, 0.0, 0.0


NO_EVENTS = NoEvents()
