"""What happens after each training step: counting, reporting, saving."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from training.fit.checkpoint import RunPosition, save_run
from training.recipe.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a running fit.

    Parameters
    ----------
    epoch, epochs : int
        Epochs begun and in all.
    done, total : int
        Images seen and to see, over the whole run.
    images_per_s : float
        Rate since this process began to train.
    loss : float
        Mean training loss of the epoch so far.
    """

    epoch: int
    epochs: int
    done: int
    total: int
    images_per_s: float
    loss: float

    @property
    def remaining_s(self) -> float:
        """Estimated seconds to the end of training."""
        return (self.total - self.done) / self.images_per_s if self.images_per_s else math.inf


Report = Callable[[Progress], None]


class Clock:
    """Counts images over the whole run and reports the rate."""

    def __init__(self, report: Report, recipe: Recipe, steps: int) -> None:
        self._report = report
        self._recipe = recipe
        self._steps = steps
        self._trained_s = 0.0
        self._trained_steps = 0

    @property
    def images_per_s(self) -> float:
        """Images trained on a second, validation excluded."""
        images = self._trained_steps * self._recipe.fit.batch_size
        return images / self._trained_s if self._trained_s else 0.0

    def step_done(self, epoch: int, step: int, seconds: float, loss: float) -> None:
        """Count one step and report it."""
        self._trained_s += seconds
        self._trained_steps += 1
        batch_size, epochs = self._recipe.fit.batch_size, self._recipe.epochs
        self._report(
            Progress(
                epoch=epoch + 1,
                epochs=epochs,
                done=(epoch * self._steps + step + 1) * batch_size,
                total=epochs * self._steps * batch_size,
                images_per_s=self.images_per_s,
                loss=loss,
            )
        )


class StepTimer(keras.callbacks.Callback):
    """Tells the clock of each step of one epoch."""

    def __init__(self, clock: Clock, epoch: int, first_step: int) -> None:
        super().__init__()
        self._clock = clock
        self._epoch = epoch
        self._first_step = first_step
        self._last = time.monotonic()

    def on_train_begin(self, logs: object = None) -> None:
        """Start timing."""
        self._last = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Report the step."""
        now = time.monotonic()
        loss = (logs or {}).get("loss", math.nan)
        self._clock.step_done(self._epoch, self._first_step + batch, now - self._last, loss)
        self._last = now


class StateSaver(keras.callbacks.Callback):
    """Saves the state every so often within an epoch."""

    def __init__(self, path: Path, position: RunPosition, steps: int, every_s: float) -> None:
        super().__init__()
        self._path = path
        self._position = position
        self._steps = steps
        self._every_s = every_s
        self._last = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Save, if it is time."""
        step = self._position.step + batch + 1
        # After the last step the epoch itself is saved, once it is validated.
        if step < self._steps and time.monotonic() - self._last >= self._every_s:
            save_run(self._path, self.model, replace(self._position, step=step))
            self._last = time.monotonic()
