"""How far a build is: nested phases to one fraction that only grows."""

import threading
from collections.abc import Callable

Report = Callable[[float, str], None]
"""Called with the fraction done, 0 to 1, and the name of the current phase."""


class BuildCanceller:
    """Set by whoever wants a build to stop; a builder asks it after every step."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """Ask the build to stop at its next step."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether it should stop."""
        return self._event.is_set()


class PhaseTree:
    """Nested phases as TensorRT reports them, from any thread.

    A phase of n steps that is in step k, whose only open child is a fraction f along, is (k + f)/n
    along.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._open: dict[str, tuple[str | None, int, int]] = {}
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Enter a phase of so many steps."""
        with self._lock:
            self._open[name] = (parent, max(steps, 1), 0)
            self._tell(name)

    def step(self, name: str, index: int) -> None:
        """Note that step `index` of a phase, from 0, is done."""
        with self._lock:
            if name in self._open:
                parent, steps, _ = self._open[name]
                self._open[name] = (parent, steps, min(index + 1, steps))
                self._tell(name)

    def finish(self, name: str) -> None:
        """Leave a phase."""
        with self._lock:
            parent, _, _ = self._open.pop(name, (name, 1, 0))
            if parent is None:
                self._fraction = 1.0
                self._report(self._fraction, name)

    def _tell(self, name: str) -> None:
        fraction = 0.0
        current: str | None = name
        while current in self._open:
            parent, steps, done = self._open[current]
            fraction = min((done + fraction) / steps, 1.0)
            current = parent
        self._fraction = max(self._fraction, fraction)
        self._report(self._fraction, name)
