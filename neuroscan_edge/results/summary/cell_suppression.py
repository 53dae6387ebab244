"""Tables without small cells, and without what small cells could be computed from.

A reader knows the totals of the columns, since the summary tells them, and those of the rows that
are shown. A table with totals is a flow: what a row's total feeds goes through its cells into the
columns' totals. A hidden cell cannot be pinned down if some other flow, alike in everything that is
shown, has more in it; such a flow goes round a cycle of hidden cells. So for each small cell the
cycle that costs the least is found, and everything on it is hidden too.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Counts = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]

Cell = tuple[int, int]
"""Row and column; column -1 is the row's total."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """What of a table is not shown.

    Parameters
    ----------
    cells : (R, C) bool
        Cells.
    totals : (R,) bool
        Totals of rows.
    """

    cells: _Flags
    totals: _Flags


def hide(
    counts: _Counts, few: _Flags, few_in_row: Sequence[bool] | _Flags, smallest: int
) -> Hidden | Cell:
    """Choose what to hide, so that no small cell can be told more closely than to `smallest`.

    Parameters
    ----------
    counts : (R, C) int64
        The cells, without totals.
    few : (R, C) bool
        The small cells: of too few people, and not empty.
    few_in_row : (R,) bool
        Rows of too few people.
    smallest : int
        How much more, at least, a small cell could hold by all that is shown.

    Returns
    -------
    Hidden or Cell
        A small cell that nothing can hide: with its row or column joined to another it might be.
    """
    network = _Network(counts)
    small = [(int(row), int(column)) for row, column in np.argwhere(few)]
    small += [(int(row), -1) for row in np.flatnonzero(few_in_row)]
    network.hidden.update(small)
    for cell in small:
        path = network.cheapest_cycle(cell, smallest)
        if path is None:
            return cell
        network.hidden.update(path)
    cells, totals = np.zeros(counts.shape, bool), np.zeros(len(counts), bool)
    for row, column in network.hidden:
        if column < 0:
            totals[row] = True
        else:
            cells[row, column] = True
    return Hidden(cells, totals)


class _Network:
    """Nodes: rows, columns, and one that feeds the rows and takes up the columns."""

    def __init__(self, counts: _Counts) -> None:
        self._counts = counts
        self.hidden: set[Cell] = set()

    def value(self, cell: Cell) -> int:
        row, column = cell
        return int(self._counts[row].sum() if column < 0 else self._counts[row, column])

    def cheapest_cycle(self, cell: Cell, amount: int) -> list[Cell] | None:
        """Return the cells, besides this, of a cycle along which `amount` more could flow."""
        tail, head = self._ends(cell)
        best: dict[str, float] = {head: 0}
        came: dict[str, tuple[str, Cell]] = {}
        queue: list[tuple[float, str]] = [(0, head)]
        while queue:
            cost, node = heapq.heappop(queue)
            if node == tail:
                path = []
                while node != head:
                    node, used = came[node]
                    path.append(used)
                return path
            if cost > best[node]:
                continue
            for following, used in self._steps(node, amount):
                price = cost + (0 if used in self.hidden else 1 + self.value(used))
                if used != cell and price < best.get(following, float("inf")):
                    best[following] = price
                    came[following] = (node, used)
                    heapq.heappush(queue, (price, following))
        return None

    def _ends(self, cell: Cell) -> tuple[str, str]:
        row, column = cell
        return ("source", f"row {row}") if column < 0 else (f"row {row}", f"column {column}")

    def _steps(self, node: str, amount: int) -> Iterator[tuple[str, Cell]]:
        """Yield where more may flow, and where less may: there as much must flow already."""
        rows, columns = self._counts.shape
        every = [(row, column) for row in range(rows) for column in range(-1, columns)]
        for cell in every:
            tail, head = self._ends(cell)
            if tail == node:
                yield head, cell
            elif head == node and self.value(cell) >= amount:
                yield tail, cell
