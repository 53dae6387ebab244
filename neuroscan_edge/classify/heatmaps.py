"""A picture of each classified slice, drawn beside the run and whole before its row is kept."""

import contextlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from neuroscan_edge.classify.overlay import Caption, draw_overlay
from neuroscan_edge.classify.pipeline import Batch, Drawing
from neuroscan_edge.errors import OutputError, UsageError
from neuroscan_edge.results import Result
from neuroscan_edge.system.files import write_whole
from neuroscan_edge.system.machine import usable_cores

_PICTURE = re.compile(r"[0-9]{6,}[.]png")

Draw = Callable[[Batch], list[Result]]
"""Gives a batch's results, with the names of their pictures."""


def check_heatmap_folder(folder: Path, *, again: bool) -> None:
    """Refuse a folder that pictures cannot go to, before a model is loaded.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    again : bool
        Whether pictures of an unfinished run may be in it.

    Raises
    ------
    UsageError
        If it is no folder, or holds pictures that rows of another run name.
    OutputError
        If it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name one for --heatmaps")
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        there = next((each for each in folder.iterdir() if _PICTURE.fullmatch(each.name)), None)
    if there is not None and not again:
        raise UsageError(
            f"{folder} holds pictures of an earlier run, {there.name} among them; name another "
            "folder, or remove them"
        )


@contextlib.contextmanager
def heatmap_folder(folder: Path | None, first: int = 0) -> Iterator[Draw]:
    """Open a folder for pictures: what the block is given draws a batch.

    A picture is named by the number of its row in the order of input, so that a run that is
    continued names them as an unbroken one. No file name, which may be a person's, is repeated.

    Parameters
    ----------
    folder : Path or None
        Which `check_heatmap_folder` has passed; None draws nothing.
    first : int
        Rows that are done already.

    Raises
    ------
    OutputError
        If a picture cannot be written.
    """
    if folder is None:
        yield lambda batch: list(batch.results)
        return
    number = first
    with ThreadPoolExecutor(usable_cores(), "draw") as pool:

        def draw(batch: Batch) -> list[Result]:
            nonlocal number
            results, waiting = [], []
            for result, drawing in zip(batch.results, batch.drawings, strict=True):
                if drawing is not None:
                    name = f"{number:06d}.png"
                    result = replace(result, heatmap=name)
                    waiting.append(pool.submit(_draw, folder / name, result, drawing))
                results.append(result)
                number += 1
            # All of them, before the rows that name them are kept.
            for each in waiting:
                each.result()
            return results

        yield draw


def _draw(path: Path, result: Result, drawing: Drawing) -> None:
    assert result.probabilities is not None and result.prediction is not None
    label = list(result.probabilities).index(result.prediction)
    share = result.probabilities[result.prediction]
    reasons = ", ".join(map(str, result.findings))
    words = f"{result.prediction} {share:.1%}, {result.decision}{f': {reasons}' if reasons else ''}"
    with _writing(path):
        write_whole(path, draw_overlay(drawing.pixels, drawing.heatmaps[label], Caption(words)))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}); free some space or check permissions, "
            "and run again"
        ) from error
