"""Fix the held-out part of every source, before the first training run."""

from pathlib import Path

from neuroscan_edge.spec import Preprocessing
from neuroscan_edge.system.files import write_whole
from training.recipe.recipe import PoolRecipe
from training.sources.groups import choose_held_out, held_out_csv
from training.sources.listing import count_by, list_sources
from training.sources.pool import load_pool


def hold_out(
    pool: PoolRecipe,
    output: Path,
    study: Path | None,
    extra: Path | None,
    study_patients: Path | None = None,
) -> dict[str, int]:
    """Choose 15 % of the groups of every source by their names' SHA-256, and write the list.

    Returns
    -------
    dict of str to int
        Held-out files of each source.

    Raises
    ------
    DatasetError
        If the sources cannot be used.
    """
    loaded = load_pool(list_sources(study, extra, study_patients), pool, Preprocessing())
    chosen = choose_held_out(loaded.files, loaded.groups)
    files = [loaded.files[position] for position in chosen]
    write_whole(output, held_out_csv(files, [loaded.groups[position] for position in chosen]))
    return {source: count for (source,), count in sorted(count_by(files, "source").items())}
