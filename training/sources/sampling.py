"""Draw training slices so that a source or a sequence cannot stand in for a class.

Each draw chooses a source, then a class of that source with equal chances, then a sequence of that
class and source, then a slice. A source is chosen in proportion to its weight times the square root
of its number of slices; a sequence in proportion to the square root of its number of slices.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DatasetError
from training.sources.listing import SourceFile


class BalancedSampler:
    """Draws positions of training files, with replacement.

    Parameters
    ----------
    files : sequence of SourceFile
        The N training files.
    weights : mapping of str to float
        Weight of each source; 1 where it is not named, 0 never draws from it.

    Raises
    ------
    DatasetError
        If no source has a positive weight.
    """

    def __init__(self, files: Sequence[SourceFile], weights: Mapping[str, float]) -> None:
        counts = defaultdict(int)
        cells: defaultdict[tuple[str, str], dict[str, list[int]]] = defaultdict(dict)
        for position, file in enumerate(files):
            counts[file.source] += 1
            cells[file.source, file.label].setdefault(file.sequence, []).append(position)
        shares = {source: weights.get(source, 1.0) * n**0.5 for source, n in counts.items()}
        total = sum(shares.values())
        if not total > 0:
            raise DatasetError("no source has a positive weight; give one to at least one source")
        classes = {
            source: sum(cell_source == source for cell_source, _ in cells) for source in counts
        }
        self.probabilities = np.zeros(len(files))
        """(N,) float64: the chance of each file in one draw."""
        for (source, _), sequences in cells.items():
            of_class = shares[source] / total / classes[source]
            sizes = np.sqrt([len(members) for members in sequences.values()])
            for members, share in zip(sequences.values(), sizes / sizes.sum(), strict=True):
                self.probabilities[members] = of_class * share / len(members)

    def order(self, seed: int, epoch: int, draws: int) -> npt.NDArray[np.intp]:
        """Draw the positions of one epoch; the same arguments give the same order.

        Draws are stratified (systematic sampling, Madow 1949): a file with chance p is drawn
        ``floor(p * draws)`` or ``ceil(p * draws)`` times.
        """
        rng = np.random.default_rng([seed, epoch])
        places = np.arange(len(self.probabilities))
        shuffled = rng.permutation(places)
        edges = np.cumsum(self.probabilities[shuffled])
        points = (np.arange(draws) + rng.random()) / draws * edges[-1]
        drawn = shuffled[np.searchsorted(edges, points, side="right").clip(max=len(places) - 1)]
        return rng.permutation(drawn).astype(np.intp)
