"""List the labelled images of several sources, each with its source, patient and sequence.

Two layouts are read. A *split folder* has ``Training/<label>/`` and ``Testing/<label>/``, as the
study's set. An *indexed folder* has an ``index.csv`` with the columns ``file``, ``source``,
``label``, ``sequence`` and ``patient`` and may hold several sources.
"""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from neuroscan_edge.errors import DatasetError
from neuroscan_edge.scans.dataset import SplitName, load_splits
from neuroscan_edge.system.files import sha256_file

STUDY = "study"
"""Name of the source that a split folder holds."""
STUDY_COLLECTION = "cheng_figshare"
"""The collection that most tumour slices of the study's set were taken from."""
UNKNOWN_SEQUENCE = "unknown"
_INDEX = "index.csv"
_INDEX_COLUMNS = ("file", "source", "label", "sequence", "patient")
_PATIENT_COLUMNS = ("file", "cheng_patient", "label_there")
# Spellings of the sequences in public indexes.
_SEQUENCES = {"t1pre": "t1", "t1post": "t1c", "t1c+": "t1c"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One labelled image file of a source.

    Parameters
    ----------
    path : Path
        The file.
    source : str
        Name of the source.
    label : str
        Class name; may be one that the classifier does not have.
    split : {"training", "testing"}
        ``testing`` for the published test split of a split folder, else ``training``.
    sequence : str
        ``t1``, ``t1c``, ``t2``, ``flair`` or ``unknown``.
    patient : str
        Collection and patient (or case cluster), such as ``lgg_tcga/TCGA_CS_4941``; empty where
        unknown.
    sha256 : str
        SHA-256 of the file's bytes.
    disputed : bool
        Whether the collection that the image was taken from gives another label.
    """

    path: Path
    source: str
    label: str
    split: SplitName
    sequence: str
    patient: str
    sha256: str
    disputed: bool = False


def list_sources(
    study: Path | None = None, extra: Path | None = None, study_patients: Path | None = None
) -> list[SourceFile]:
    """List every file of a split folder and of an indexed folder.

    Parameters
    ----------
    study : Path, optional
        Split folder; its source is called ``study``.
    extra : Path, optional
        Indexed folder.
    study_patients : Path, optional
        CSV with the columns ``file``, ``cheng_patient`` and ``label_there``: the patient of each
        image of the split folder where it is known, and the label in the original collection.

    Raises
    ------
    DatasetError
        If a folder has no index, the index lacks a column or names a missing file, or a patient
        is in both splits of the indexed folder.
    """
    files: list[SourceFile] = []
    if study is not None:
        files += _list_study(study, _read_study_patients(study_patients))
    if extra is not None:
        files += _list_indexed(extra)
    if not files:
        raise DatasetError("no source was given; give --data, --extra or both")
    return files


def one_class_sources(files: Iterable[SourceFile]) -> dict[str, str]:
    """Return the sources that hold one class only, with that class: there, source predicts label.

    Files of the published test split do not count.
    """
    labels: defaultdict[str, set[str]] = defaultdict(set)
    for file in files:
        if file.split == "training":
            labels[file.source].add(file.label)
    return {source: next(iter(each)) for source, each in labels.items() if len(each) == 1}


def test_patients(files: Iterable[SourceFile]) -> frozenset[str]:
    """Return the known patients with a slice in the published test split."""
    return frozenset(file.patient for file in files if file.split == "testing" and file.patient)


def count_by(files: Iterable[SourceFile], *fields: str) -> Counter[tuple[str, ...]]:
    """Count files by the values of some fields, such as ``"source", "label"``."""
    return Counter(tuple(str(getattr(file, name)) for name in fields) for file in files)


def _list_study(root: Path, patients: Mapping[str, Mapping[str, str]]) -> list[SourceFile]:
    listed: list[SourceFile] = []
    known = set(patients)
    for split_name, split in load_splits(root).items():
        for file in split.files:
            label = split.labels[file.label]
            key = "/".join(file.path.parts[-3:])
            row = patients.get(key)
            known.discard(key)
            listed.append(
                SourceFile(
                    path=file.path,
                    source=STUDY,
                    label=label,
                    split=split_name,
                    # The collection holds contrast-enhanced T1 only.
                    sequence="t1c" if row else UNKNOWN_SEQUENCE,
                    patient=f"{STUDY_COLLECTION}/{row['cheng_patient']}" if row else "",
                    sha256=file.sha256,
                    disputed=bool(row) and row["label_there"] != label,
                )
            )
    if known:
        raise DatasetError(
            f"the list of patients names {len(known)} files that {root} does not hold, the first "
            f"is {min(known)}; give the list of this data set"
        )
    return listed


def _list_indexed(root: Path) -> list[SourceFile]:
    path = root / _INDEX
    if not path.is_file():
        raise DatasetError(
            f"{root} has no {_INDEX}; a folder of further sources needs one with the columns "
            f"{', '.join(_INDEX_COLUMNS)}"
        )
    listed: list[SourceFile] = []
    missing: list[str] = []
    seen: set[str] = set()
    for number, row in enumerate(_rows(path, _INDEX_COLUMNS), start=2):
        name = PurePosixPath(row["file"])
        if name.is_absolute() or ".." in name.parts or str(name) in seen:
            why = "named twice" if str(name) in seen else "outside the folder"
            raise DatasetError(f"{path}, line {number}: {name} is {why}")
        seen.add(str(name))
        file = root / name
        if not file.is_file():
            missing.append(str(name))
            continue
        source, label = row["source"].strip(), row["label"].strip()
        if not source or not label:
            raise DatasetError(f"{path}, line {number}: source or label is empty; fill it in")
        sequence = row["sequence"].strip().lower()
        patient = row["patient"].strip()
        listed.append(
            SourceFile(
                path=file,
                source=source,
                label=label,
                split="training",
                sequence=_SEQUENCES.get(sequence, sequence) or UNKNOWN_SEQUENCE,
                patient=f"{source}/{patient}" if patient else "",
                sha256=sha256_file(file),
            )
        )
    if missing:
        raise DatasetError(
            f"{path} names {len(missing)} files that are missing, the first is {missing[0]}; "
            "restore them or remove their lines"
        )
    return listed


def _read_study_patients(path: Path | None) -> dict[str, Mapping[str, str]]:
    return {} if path is None else {row["file"]: row for row in _rows(path, _PATIENT_COLUMNS)}


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream, restval="")
            lacking = [name for name in columns if name not in (reader.fieldnames or ())]
            if lacking:
                raise DatasetError(f"{path} lacks the columns {', '.join(lacking)}; add them")
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a CSV file ({error})") from error
