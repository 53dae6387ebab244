"""A recipe to train on the small data set in seconds."""

from pathlib import Path

import pytest

RECIPE = """
name = "small"
seed = 5

[model]
backbone = "xception"
hidden_units = 16

[preprocessing]
height = 72
width = 72
interpolation = "linear"
clip_limit = 2.0
tile_grid = [8, 8]

[data]
validation_fraction = 0.25
duplicate_distance = 4

[fit]
batch_size = 12
precision = "float32"
ema_momentum = 0.9

[[stages]]
epochs = 1
learning_rate = 1e-3
trainable = "head"

[[stages]]
epochs = 2
learning_rate = 5e-4

[augmentation]
horizontal_flip = 0.5
rotation_degrees = 10
noise = 4
"""


@pytest.fixture(scope="session")
def small_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path
