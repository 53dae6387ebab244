"""A pool of sources in memory: every slice decoded and resized once, with its file and group."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.parity.evaluation.images import Images, load_images
from neuroscan_edge.scans.dataset import LabelledFile, Split
from neuroscan_edge.spec import Preprocessing
from training.recipe.recipe import PoolRecipe
from training.sources.groups import group_names
from training.sources.listing import SourceFile, one_class_sources

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadedPool:
    """Decoded slices of several sources.

    Parameters
    ----------
    files : tuple of SourceFile
        File of each of the N slices.
    groups : tuple of str
        Group of each slice.
    images : Images
        The slices. Targets index the pool's labels and are -1 for labels outside the list.
    split : Split
        Files whose label the network has, with the pool's labels.
    """

    files: tuple[SourceFile, ...]
    groups: tuple[str, ...]
    images: Images
    split: Split


def load_pool(
    listed: Sequence[SourceFile], pool: PoolRecipe, preprocessing: Preprocessing
) -> LoadedPool:
    """Decode the sources that a recipe names.

    Raises
    ------
    DatasetError
        If a named source is missing, a label is neither a class of the network nor an outside
        label, or two sources hold the same file under different labels.
    """
    check_sources(listed, pool)
    chosen = [file for file in listed if file.source in pool.weights]
    every_label = (*pool.labels, *pool.outside_labels)
    everything = Split(
        every_label,
        tuple(
            LabelledFile(file.path, every_label.index(file.label), file.sha256) for file in chosen
        ),
    )
    images = load_images(everything, preprocessing)
    by_path = {file.path: file for file in chosen}
    files = tuple(by_path[file.path] for file in images.files)
    groups = group_names(files, images.hashes)
    split = Split(
        pool.labels, tuple(file for file in images.files if file.label < len(pool.labels))
    )
    return LoadedPool(files, tuple(groups), images.relabelled(every_label, pool.labels), split)


def check_sources(listed: Sequence[SourceFile], pool: PoolRecipe) -> None:
    """Check that the listed files are what a recipe wants; log what cannot be balanced.

    Raises
    ------
    DatasetError
        As `load_pool`.
    """
    found = {file.source for file in listed}
    missing = [name for name in pool.weights if name not in found]
    if missing:
        raise DatasetError(
            f"the recipe names the sources {', '.join(missing)}, the data holds "
            f"{', '.join(sorted(found))}; give --extra the folder with their index"
        )
    label_of: dict[str, SourceFile] = {}
    for file in listed:
        if file.source not in pool.weights:
            continue
        if file.label not in (*pool.labels, *pool.outside_labels):
            raise DatasetError(
                f"{file.path.name} of {file.source} has the label {file.label!r}; the recipe knows "
                f"{', '.join(pool.labels)}: add it to pool.labels or pool.outside_labels"
            )
        before = label_of.setdefault(file.sha256, file)
        if file.sha256 and before.label != file.label and before.source != file.source:
            raise DatasetError(
                f"{before.source} and {file.source} hold the same file under two labels: "
                f"{before.path.name} is {before.label}, {file.path.name} is {file.label}; "
                "remove one"
            )
    for source, label in one_class_sources(listed).items():
        if source in pool.weights:
            _log.warning(
                "source %s holds %s only: there, the source predicts the label", source, label
            )


def fingerprint(files: Iterable[SourceFile]) -> str:
    """Return the SHA-256 over source, label and hash of each file, whatever their order."""
    lines = sorted(f"{file.source} {file.label} {file.sha256}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
