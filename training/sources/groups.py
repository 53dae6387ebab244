"""Groups of images that must stay on one side of every split, and the fixed held-out part.

A group is a patient (or case cluster) where that is known, else a set of near-duplicates. The name
of a group decides by its SHA-256 whether the group is held out, used for validation or trained on,
so that the parts do not depend on the order or the number of files.
"""

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.parity.evaluation.duplicates import near_pairs
from training.sources.listing import STUDY, SourceFile, test_patients

HELD_OUT_SHARE = 0.15
"""Share of the groups of every source that no network trains on."""
DUPLICATE_DISTANCE = 4
"""Bits of a 64-bit perceptual hash within which two images are near-duplicates."""
HELD_OUT_COLUMNS = ("sha256", "source", "label", "group")
_GROUP_DIGITS = 16


def group_names(
    files: Sequence[SourceFile], hashes: npt.NDArray[np.uint64], distance: int = DUPLICATE_DISTANCE
) -> list[str]:
    """Name the group of each file.

    Files of one patient share a group. Files of unknown patient share the group of their
    near-duplicates. Two known patients are never joined, however alike their slices.

    Parameters
    ----------
    files : sequence of SourceFile
        N files.
    hashes : (N,) uint64
        Their perceptual hashes.
    distance : int
        Largest Hamming distance of near-duplicates, in bits of 64.

    Returns
    -------
    list of str
        The patient, or ``image/`` with the smallest SHA-256 of the group's files.
    """
    parents = list(range(len(files)))

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    patient_of: dict[int, str] = {}
    first_of: dict[str, int] = {}
    for position, file in enumerate(files):
        if file.patient:
            parents[position] = first_of.setdefault(file.patient, position)
            patient_of[root(position)] = file.patient
    for one, other, _ in zip(*near_pairs(hashes, distance), strict=True):
        first, second = root(int(one)), root(int(other))
        if first == second or (first in patient_of and second in patient_of):
            continue
        if second in patient_of:
            first, second = second, first
        parents[second] = first
    smallest: dict[int, str] = {}
    for position, file in enumerate(files):
        place = root(position)
        smallest[place] = min(smallest.get(place, file.sha256), file.sha256)
    roots = [root(position) for position in range(len(files))]
    return [patient_of.get(place, f"image/{smallest[place]}") for place in roots]


def group_position(name: str) -> float:
    """Map a group's name to [0, 1) by its SHA-256, uniformly and always alike."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) / 16**12


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The committed list of images that no network trains on.

    Parameters
    ----------
    groups : mapping of str to str
        By the SHA-256 of a file: the first 16 hexadecimal digits of the SHA-256 of its group's
        name. The name itself, a patient number, is not stored.
    """

    groups: Mapping[str, str]

    def __contains__(self, sha256: str) -> bool:
        """Whether the file with this SHA-256 is held out."""
        return sha256 in self.groups


def choose_held_out(
    files: Sequence[SourceFile], names: Sequence[str], share: float = HELD_OUT_SHARE
) -> list[int]:
    """Return the positions of the files of held-out groups; published tests are never among them.

    A group is held out where `group_position` is below `share`.
    """
    return [
        position
        for position, (file, name) in enumerate(zip(files, names, strict=True))
        if file.split == "training" and group_position(name) < share
    ]


def held_out_csv(files: Sequence[SourceFile], names: Sequence[str]) -> bytes:
    """Write the list of held-out files; it names no patient."""
    rows = sorted(
        (file.source, file.label, group_digest(name), file.sha256)
        for file, name in zip(files, names, strict=True)
    )
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HELD_OUT_COLUMNS)
    writer.writerows((sha256, source, label, group) for source, label, group, sha256 in rows)
    return buffer.getvalue().encode()


def group_digest(name: str) -> str:
    """Return what the list stores of a group's name: 16 digits of its SHA-256."""
    return hashlib.sha256(name.encode()).hexdigest()[:_GROUP_DIGITS]


def read_held_out(path: Path) -> HeldOut:
    """Read a list of held-out files.

    Raises
    ------
    DatasetError
        If the file is missing, is no such list, or is empty.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        groups = {row["sha256"]: row["group"] for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DatasetError(
            f"{path} is no list of held-out files ({error}); "
            'write one with "python -m training hold-out"'
        ) from error
    if not groups:
        raise DatasetError(f"{path} lists no file; every source needs a held-out part")
    return HeldOut(groups)


@dataclass(frozen=True, slots=True)
class Parts:
    """Positions of the files of each part; together they need not be all files.

    Parameters
    ----------
    training, validation, held_out, left_out : (N,) intp
        Files to train on; files to choose by; files of the committed held-out list; files of
        sources that this run leaves out, without those held out.
    """

    training: npt.NDArray[np.intp]
    validation: npt.NDArray[np.intp]
    held_out: npt.NDArray[np.intp]
    left_out: npt.NDArray[np.intp]


def divide(
    files: Sequence[SourceFile],
    names: Sequence[str],
    held_out: HeldOut,
    left_out_sources: Sequence[str] = (),
    validation_share: float = 0.1,
) -> Parts:
    """Divide files into parts that share no group.

    Left out of all parts: the published test split; files whose label is disputed; files of
    further sources whose patient is in the published test split.

    Parameters
    ----------
    files : sequence of SourceFile
        All files.
    names : sequence of str
        Their groups.
    held_out : HeldOut
        The committed list.
    left_out_sources : sequence of str
        Sources that are neither trained on nor validated on.
    validation_share : float
        Share of the groups that are not held out which become the validation part.

    Raises
    ------
    DatasetError
        If a group is in the held-out list with some of its files only, or a part is empty.
    """
    tested = test_patients(files)
    parts: dict[str, list[int]] = {"training": [], "validation": [], "held_out": [], "left_out": []}
    part_of: dict[str, str] = {}
    border = HELD_OUT_SHARE + validation_share * (1 - HELD_OUT_SHARE)
    for position, (file, name) in enumerate(zip(files, names, strict=True)):
        further = file.source != STUDY
        if file.split == "testing" or file.disputed or (further and file.patient in tested):
            continue
        if file.sha256 in held_out:
            part = "held_out"
        elif file.source in left_out_sources:
            part = "left_out"
        else:
            part = "validation" if group_position(name) < border else "training"
        # A left-out source may share patients with another one: those are not trained on either.
        before = part_of.setdefault(name, part)
        if "held_out" in (before, part) and before != part:
            raise DatasetError(
                f"group {group_digest(name)} is in two splits: some of its files are in the "
                f'held-out list and {file.path.name} is not; renew the list with "hold-out"'
            )
        parts[part].append(position)
    left_out_groups = {names[position] for position in parts["left_out"]}
    kept = [
        [position for position in parts[part] if names[position] not in left_out_groups]
        for part in ("training", "validation")
    ]
    if not kept[0] or not kept[1]:
        raise DatasetError(
            "no file is left to train on or to validate on; give more sources, or leave out fewer"
        )
    arrays = [np.array(each, np.intp) for each in (*kept, parts["held_out"], parts["left_out"])]
    return Parts(*arrays)
