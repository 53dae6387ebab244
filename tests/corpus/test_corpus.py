"""Every hostile or odd input is answered, referred, rejected or an error row; nothing else."""

import json
import os
import subprocess
import sys
from collections import Counter

import pytest

from neuroscan_edge.spec import RESEARCH_USE
from support.corpus.case import ERROR, Case
from support.corpus.hostile_dicom import dicom_cases
from support.corpus.hostile_nifti import nifti_cases
from support.corpus.hostile_places import place_cases
from support.corpus.hostile_raster import raster_cases
from support.corpus.hostile_tiff import tiff_cases
from support.corpus.watchdog import Answer, Watchdog
from support.places import ROOT
from support.scan_cases import PATIENT_WORDS
from support.tiny_models import tiny_bundle

LIMIT_S = 30
PEAK_LIMIT_BYTES = 1 << 30
TALLY = "NEUROSCAN_CORPUS_TALLY"
"""Environment: a file that gets outcome, time and memory of every case as JSON lines."""

CASES = (
    *raster_cases(),
    *tiff_cases(),
    *dicom_cases(),
    *nifti_cases(),
    *place_cases(),
)


@pytest.fixture(scope="module")
def watchdog(tmp_path_factory):
    bundle = tiny_bundle(tmp_path_factory.mktemp("corpus") / "tiny")
    with Watchdog(bundle.folder, LIMIT_S) as watching:
        yield watching


@pytest.fixture(scope="module")
def tally():
    counts: Counter[str] = Counter()
    yield counts
    print(f"\n{sum(counts.values())} rows of {len(CASES)} inputs: {dict(counts.most_common())}")


def record(case: Case, answer: Answer) -> None:
    if place := os.environ.get(TALLY):
        line = {
            "case": case.name,
            "outcomes": dict(Counter(answer.outcomes)),
            "errors": sorted({row["error"] for row in answer.rows if row["error"]}),
            "quality": sorted({each for row in answer.rows for each in row["quality"]}),
            "exit": answer.exit_code,
            "seconds": round(answer.seconds, 3),
            "peak_mib": answer.peak_bytes >> 20,
        }
        with open(place, "a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case, watchdog, tally, tmp_path):
    scan = case.make(tmp_path)
    answer = watchdog.ask(scan)
    tally.update(answer.outcomes)
    record(case, answer)
    assert answer.sound, answer.said
    assert answer.outcomes, f"no row for it: {answer.said}"
    assert set(answer.outcomes) <= case.allowed, answer.rows
    assert answer.exit_code == int(ERROR in answer.outcomes)
    assert answer.peak_bytes <= PEAK_LIMIT_BYTES
    for row in answer.rows:
        assert (row["prediction"] is None) == (row["decision"] in {None, "rejected"})
        assert bool(row["error"]) == (row["decision"] is None)
        assert bool(row["quality"]) == (row["decision"] in {"refer", "rejected"})
    written = "".join(json.dumps({**row, "path": ""}) for row in answer.rows)
    quoted = [word for word in PATIENT_WORDS if word.lower() in (written + answer.said).lower()]
    assert quoted == []


def test_there_are_enough_of_them():
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)


def test_all_of_them_at_once(tmp_path):
    """One run of the command over the whole corpus: a row or more for each, and no traceback."""
    inputs = tmp_path / "inputs"
    for index, case in enumerate(CASES):
        if index % 7 == 0:
            folder = inputs / f"{index:04}"
            folder.mkdir(parents=True)
            case.make(folder)
    bundle = tiny_bundle(tmp_path / "tiny")
    arguments = ("classify", inputs, "--model", bundle.folder, "--format", "table")
    done = subprocess.run(
        [sys.executable, "-m", "neuroscan_edge", *map(str, arguments)],
        capture_output=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert b"Traceback" not in done.stderr
    assert RESEARCH_USE.encode() in done.stdout
    shown = done.stdout.replace(b"\n", b"") + done.stderr.replace(b"\n", b"")
    assert not [byte for byte in shown if byte < 32 or byte == 127]
    rows = done.stdout.splitlines()[2:]
    for index in range(0, len(CASES), 7):
        assert any(f"/{index:04}/".encode() in row for row in rows), CASES[index].name
