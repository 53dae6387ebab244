"""Fits a recipe and, once so many images are done, kills its own process: RECIPE DATA OUTPUT N."""

import os
import signal
import sys
from pathlib import Path

from training.fit.callbacks import Progress
from training.fit.model import BackboneWeights
from training.fit.run import FitOptions, fit
from training.recipe.loading import load_recipe

recipe, data, output = map(Path, sys.argv[1:4])
last = int(sys.argv[4])


def kill_at_last(progress: Progress) -> None:
    if progress.done == last:
        os.kill(os.getpid(), signal.SIGKILL)


options = FitOptions(data=data, output=output, weights=BackboneWeights("none"), save_every_s=0)
fit(load_recipe(recipe), options, kill_at_last)
