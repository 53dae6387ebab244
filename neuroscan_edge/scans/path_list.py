"""Many paths in little memory: folder and name as bytes, each made a `Path` when asked for."""

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload


class Paths(Sequence[Path]):
    """A sequence of paths that takes their names' bytes and 16 more: a used `Path` takes 400.

    Paths of one folder that come together share its name.

    Parameters
    ----------
    paths : iterable of Path
        In order.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._folders: list[str] = []
        self._folder_of = array("Q")
        self._names = bytearray()
        self._ends = array("Q")
        for path in paths:
            self.append(path)

    def append(self, path: Path) -> None:
        """Add one at the end."""
        folder, name = os.path.split(path)
        if not self._folders or self._folders[-1] != folder:
            self._folders.append(folder)
        self._folder_of.append(len(self._folders) - 1)
        self._names += os.fsencode(name)
        self._ends.append(len(self._names))

    @overload
    def __getitem__(self, index: int) -> Path: ...

    @overload
    def __getitem__(self, index: slice) -> "Paths": ...

    def __getitem__(self, index: int | slice) -> "Path | Paths":
        places = range(len(self))[index]
        if isinstance(places, range):
            return Paths(self._at(place) for place in places)
        return self._at(places)

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Path]:
        return map(self._at, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return list(self) == list(other)

    # As a list: it grows.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Paths({list(self)!r})"

    def _at(self, place: int) -> Path:
        start = self._ends[place - 1] if place else 0
        name = os.fsdecode(bytes(self._names[start : self._ends[place]]))
        return Path(self._folders[self._folder_of[place]], name)
