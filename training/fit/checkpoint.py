"""Saving: the state of a run, and the finished baseline."""

import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DatasetError, ExportError
from neuroscan_edge.system.files import whole_file

_WEIGHTS_MEMBER = "model.weights.h5"


@dataclass(frozen=True, slots=True)
class RunPosition:
    """How far a run has come; everything else follows from the recipe's seed.

    Parameters
    ----------
    recipe_sha256 : str
        The recipe and data the run belongs to.
    stage, epoch, step : int
        Zero-based stage, epoch over all stages, and steps done in that epoch.
    best_loss : float
        Lowest validation loss of the current stage so far.
    """

    recipe_sha256: str
    stage: int
    epoch: int
    step: int
    best_loss: float


def save_run(path: Path, model: keras.Model, position: RunPosition) -> None:
    """Write the whole state of training: variables, optimizer, position."""
    arrays = [np.asarray(variable) for variable in (*model.variables, *model.optimizer.variables)]
    _save_arrays(path, arrays, asdict(position))


def read_position(path: Path) -> RunPosition:
    """Read only the position of a saved run.

    Raises
    ------
    DatasetError
        If the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as saved:
            return RunPosition(**json.loads(str(saved["position"])))
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"{path}, the state of an unfinished run, is damaged ({error}); remove it to begin anew"
        ) from error


def restore_run(path: Path, model: keras.Model) -> None:
    """Put a saved state into a model built and compiled by the same recipe."""
    model.optimizer.build(model.trainable_variables)
    variables = (*model.variables, *model.optimizer.variables)
    with np.load(path, allow_pickle=False) as saved:
        for index, variable in enumerate(variables):
            variable.assign(saved[f"{index}"])


def save_weights(path: Path, model: keras.Model) -> None:
    """Write a model's weights alone."""
    _save_arrays(path, model.get_weights(), {})


def load_weights(path: Path) -> list[npt.NDArray[Any]]:
    """Read weights for ``model.set_weights``."""
    with np.load(path, allow_pickle=False) as saved:
        return [saved[f"{index}"] for index in range(len(saved.files) - 1)]


def average_weights(
    sets: Sequence[Sequence[npt.NDArray[Any]]],
) -> list[npt.NDArray[Any]]:
    """Average weights of one architecture, array by array, in float64."""
    return [
        np.mean(each, axis=0, dtype=np.float64).astype(each[0].dtype)
        for each in zip(*sets, strict=True)
    ]


def save_rounded(model: keras.Model, path: Path) -> None:
    """Write a float32 model as ``.keras`` with its kernels rounded to float16.

    Kernels (two dimensions and more) are stored as float16, which halves the file; vectors, among
    them batch normalisation's variances, whose range float16 does not hold, stay float32. Keras
    reads the file as any other. The rounded weights are the baseline: measure what is read back.

    Raises
    ------
    ExportError
        If a kernel does not fit float16.
    """
    with tempfile.TemporaryDirectory() as folder:
        exact = Path(folder) / "exact.keras"
        model.save(exact)
        with (
            zipfile.ZipFile(exact) as archive,
            whole_file(path) as file,
            zipfile.ZipFile(file, "w") as rounded,
        ):
            for name in sorted(archive.namelist()):
                data = archive.read(name)
                if name == _WEIGHTS_MEMBER:
                    data = _round_kernels(data)
                rounded.writestr(name, data)


def _save_arrays(path: Path, arrays: list[npt.NDArray[Any]], position: dict[str, Any]) -> None:
    named = {f"{index}": array for index, array in enumerate(arrays)}
    with whole_file(path) as file:
        np.savez(file, position=np.array(json.dumps(position)), **named)


def _round_kernels(data: bytes) -> bytes:
    target = io.BytesIO()
    with h5py.File(io.BytesIO(data), "r") as source, h5py.File(target, "w") as rounded:
        rounded.attrs.update(source.attrs)

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            if isinstance(item, h5py.Dataset):
                values = item[()]
                if values.ndim >= 2 and values.dtype == np.float32:
                    if np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
                        raise ExportError(f"weight {name} exceeds the largest float16")
                    values = values.astype(np.float16)
                made = rounded.create_dataset(name, data=values)
            else:
                made = rounded.require_group(name)
            made.attrs.update(item.attrs)

        source.visititems(copy)
    return target.getvalue()
