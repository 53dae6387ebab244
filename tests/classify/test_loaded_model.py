"""What is known of a run before its model is loaded."""

from pathlib import Path

import pytest

from neuroscan_edge.classify.loaded_model import about_how_many
from neuroscan_edge.classify.pipeline import AUTO_BATCH


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.png"], 1),
        (["a.PNG", "b.jpeg", "c.webp"], 3),
        (["a.dcm"], AUTO_BATCH),
        (["a.png", "b.tiff"], AUTO_BATCH),
        (["IM000001"], AUTO_BATCH),
        (["a.dcm"] * (AUTO_BATCH + 1), AUTO_BATCH + 1),
    ],
    ids=["one image", "three images", "DICOM", "TIFF among them", "no suffix", "many"],
)
def test_files_of_many_slices_count_as_a_batch(names, expected):
    assert about_how_many([Path(name) for name in names]) == expected
