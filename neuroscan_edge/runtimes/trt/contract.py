"""Whether an engine's own tensors are those that its manifest states."""

from typing import Any

import numpy as np

from neuroscan_edge.errors import EngineContractError
from neuroscan_edge.model.engine.manifest import StoredEngine


def check_tensors(trt: Any, loaded: Any, engine: StoredEngine) -> None:
    """Compare a deserialised engine's tensors and batches with its manifest.

    Raises
    ------
    EngineContractError
        If they differ.
    """
    manifest = engine.manifest
    stated = {
        side["name"]: (mode, side["dtype"], tuple(side["shape"][1:]))
        for mode, side in (
            ("INPUT", manifest.input),
            *(("OUTPUT", each) for each in (manifest.output, *manifest.extra_outputs)),
        )
    }
    found = {}
    for index in range(loaded.num_io_tensors):
        name = loaded.get_tensor_name(index)
        dtype = np.dtype(trt.nptype(loaded.get_tensor_dtype(name))).name
        shape = tuple(loaded.get_tensor_shape(name))
        found[name] = (loaded.get_tensor_mode(name).name, dtype, shape[1:])
    smallest, _, largest = loaded.get_tensor_profile_shape(manifest.input["name"], 0)
    batch = (smallest[0], largest[0])
    wanted = (manifest.batch.min, manifest.batch.max)
    if found != stated or batch != wanted:
        raise EngineContractError(
            str(engine.folder),
            found=f"tensors {found} for {batch[0]} to {batch[1]} slices",
            wanted=f"{stated} for {wanted[0]} to {wanted[1]}, as its manifest states",
            fix='build it again with "neuroscan-edge build-engine"',
        )
