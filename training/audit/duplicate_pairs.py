"""The duplicate pairs of an audit: listed, but for those among very many images of one hash."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from neuroscan_edge.parity.evaluation.duplicates import correlation, near_pair_blocks
from neuroscan_edge.scans.dataset import LabelledFile, SplitName
from training.audit.record import DuplicatePair, Match, UnlistedPairs
from training.audit.stored_format import StoredFormat

MAX_FULLY_LISTED = 16
"""Of the images of one hash, class and split, those with all their pairs listed.

Blank slices have one hash: the million pairs of 1,500 of them took a gigabyte.
"""


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image while it is audited."""

    file: LabelledFile
    path: str
    label: str
    split: SplitName
    stored: StoredFormat
    pixels_sha256: str
    perceptual_hash: np.uint64
    reduced: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The pairs of a data set.

    Parameters
    ----------
    listed : tuple of DuplicatePair
        In order. Each image of any pair is in a listed one of the same splits and labels.
    unlisted : tuple of UnlistedPairs
        The others, counted.
    doubtful : frozenset of str
        Paths of training images in a pair within training that is conflicting and alike.
    """

    listed: tuple[DuplicatePair, ...]
    unlisted: tuple[UnlistedPairs, ...]
    doubtful: frozenset[str]


def find_pairs(images: Sequence[DecodedImage], distance: int) -> Pairs:
    """Find the pairs of images within `distance` bits; memory grows with the images only."""
    ranks = _ranks(images)
    listed: list[DuplicatePair] = []
    unlisted: Counter[tuple[tuple[SplitName, ...], Match, bool, bool]] = Counter()
    doubtful: set[str] = set()
    hashes = np.array([image.perceptual_hash for image in images], np.uint64)
    for first, second, bits in near_pair_blocks(hashes, distance):
        shown = np.minimum(ranks[first], ranks[second]) < MAX_FULLY_LISTED
        for i, j, away, show in zip(first, second, bits, shown, strict=True):
            one, other = images[i], images[j]
            if not show and one.label == other.label:
                unlisted[(one.split, other.split), _match(one, other), False, False] += 1
                continue
            pair = _pair(one, other, int(away))
            if pair.conflicting and pair.alike and pair.splits == ("training", "training"):
                doubtful.update(pair.paths)
            if show:
                listed.append(pair)
            else:
                unlisted[pair.splits, pair.match, True, pair.alike] += 1
    counted = tuple(UnlistedPairs(*kind, pairs=count) for kind, count in sorted(unlisted.items()))
    return Pairs(tuple(listed), counted, frozenset(doubtful))


def _ranks(images: Sequence[DecodedImage]) -> npt.NDArray[np.intp]:
    """Give each image its number, from 0, among those of its hash, class and split; (N,) intp."""
    seen: Counter[tuple[np.uint64, str, str]] = Counter()
    ranks = np.zeros(len(images), np.intp)
    for index, image in enumerate(images):
        kind = image.perceptual_hash, image.label, image.split
        ranks[index] = seen[kind]
        seen[kind] += 1
    return ranks


def _pair(one: DecodedImage, other: DecodedImage, distance: int) -> DuplicatePair:
    return DuplicatePair(
        paths=(one.path, other.path),
        labels=(one.label, other.label),
        splits=(one.split, other.split),
        distance=distance,
        match=_match(one, other),
        correlation=round(correlation(one.reduced, other.reduced), 4),
    )


def _match(one: DecodedImage, other: DecodedImage) -> Match:
    if one.file.sha256 == other.file.sha256:
        return "file"
    return "pixels" if one.pixels_sha256 == other.pixels_sha256 else "near"
