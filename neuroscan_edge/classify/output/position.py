"""How far a run has come, in files and in rows of the next file."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come.

    Parameters
    ----------
    files : int
        Those that are wholly done, from the first.
    rows : int
        Results of the next file that are done.
    """

    files: int = 0
    rows: int = 0


BEGINNING = Position()
