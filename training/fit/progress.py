"""Showing how a fit goes: a bar on a terminal, a line a minute elsewhere."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from training.fit.callbacks import Progress

LINE_EVERY_S = 60.0


@contextlib.contextmanager
def progress() -> Iterator[Callable[["Progress"], None]]:
    """Yield what `training.fit.run.fit` should report to."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), *Bar.get_default_columns()[1:3])
    with Bar(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("reading images", total=None)

        def show(now: "Progress") -> None:
            bar.update(task, description=_describe(now), completed=now.done, total=now.total)

        yield show


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = -math.inf

    def __call__(self, now: "Progress") -> None:
        if time.monotonic() - self._last < LINE_EVERY_S and now.done < now.total:
            return
        self._last = time.monotonic()
        eta = timedelta(seconds=round(now.remaining_s))
        self._console.print(f"{_describe(now)}, {now.done}/{now.total} images, {eta} left")


def _describe(now: "Progress") -> str:
    return f"epoch {now.epoch}/{now.epochs}, loss {now.loss:.3f}, {now.images_per_s:.1f} images/s"
