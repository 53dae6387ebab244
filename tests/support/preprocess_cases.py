"""Slices and specifications, by name, that every implementation of preprocessing must get right."""

import numpy as np

from neuroscan_edge.spec import Interpolation, Preprocessing

NO_MISMATCH = 0

# Rows x columns.
SIZES = {
    f"{rows}x{columns}": (rows, columns)
    for rows, columns in [
        (1, 1),
        (1, 7),
        (7, 1),
        (2, 2),
        (3, 2),
        (16, 1000),
        (1000, 16),
        (1, 40000),
        (40000, 1),
        (64, 64),
        (111, 113),
        (112, 112),
        (200, 210),
        (223, 225),
        (224, 112),
        (224, 224),
        (224, 225),
        (224, 448),
        (225, 225),
        (236, 236),
        (240, 240),
        (256, 256),
        (320, 260),
        (447, 448),
        (448, 224),
        (448, 448),
        (448, 449),
        (450, 224),
        (512, 512),
        (630, 630),
        (672, 672),
        (896, 896),
        (1365, 1024),
        (2048, 1536),
    ]
}


def constant(rows, columns):
    return np.full((rows, columns), 93, np.uint8)


def noise(rows, columns):
    return np.random.default_rng(rows * 65537 + columns).integers(0, 256, (rows, columns), np.uint8)


def gradient(rows, columns):
    down = np.linspace(0, 160, rows)[:, None]
    across = np.linspace(0, 95, columns)[None, :]
    return np.rint(down + across).astype(np.uint8)


def dark_background(rows, columns):
    """A textured disc on black, as a slice of a head is."""
    down = np.linspace(-1, 1, rows)[:, None]
    across = np.linspace(-1, 1, columns)[None, :]
    radius = np.hypot(down, across)
    texture = 110 + 60 * np.sin(9 * down) * np.cos(7 * across) + noise(rows, columns) / 16
    return np.where(radius < 0.7, texture, 0).astype(np.uint8)


def checkerboard(rows, columns):
    return (255 * (np.add.outer(np.arange(rows), np.arange(columns)) % 2)).astype(np.uint8)


CONTENTS = {
    "constant": constant,
    "noise": noise,
    "gradient": gradient,
    "dark background": dark_background,
    "checkerboard": checkerboard,
}

SPECS = {
    "nearest": Preprocessing(interpolation=Interpolation.NEAREST),
    "half": Preprocessing(height=112, width=112),
    "299 square": Preprocessing(height=299, width=299),
    "tall": Preprocessing(height=256, width=96),
    "wide": Preprocessing(height=96, width=256),
    "one pixel": Preprocessing(height=1, width=1, tile_grid=(1, 1)),
    "one row": Preprocessing(height=1, width=224, tile_grid=(8, 1)),
    "one column": Preprocessing(height=224, width=1, tile_grid=(1, 8)),
    "one row, undivided": Preprocessing(height=1, width=223, tile_grid=(8, 1)),
    "one column, nearest": Preprocessing(
        height=224, width=1, interpolation=Interpolation.NEAREST, tile_grid=(1, 8)
    ),
    "one tile": Preprocessing(tile_grid=(1, 1)),
    "columns undivided": Preprocessing(tile_grid=(9, 8)),
    "rows undivided": Preprocessing(tile_grid=(8, 9)),
    "both undivided": Preprocessing(tile_grid=(13, 11)),
    "more columns than rows": Preprocessing(tile_grid=(16, 4)),
    "odd size": Preprocessing(height=223, width=221),
    "one pixel a tile": Preprocessing(height=24, width=24, tile_grid=(24, 24)),
    "padding longer than the image": Preprocessing(height=4, width=5, tile_grid=(2, 4)),
    "clip limit below one count": Preprocessing(clip_limit=0.01),
    "clip limit 1": Preprocessing(clip_limit=1.0),
    "clip limit 3.3": Preprocessing(clip_limit=3.3),
    "clip limit 4": Preprocessing(clip_limit=4.0),
    "clip limit 40": Preprocessing(clip_limit=40.0),
    "clip limit above any count": Preprocessing(clip_limit=256.0),
    "clip limit ten thousand": Preprocessing(clip_limit=1e4),
}

SPEC_SOURCES = {
    name: SIZES[name] for name in ("1x1", "7x1", "111x113", "224x224", "448x448", "512x512")
}


def assert_same_bytes(expected, actual):
    assert actual.dtype == expected.dtype == np.uint8
    assert actual.shape == expected.shape
    assert np.count_nonzero(actual != expected) == NO_MISMATCH


def golden_source():
    """Integers only, so that it is the same image wherever it is made."""
    down, across = np.mgrid[0:301, 0:277]
    texture = (down * 37 + across * 101 + down * across) % 97
    inside = (down - 150) ** 2 + (across - 138) ** 2 < 120**2
    return np.where(inside, 60 + texture, texture // 12).astype(np.uint8)


GOLDEN_SOURCE_SHA256 = "d294373e30fb7e3754b991f74b4c2cd140a5797f5aa29341880ab82bd4e4969a"
GOLDEN_RESULT_SHA256 = "05180560bfea3ccb50c3633bcf9b8d885150a73009f3e33b01f07c81bba3460f"
