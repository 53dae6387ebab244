"""An audit as a page to read: figures first, then the duplicates themselves, side by side."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from neuroscan_edge.model.labels import display_name, printable
from neuroscan_edge.parity.evaluation.duplicates import ALIKE_CORRELATION
from neuroscan_edge.report.html import Cell, grey_png, page, paragraph, pictures, table
from neuroscan_edge.scans import read_scans
from training.audit.record import Audit, DuplicatePair, LeakFreeImage, UnlistedPairs

MAX_PAIRS_SHOWN = 30
"""Of each kind, at some 40 kB a pair."""
THUMBNAIL_PX = 160
_GAP_PX = 6
_WHITE = 255
_MATCHES = {"file": "same file", "pixels": "same pixels", "near": "near-duplicate"}
_COMMON = 3
_OTHER_DISTANCES = (0, 2, 4, 6, 8, 10)


def summarise(audit: Audit) -> tuple[str, ...]:
    """Say in a few sentences what an audit found."""
    counts = {
        name: sum(each.files for each in split.classes.values())
        for name, split in audit.splits.items()
    }
    counted = [*map(_counted, audit.duplicates), *audit.unlisted]
    pairs = sum(each.pairs for each in counted)
    across = sum(each.pairs for each in counted if each.across_splits)
    conflicts = sum(each.pairs for each in counted if each.conflicting)
    alike = sum(each.pairs for each in counted if each.conflicting and each.alike)
    sentences = [
        f"{sum(counts.values())} files in {len(audit.labels)} classes ("
        + ", ".join(f"{count} {name}" for name, count in counts.items())
        + f"); {len(audit.unreadable)} cannot be read.",
        f"{pairs} pairs of images are duplicates, exact or within {audit.distance} of 64 "
        f"perceptual-hash bits; {across} of them are across the splits.",
        f"{conflicts} pairs have conflicting labels; {alike} of them show one image, which "
        "cannot be of both classes. Within training "
        f"{len(audit.conflicting_training)} images are concerned.",
    ]
    if audit.leak_free is None:
        sentences.append("There is no test split, so there is no list of leak-free test images.")
    else:
        sentences.append(
            f"{len(audit.leak_free)} of {sum(audit.tests_by_nearest_distance)} readable test "
            "images have no near-duplicate in training: they are leak-free."
        )
    return tuple(sentences)


def audit_page(audit: Audit, root: Path) -> str:
    """Build the page of an audit; the pairs shown are read from the data set at `root` again."""
    sections = [("Summary", "".join(map(paragraph, summarise(audit))))]
    sections.append(("Files", _files_table(audit)))
    if audit.unreadable:
        rows = [(printable(each.path), each.reason) for each in audit.unreadable]
        sections.append(("Files that cannot be read", table(("file", "reason"), rows)))
    if audit.leak_free is not None:
        sections.append(("Leak-free test images", _leak_free_section(audit, audit.leak_free)))
    sections.append(("Duplicate pairs", _duplicates_section(audit)))
    sections += [
        (heading, _pairs_section(pairs, unlisted, text, root))
        for heading, text, pairs, unlisted in _kinds_of_pairs(audit)
        if pairs
    ]
    return page("Audit of a data set", sections)


def _files_table(audit: Audit) -> str:
    header = ("split", "class", "files", "unreadable", "size in pixels", "bits", "channels")
    rows: list[Sequence[Cell]] = [
        (
            name,
            display_name(label),
            each.files,
            each.unreadable,
            _most_common(each.sizes_px),
            _most_common(each.bits),
            _most_common(each.channels),
        )
        for name, split in audit.splits.items()
        for label, each in split.classes.items()
    ]
    note = "Size (width x height), bits of a sample and channels, as stored. In brackets: images."
    return paragraph(note) + table(header, rows)


def _most_common(frequencies: Mapping[str, int]) -> str:
    if len(frequencies) == 1:
        return next(iter(frequencies))
    shown = [f"{value} ({count})" for value, count in list(frequencies.items())[:_COMMON]]
    others = len(frequencies) - len(shown)
    return ", ".join(shown + ([f"{others} others"] if others else []))


def _leak_free_section(audit: Audit, leak_free: Sequence[LeakFreeImage]) -> str:
    clean = Counter(image.label for image in leak_free)
    rows: list[Sequence[Cell]] = []
    for label, each in audit.splits["testing"].classes.items():
        readable = each.files - each.unreadable
        rows.append(
            (display_name(label), readable, readable - clean[label], clean[label])
            if readable
            else (display_name(label), 0, None, None)
        )
    header = ("class", "test images", "near-duplicate in training", "leak-free")
    others = sorted({*_OTHER_DISTANCES, audit.distance})
    curve = [(bits, sum(audit.tests_by_nearest_distance[bits + 1 :])) for bits in others]
    return (
        paragraph("leak-free.csv lists them with their distance to the nearest training image.")
        + table(header, rows)
        + paragraph(
            f"How much the distance decides: this audit uses {audit.distance} bits, and other "
            "distances would leave these numbers of test images."
        )
        + table(("distance in bits", "leak-free test images"), curve)
    )


def _duplicates_section(audit: Audit) -> str:
    places = {
        ("training", "training"): "within training",
        ("testing", "testing"): "within testing",
        ("training", "testing"): "across the splits",
    }
    rows: list[Sequence[Cell]] = []
    for splits, place in places.items():
        pairs = [pair for pair in audit.duplicates if pair.splits == splits]
        images = {path for pair in pairs for path in pair.paths}
        unlisted = [each for each in audit.unlisted if each.splits == splits]
        counted = [*map(_counted, pairs), *unlisted]
        kinds = (sum(each.pairs for each in counted if each.match == kind) for kind in _MATCHES)
        conflicts = [each for each in counted if each.conflicting]
        alike = sum(each.pairs for each in conflicts if each.alike)
        rows.append((place, *kinds, len(images), sum(each.pairs for each in conflicts), alike))
    conflicting = ("conflicting labels", "of these, one image")
    header = ("pairs", *_MATCHES.values(), "images concerned", *conflicting)
    return paragraph(
        "Same file: equal bytes. Same pixels: the files differ, what they decode to does not. "
        f"Near-duplicate: perceptual hashes at most {audit.distance} of 64 bits apart; each "
        "pair is counted once, under the first that holds. Neighbouring slices, and now and "
        "then different patients, can be that near too: the correlation of the two tells. "
        f"From {ALIKE_CORRELATION} on they show one image, or nearly so."
    ) + table(header, rows)


def _counted(pair: DuplicatePair) -> UnlistedPairs:
    return UnlistedPairs(pair.splits, pair.match, pair.conflicting, pair.alike, pairs=1)


def _kinds_of_pairs(audit: Audit) -> Iterable[tuple[str, str, list[DuplicatePair], int]]:
    conflict = "Two classes; where the correlation is high, for one image."
    sides = "Training on the left, testing on the right."
    kinds = (
        ("Conflicting labels across the splits", f"{conflict} {sides}", True, True),
        ("Conflicting labels within a split", conflict, True, False),
        ("The same class across the splits", sides, False, True),
        ("The same class within a split", "One image, or nearly, twice.", False, False),
    )
    for heading, text, *kind in kinds:
        pairs = [
            pair for pair in audit.duplicates if [pair.conflicting, pair.across_splits] == kind
        ]
        unlisted = sum(
            each.pairs for each in audit.unlisted if [each.conflicting, each.across_splits] == kind
        )
        yield heading, text, pairs, unlisted


def _pairs_section(pairs: Sequence[DuplicatePair], unlisted: int, text: str, root: Path) -> str:
    chosen = pairs_to_show(pairs)
    left_out = len(pairs) - len(chosen)
    shown = f"All {len(pairs)} pairs are shown."
    if left_out:
        shown = (
            f"{len(chosen)} of {len(pairs)} pairs are shown, spread over their distances; "
            f"{left_out} are left out here and listed in audit.json."
        )
    if unlisted:
        shown += f" Further {unlisted}, among very many images of one hash, are only counted."
    items = (
        (grey_png(side_by_side(*(_thumbnail(root / path) for path in pair.paths))), _caption(pair))
        for pair in chosen
    )
    return paragraph(f"{text} {shown}") + pictures(items)


def pairs_to_show(pairs: Sequence[DuplicatePair]) -> list[DuplicatePair]:
    """Choose at most `MAX_PAIRS_SHOWN` pairs, evenly over all of them in order of distance."""
    if len(pairs) <= MAX_PAIRS_SHOWN:
        return list(pairs)
    ordered = sorted(pairs, key=lambda pair: pair.distance)
    positions = np.linspace(0, len(ordered) - 1, MAX_PAIRS_SHOWN).round().astype(int)
    return [ordered[position] for position in positions]


def side_by_side(
    first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """Put two (H, W) uint8 slices beside each other, centred in height, with a white gap."""
    height = max(len(first), len(second))
    gap = np.full((height, _GAP_PX), _WHITE, np.uint8)
    return np.hstack([_to_height(first, height), gap, _to_height(second, height)])


def _to_height(pixels: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.uint8]:
    above = (height - len(pixels)) // 2
    below = height - len(pixels) - above
    return np.pad(pixels, ((above, below), (0, 0)), constant_values=_WHITE)


def _thumbnail(path: Path) -> npt.NDArray[np.uint8]:
    pixels = next(read_scans(path)).pixels
    scale = THUMBNAIL_PX / max(pixels.shape)
    if scale >= 1:
        return pixels
    size = tuple(max(round(side * scale), 1) for side in pixels.shape[::-1])
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _caption(pair: DuplicatePair) -> str:
    what = (
        f"{_MATCHES[pair.match].capitalize()}: {pair.distance} bits apart, "
        f"correlation {pair.correlation:.2f}"
    )
    sides = (
        f"{side}, {display_name(label)}: {printable(path)}"
        for side, path, label in zip(("Left", "Right"), pair.paths, pair.labels, strict=True)
    )
    return "\n".join([what, *sides])
