"""Files that were once read wrongly, in the folder that NEUROSCAN_CASES names.

Each case is a folder: the file or files, `case.json` with what is odd and what is right, and
`expected-K.png` with the grey of frame K where there is only one right grey.
"""

import json
import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from neuroscan_edge.errors import ScanError, UnsupportedScanError
from neuroscan_edge.scans import Scan, ScanFault, find_scans, read_scans
from neuroscan_edge.scans.quality import examine
from neuroscan_edge.spec import Finding

ONE_GREY_LEVEL = 1
# Decoders of lossy JPEG may differ by rounding.
LOSSY_LEVELS = 3
PYTHON_NAME = re.compile(r"\b\w*(Error|Exception|Warning)\b")

FOLDER = os.environ.get("NEUROSCAN_CASES")
CASES = sorted(Path(FOLDER).glob("*/case.json")) if FOLDER and Path(FOLDER).is_dir() else []
WHY_NOT = "the odd files are not here: NEUROSCAN_CASES names no folder of cases"


def rows(folder):
    """Every slice or error of a case's files: a DICOMDIR stands for the files that it lists."""
    inputs = [
        path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != "case.json" and not path.name.startswith("expected-")
    ]
    found = []
    for path in find_scans(inputs).files:
        try:
            slices = list(read_scans(path))
        except ScanError as error:
            slices = [error]
        found += [each.error if isinstance(each, ScanFault) else each for each in slices]
    return found


def expected_of(folder):
    return {
        int(path.stem.removeprefix("expected-")): cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        for path in folder.glob("expected-*.png")
    }


def reason(row):
    return "" if isinstance(row, Scan) else str(row)


@pytest.mark.skipif(not CASES, reason=WHY_NOT)
@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
def test_right_grey_or_a_true_word(case):
    stated = json.loads(case.read_text())
    found = rows(case.parent)
    assert found, stated["right"]
    for row in found:
        assert not PYTHON_NAME.search(reason(row)), reason(row)
    expected = expected_of(case.parent)
    scans = {row.provenance.frame: row for row in found if isinstance(row, Scan)}
    levels = LOSSY_LEVELS if "jpeg" in stated["name"] else ONE_GREY_LEVEL
    if "plain" in stated["right"] and all(is_unsupported(row) for row in found):
        # A layout that the documentation lists as unsupported.
        return
    for frame, grey in expected.items():
        assert frame in scans, (stated["right"], [reason(row) for row in found])
        assert scans[frame].pixels.shape == grey.shape
        difference = np.abs(scans[frame].pixels.astype(int) - grey)
        assert difference.max() <= levels, stated["right"]
    if len(expected) > 1:
        assert len(found) == len(expected)


def is_unsupported(row):
    return isinstance(row, UnsupportedScanError)


def the_case(name):
    folders = [case.parent for case in CASES if case.parent.name.startswith(f"{name}-")]
    if not folders:
        pytest.skip(WHY_NOT if not CASES else f"NEUROSCAN_CASES has no case {name}")
    return rows(folders[0])


# What is said of a slice beside its grey; each of these refers it to a person.
FINDINGS = {
    "D02": Finding.CONTRADICTORY_HEADER,
    "D04": Finding.CONTRADICTORY_HEADER,
    "D10": Finding.WINDOW_UNUSABLE,
    "D15": Finding.WINDOW_UNUSABLE,
    "D30": Finding.CONTRADICTORY_HEADER,
}


@pytest.mark.parametrize(("name", "finding"), FINDINGS.items(), ids=FINDINGS)
def test_doubt_is_said(name, finding):
    for scan in the_case(name):
        assert examine(scan) == (finding,)


@pytest.mark.parametrize("name", ["D18", "D71", "D79", "D86", "F02", "F04", "H10", "H20"])
def test_what_is_sure_is_not_doubted(name):
    for scan in the_case(name):
        assert examine(scan) == ()


def test_rescale_with_a_decimal_comma_is_named():
    (error,) = the_case("E17")
    assert error.kind == "corrupt"
    assert "Rescale Slope (0028,1053)" in str(error)


def test_both_files_behind_slashes_are_read():
    first, second = the_case("G02")
    assert (first.pixels.shape, second.pixels.shape) == ((256, 256), (256, 256))


def test_equal_channels_are_taken_as_they_are():
    (scan,) = the_case("H20")
    assert scan.pixels.std() > 30


@pytest.mark.parametrize("name", ["R31", "R32"])
def test_pages_that_are_no_slices_are_none(name):
    (scan,) = the_case(name)
    assert isinstance(scan, Scan)


def test_a_stack_of_one_directory_is_not_one_slice():
    found = the_case("R30")
    assert len(found) == 3 or all(scan.findings for scan in found)


@pytest.mark.parametrize("name", ["R20", "R53"])
def test_what_is_not_read_is_named(name):
    (row,) = the_case(name)
    assert isinstance(row, Scan) or row.kind == "unsupported"
    assert "content is none of" not in reason(row)
