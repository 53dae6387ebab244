"""A calibration sample holds every class of every source."""

from collections import Counter
from pathlib import Path

from neuroscan_edge.model.calibration import CalibrationOptions
from training.sources.calibration import sample_of_sources
from training.sources.listing import SourceFile

LABELS = ("glioma", "none")


def files_of(source: str, label: str, count: int) -> list[SourceFile]:
    return [
        SourceFile(
            Path(f"{source}-{label}-{number}"),
            source,
            label,
            "training",
            "t1",
            "",
            f"{source}{label}{number}",
        )
        for number in range(count)
    ]


FILES = [
    *files_of("a", "glioma", 80),
    *files_of("a", "none", 40),
    *files_of("b", "glioma", 2),
    *files_of("c", "none", 38),
]


def test_each_class_and_source_is_in_the_sample_by_its_share() -> None:
    split = sample_of_sources(LABELS, FILES, CalibrationOptions(images=16))
    drawn = Counter(file.path.name.rsplit("-", 1)[0] for file in split.files)
    assert drawn == {"a-glioma": 8, "a-none": 4, "b-glioma": 1, "c-none": 3}


def test_labels_of_the_sample_are_those_of_the_bundle() -> None:
    split = sample_of_sources(LABELS, FILES, CalibrationOptions(images=16))
    assert split.labels == LABELS
    for file in split.files:
        assert file.path.name.split("-")[1] == LABELS[file.label]
