"""A picture of each classified slice, drawn beside the run and whole before its row is kept."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from neuroscan_edge._files import write_whole
from neuroscan_edge.errors import OutputError
from neuroscan_edge.judging.overlay import Caption, draw_overlay
from neuroscan_edge.machine import usable_cores
from neuroscan_edge.pipeline import Batch, Drawing
from neuroscan_edge.results import Result

Draw = Callable[[Batch], list[Result]]
"""Gives a batch's results, with the names of their pictures."""


@contextlib.contextmanager
def heatmap_folder(folder: Path | None, first: int = 0) -> Iterator[Draw]:
    """Open a folder for pictures: what the block is given draws a batch.

    A picture is named by the number of its row in the order of input, so that a run that is
    continued names them as an unbroken one. No file name, which may be a person's, is repeated.

    Parameters
    ----------
    folder : Path or None
        Made if it is not there; None draws nothing.
    first : int
        Rows that are done already.

    Raises
    ------
    OutputError
        If the folder cannot be made, or a picture not be written.
    """
    if folder is None:
        yield lambda batch: list(batch.results)
        return
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
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
