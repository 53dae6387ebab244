"""No small cell can be computed from what is shown: an attacker with a linear program tries."""

import numpy as np
import pytest
from scipy.optimize import linprog

from neuroscan_edge.results.summary.cell_suppression import Hidden, hide

SMALLEST = 10


def hidden_by_counts(counts: np.ndarray, smallest: int = SMALLEST) -> Hidden | tuple:
    """Every slice a patient of its own."""
    totals = counts.sum(axis=1)
    small = (counts > 0) & (counts < smallest)
    return hide(counts, small, (totals > 0) & (totals < smallest), smallest)


def what_can_be_told(counts: np.ndarray, hidden: Hidden, cell: tuple[int, int]) -> tuple:
    """The least and the most that a cell can be, given all that is shown and columns' totals."""
    rows, columns = counts.shape
    lines, values = [], []

    def known(places: list[tuple[int, int]], value: int) -> None:
        line = np.zeros(counts.shape)
        for place in places:
            line[place] = 1
        lines.append(line.ravel())
        values.append(value)

    for row in range(rows):
        for column in range(columns):
            if not hidden.cells[row, column]:
                known([(row, column)], counts[row, column])
        if not hidden.totals[row]:
            known([(row, column) for column in range(columns)], counts[row].sum())
    for column in range(columns):
        known([(row, column) for row in range(rows)], counts[:, column].sum())
    aim = np.zeros(counts.shape)
    if cell[1] < 0:
        aim[cell[0]] = 1
    else:
        aim[cell] = 1
    found = [
        linprog(sign * aim.ravel(), A_eq=np.array(lines), b_eq=values, bounds=(0, None))
        for sign in (1, -1)
    ]
    assert all(each.status in (0, 3) for each in found)
    most = np.inf if found[1].status == 3 else -found[1].fun
    return found[0].fun, most


def attack(counts: np.ndarray, hidden: Hidden, smallest: int = SMALLEST) -> None:
    totals = counts.sum(axis=1)
    for row, column in np.argwhere((counts > 0) & (counts < smallest)):
        assert hidden.cells[row, column]
        low, high = what_can_be_told(counts, hidden, (row, column))
        assert high >= counts[row, column] + smallest - 1e-6, "told too closely"
        assert low <= counts[row, column] + 1e-6
    for row in np.flatnonzero((totals > 0) & (totals < smallest)):
        assert hidden.totals[row]
        low, high = what_can_be_told(counts, hidden, (int(row), -1))
        assert high >= totals[row] + smallest - 1e-6


def test_one_small_cell_hides_a_rectangle():
    counts = np.array([[3, 40, 50], [60, 20, 70], [80, 90, 95]])
    hidden = hidden_by_counts(counts)
    assert hidden.cells[0, 0]
    assert hidden.cells.sum() == 4
    assert (hidden.cells.sum(axis=0) != 1).all() and (hidden.cells.sum(axis=1) != 1).all()
    assert hidden.cells[:2, :2].all(), "the cheapest: what holds least"
    attack(counts, hidden)


def test_the_attacker_succeeds_where_only_small_cells_are_hidden():
    """The attack is a real one: without complementary suppression it finds the cell."""
    counts = np.array([[3, 40], [60, 20]])
    naive = Hidden(counts < SMALLEST, np.zeros(2, bool))
    low, high = what_can_be_told(counts, naive, (0, 0))
    assert (low, high) == pytest.approx((3, 3))


def test_nothing_is_hidden_where_nothing_is_small():
    counts = np.array([[30, 0], [12, 50]])
    hidden = hidden_by_counts(counts)
    assert not hidden.cells.any() and not hidden.totals.any()


def test_a_single_row_with_a_small_cell_cannot_be_shown():
    assert hidden_by_counts(np.array([[3, 40, 50]])) == (0, 0)


def test_a_small_row_hides_its_total_too():
    counts = np.array([[2, 1, 0], [60, 20, 70], [80, 90, 95]])
    hidden = hidden_by_counts(counts)
    assert hidden.totals[0]
    attack(counts, hidden)


def test_a_large_cell_of_few_people_is_hidden_like_a_small_one():
    counts = np.array([[30, 200], [400, 100], [50, 60]])
    few = np.zeros(counts.shape, bool)
    few[0, 0] = True  # Thirty slices of one patient.
    hidden = hide(counts, few, np.zeros(3, bool), SMALLEST)
    low, high = what_can_be_told(counts, hidden, (0, 0))
    assert low <= 30 and high >= 40 - 1e-6


@pytest.mark.parametrize("seed", range(60))
def test_no_small_cell_of_any_table_can_be_told(seed):
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 9), rng.integers(2, 8))
    counts = rng.negative_binomial(0.6, 0.02, shape) * rng.integers(0, 2, shape)
    hidden = hidden_by_counts(counts)
    if isinstance(hidden, Hidden):
        attack(counts, hidden)
    else:
        # What nothing can hide is a small cell, or the small total of a row.
        row, column = hidden
        value = counts[row].sum() if column < 0 else counts[row, column]
        assert 0 < value < SMALLEST


def test_most_tables_can_be_shown():
    rng = np.random.default_rng(5)
    tables = [rng.negative_binomial(0.6, 0.01, (6, 7)) for _ in range(50)]
    shown = [each for each in map(hidden_by_counts, tables) if isinstance(each, Hidden)]
    assert len(shown) > 40
    assert np.mean([each.cells.mean() for each in shown]) < 0.7
