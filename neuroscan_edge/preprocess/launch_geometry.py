"""What is launched for a specification and a batch: grids, arguments, scratch. Pure functions."""

from dataclasses import dataclass

import numpy as np

from neuroscan_edge.errors import DevicePreprocessingError
from neuroscan_edge.preprocess.packing import SLICE
from neuroscan_edge.spec import Interpolation, Preprocessing

THREADS = 256
"""Threads a block of both kernels: as many as a histogram has bins."""

SCRATCH_LIMIT_BYTES = 1 << 28
"""Most memory for look-up tables; larger batches run through it in turns."""

_BINS = 256
_PIXELS_A_THREAD = 4
_MOST_BLOCKS_Y = 65_535

SIGNATURES = {"equalisation_luts": "PPPPiiiiiifi", "blend": "PPiiiiff"}
"""Kernels and the types of their arguments, as `struct` and PyCUDA write them."""


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel launch.

    Parameters
    ----------
    kernel : str
        A key of `SIGNATURES`.
    grid : tuple of int
        Blocks along x and y; blocks have `THREADS` threads along x.
    arguments : tuple
        Device addresses as integers, and numbers.
    """

    kernel: str
    grid: tuple[int, int]
    arguments: tuple[int | float, ...]


class Geometry:
    """Tiles of a specification, and the launches for batches of it.

    Parameters
    ----------
    spec : Preprocessing
        What to compute.

    Raises
    ------
    DevicePreprocessingError
        If one slice's look-up tables exceed `SCRATCH_LIMIT_BYTES`.
    """

    def __init__(self, spec: Preprocessing) -> None:
        self.spec = spec
        columns, rows = spec.tile_grid
        height, width = spec.shape
        if height % rows or width % columns:
            # As soon as one side does not divide, OpenCV lengthens both, by a whole number of tiles
            # where the other one does.
            height, width = height + rows - height % rows, width + columns - width % columns
        self.tile_height, self.tile_width = height // rows, width // columns
        self.tiles = columns * rows
        area = self.tile_height * self.tile_width
        self.clip_limit = max(int(spec.clip_limit * area / _BINS), 1)
        self._lut_scale = float(np.float32(_BINS - 1) / np.float32(area))
        self._inverse_height = float(np.float32(1) / np.float32(self.tile_height))
        self._inverse_width = float(np.float32(1) / np.float32(self.tile_width))
        if self.scratch_bytes(1) > SCRATCH_LIMIT_BYTES:
            raise DevicePreprocessingError(
                f"CLAHE in {columns}x{rows} tiles needs {self.scratch_bytes(1)} bytes of look-up "
                f"tables a slice, the GPU path takes {SCRATCH_LIMIT_BYTES} at most; use "
                "--preprocess cpu"
            )

    @property
    def plane_bytes(self) -> int:
        """Size of one preprocessed slice in bytes."""
        return self.spec.height * self.spec.width

    def scratch_bytes(self, slices: int) -> int:
        """Size of the look-up tables of so many slices in bytes."""
        return slices * self.tiles * _BINS

    def turn(self, slices: int) -> int:
        """How many slices of a batch go through the scratch memory at once, at least 1."""
        return min(slices, _MOST_BLOCKS_Y, SCRATCH_LIMIT_BYTES // self.scratch_bytes(1))

    def launches(self, slices: int, packed: int, output: int, scratch: int) -> list[Launch]:
        """Lay out what preprocesses a packed batch, in the order that one stream must run it.

        Parameters
        ----------
        slices : int
            How many slices.
        packed : int
            Device address of the packed batch, divisible by 8.
        output : int
            Device address of [slices, height, width] uint8, divisible by 4.
        scratch : int
            Device address of ``scratch_bytes(turn(slices))`` bytes.
        """
        launches = []
        turn = self.turn(slices)
        for first in range(0, slices, turn):
            count = min(turn, slices - first)
            table = packed + first * SLICE.itemsize
            place = output + first * self.plane_bytes
            launches.append(self._equalisation(count, table, packed, place, scratch))
            launches.append(self._blend(count, place, scratch))
        return launches

    def _equalisation(self, count: int, table: int, packed: int, place: int, luts: int) -> Launch:
        spec = self.spec
        sizes = (spec.height, spec.width, spec.tile_grid[0], self.tile_height, self.tile_width)
        nearest = int(spec.interpolation is Interpolation.NEAREST)
        return Launch(
            "equalisation_luts",
            (self.tiles, count),
            (table, packed, place, luts, *sizes, self.clip_limit, self._lut_scale, nearest),
        )

    def _blend(self, count: int, place: int, luts: int) -> Launch:
        spec = self.spec
        blocks = -(-self.plane_bytes // (THREADS * _PIXELS_A_THREAD))
        sizes = (spec.height, spec.width, *spec.tile_grid)
        inverses = (self._inverse_height, self._inverse_width)
        return Launch("blend", (blocks, count), (place, luts, *sizes, *inverses))
