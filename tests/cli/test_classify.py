"""``neuroscan-edge classify`` as its users meet it: output, exit codes, interruptions."""

import contextlib
import csv
import json
import os
import pty
import re
import resource
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroscan_edge.model.bundle import GRAPHS
from neuroscan_edge.spec import RESEARCH_USE, Precision, Preprocessing
from support.command_line import command, neuroscan_edge, partial_files
from support.places import ROOT
from support.scan_cases import dicom_file


@pytest.fixture
def model(bundle) -> tuple[str, Path]:
    return "--model", bundle.folder


def test_a_folder_becomes_json_lines(scans, model, tmp_path):
    output = tmp_path / "results.jsonl"
    done = neuroscan_edge("classify", scans, *model, "--output", output)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [Path(record["path"]).name for record in records] == [
        f"slice{index:02}.png" for index in range(20)
    ]
    assert {record["precision"] for record in records} == {"int8"}
    assert "20 slices classified" in done.stderr and RESEARCH_USE in done.stderr
    assert done.stdout == ""


def test_a_table_goes_to_standard_output(scans, model):
    done = neuroscan_edge("classify", scans, *model)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == RESEARCH_USE
    assert len(lines) == 22
    assert "\x1b" not in done.stdout + done.stderr, "no bar and no colours in a pipe"


def test_a_terminal_shows_progress_with_rate_and_time_left(bundle, tmp_path):
    many = tmp_path / "many"
    many.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (900, 900), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    for index in range(300):
        os.link(tmp_path / "one.png", many / f"{index:05}.png")
    terminal, end = pty.openpty()
    arguments = ("classify", many, "--model", bundle.folder, "--output", tmp_path / "r.csv")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    running = subprocess.Popen(command(*arguments), stderr=end, cwd=ROOT, env=environment)
    os.close(end)
    shown = b""
    # At the end of a pseudo-terminal, reading fails.
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 4096):
            shown += piece
    os.close(terminal)
    assert running.wait() == 0
    assert b"classifying" in shown and b"/300" in shown
    assert re.search(rb"\d+ files/s", shown)
    assert re.search(rb"0:00:\d\d", shown)


def test_csv_by_suffix_and_by_option(scans, model, tmp_path):
    output = tmp_path / "results.csv"
    assert neuroscan_edge("classify", scans, *model, "--output", output).returncode == 0
    piped = neuroscan_edge("classify", scans, *model, "--format", "csv").stdout
    assert output.read_text() == piped
    assert len(list(csv.DictReader(output.open()))) == 20


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_precision_can_be_asked_for(scans, model, precision):
    arguments = ("--precision", precision, "--format", "jsonl", "--batch-size", 3, "--workers", 1)
    done = neuroscan_edge("classify", scans, *model, *arguments, "--threads", 1)
    assert json.loads(done.stdout.splitlines()[0])["precision"] == precision


def test_unreadable_files_are_rows_and_exit_code_1(scans, model, tmp_path):
    (scans / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (scans / "empty.png").write_bytes(b"")
    (scans / "notes.txt").write_text("not a scan")
    output = tmp_path / "results.jsonl"
    done = neuroscan_edge("classify", scans, *model, "--output", output)
    assert done.returncode == 1
    errors = [json.loads(line)["error"] for line in output.read_text().splitlines()]
    assert sum(error is not None for error in errors) == 2
    assert "20 slices classified, 2 failed, 1 other files passed over" in done.stderr


def test_rejected_slices_are_counted_and_no_failure(scans, model, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((60, 60), np.uint8)).save(scans / name)
    ramp = np.tile(np.arange(64, dtype=np.uint16) * 60, (64, 1))
    (scans / "mpr.dcm").write_bytes(dicom_file(ramp, ImageType=["DERIVED", "SECONDARY"]))
    output = tmp_path / "results.jsonl"
    done = neuroscan_edge("classify", scans, *model, "--output", output)
    assert done.returncode == 0, done.stderr
    assert "21 slices classified, 1 of them referred to a person, 2 rejected ->" in done.stderr
    decisions = [json.loads(line)["decision"] for line in output.read_text().splitlines()]
    assert sorted(decisions) == ["answer"] * 20 + ["refer"] + ["rejected"] * 2


def test_a_named_file_that_is_no_image_is_a_row(scans, model, tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("not a scan")
    done = neuroscan_edge("classify", notes, *model, "--format", "jsonl")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"].startswith("corrupt: ")


def test_an_image_of_900_megapixels_is_refused_within_little_memory(tmp_path, model):
    # Black compresses to little: the header and the data are honest, the size is the attack.
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(30_001))
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    (tmp_path / "bomb.png").write_bytes(bomb)
    done = neuroscan_edge(
        "classify",
        tmp_path / "bomb.png",
        *model,
        "--format",
        "jsonl",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (700 << 20, 700 << 20)),
    )
    assert done.returncode == 1, done.stderr
    error = json.loads(done.stdout)["error"]
    assert error.startswith("too-large: ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("missing.png",), "does not exist"),
        (("EMPTY",), "no scans"),
        (("SCANS", "--output", "results.xyz"), "use one of"),
        (("SCANS", "--output", "no/such/folder/results.csv"), "is not a folder"),
        (("SCANS", "--batch-size", "-3"), "batch size"),
        (("SCANS", "--workers", "100"), "workers"),
        (("SCANS", "--model", "no-such-model"), "no bundle"),
        (("SCANS", "--precision", "int3"), "int3"),
        (("SCANS", "--preprocess", "gpu"), "gpu"),
        (("SCANS", "--preprocess", "cuda"), "runs on the CPU; leave --preprocess cuda out"),
        ((), "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_usage_is_one_line_and_exit_code_2(scans, bundle, tmp_path, arguments, reason):
    empty = tmp_path / "nothing"
    empty.mkdir()
    places = {"SCANS": scans, "EMPTY": empty}
    given = [places.get(argument, argument) for argument in arguments]
    model = [] if "--model" in arguments else ["--model", bundle.folder]
    done = neuroscan_edge("classify", *given, *model)
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("damage", ["altered", "missing"])
def test_a_damaged_bundle_runs_nothing(scans, bundle, tmp_path, damage):
    name = GRAPHS[Precision.INT8]
    path = bundle.folder / name
    if damage == "altered":
        path.write_bytes(path.read_bytes()[:-4] + b"evil")
    else:
        path.unlink()
    output = tmp_path / "results.jsonl"
    done = neuroscan_edge("classify", scans, "--model", bundle.folder, "--output", output)
    assert done.returncode == 2
    assert bundle.files[name].sha256 in done.stderr
    assert not output.exists()


def test_a_full_disk_leaves_no_file(scans, model, tmp_path):
    # A file-size limit fails the write as a full disk does, without filling one.
    output = tmp_path / "results.jsonl"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    done = neuroscan_edge("classify", scans, *model, "--output", output, preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert not output.exists()
    assert partial_files(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_an_error(scans, model):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command("classify", scans, *model), stdout=full, stderr=subprocess.PIPE, cwd=ROOT
        )
    assert done.returncode == 1
    assert b"No space left" in done.stderr and b"Traceback" not in done.stderr


def test_earlier_results_survive_a_failed_run(scans, model, tmp_path):
    output = tmp_path / "results.jsonl"
    output.write_text("earlier\n")

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))

    done = neuroscan_edge("classify", scans, *model, "--output", output, preexec_fn=limit)
    assert done.returncode == 1
    assert output.read_text() == "earlier\n"


def test_results_never_replace_a_scan(scans, model):
    scan = scans / "series0" / "slice00.png"
    before = scan.read_bytes()
    done = neuroscan_edge("classify", scans, *model, "--format", "csv", "--output", scan)
    assert done.returncode == 2
    assert "is one of the scans" in done.stderr
    assert scan.read_bytes() == before


def test_results_never_replace_a_device_or_a_pipe(scans, model, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    done = neuroscan_edge("classify", scans, *model, "--output", pipe)
    assert done.returncode == 2
    assert "not a regular file" in done.stderr
    assert pipe.is_fifo()


def test_a_linked_output_keeps_its_link(scans, model, tmp_path):
    target, link = tmp_path / "real.csv", tmp_path / "link.csv"
    link.symlink_to(target)
    assert neuroscan_edge("classify", scans, *model, "--output", link).returncode == 0
    assert link.is_symlink()
    assert len(target.read_text().splitlines()) == 21


def test_a_graph_of_another_shape_than_stated_is_refused(scans, bundle):
    spec = Preprocessing(height=48, width=48, tile_grid=(4, 4))
    path = bundle.folder / "model.json"
    changes = {"preprocessing": spec.to_json(), "preprocessing_sha256": spec.sha256}
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    done = neuroscan_edge("classify", scans, "--model", bundle.folder)
    assert done.returncode == 2
    assert "model.json states" in done.stderr and "Traceback" not in done.stderr


def test_a_reader_that_stops_early_gets_no_traceback(scans, model):
    many = [scans] * 60  # More rows than a pipe holds.
    line = " ".join(f"'{part}'" for part in command("classify", *many, *model))
    done = subprocess.run(
        ["bash", "-c", f"{line} | head -n 1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 1, "not every slice was reported"
    assert done.stdout.strip() == RESEARCH_USE
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


def test_many_threads_print_no_identifier(bundle, tmp_path):
    import pydicom

    source = pydicom.dcmread(ROOT / "examples" / "scans" / "mono1.dcm")
    source.PatientName = "DOE^JOHN"
    folder = tmp_path / "named"
    folder.mkdir()
    source.save_as(folder / "000.dcm")
    data = (folder / "000.dcm").read_bytes()
    # A name where a UID belongs: the parser complains of it and quotes it.
    uid = str(source.SeriesInstanceUID).encode()
    data = data.replace(uid, b"DOE^JOHN 19700101".ljust(len(uid), b"X"))
    for index in range(60):
        (folder / f"{index:03}.dcm").write_bytes(data)
    arguments = ("classify", folder, "--model", bundle.folder, "--format", "jsonl")
    done = neuroscan_edge(*arguments, "--workers", 8)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 60
    assert {record["series_instance_uid"] for record in records} == {None}
    assert "DOE" not in done.stdout + done.stderr
    assert "19700101" not in done.stdout + done.stderr


def test_version_and_help_state_the_use():
    for option in ("--version", "--help"):
        text = " ".join(neuroscan_edge(option).stdout.split())
        assert RESEARCH_USE in text


@pytest.mark.parametrize("form", ["table", "csv", "jsonl"])
def test_a_file_name_that_is_no_text_is_survived(scans, model, tmp_path, form):
    odd = tmp_path / os.fsdecode(b"caf\xe9 \xff.png")
    (scans / "series0" / "slice00.png").rename(odd)
    output = tmp_path / "results.out"
    arguments = ("--format", form, "--output", output)
    assert neuroscan_edge("classify", odd, *model, *arguments).returncode == 0
    piped = subprocess.run(
        command("classify", odd, *model, "--format", form), capture_output=True, cwd=ROOT
    )
    assert piped.returncode == 0, piped.stderr
    if form == "jsonl":
        assert json.loads(output.read_text())["path"] == str(odd)
    assert piped.stdout == output.read_bytes()


def test_unwritable_output_is_refused(scans, model, tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    done = neuroscan_edge("classify", scans, *model, "--output", tmp_path / "folder.jsonl")
    assert done.returncode == 2
    assert "is not a regular file" in done.stderr


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "auto"])
def test_one_line_says_what_runs_and_why(scans, model, runtime):
    done = neuroscan_edge("classify", scans, *model, "--runtime", runtime, "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    names = {json.loads(line)["runtime"] for line in done.stdout.splitlines()}
    first = done.stderr.splitlines()[0]
    assert len(names) == 1
    assert first.startswith(names.pop())
    assert "int8 graph, on " in first
    assert ("asked for" in first) == (runtime != "auto")


def test_a_gpu_runtime_without_engine_names_the_command(scans, model):
    done = neuroscan_edge("classify", scans, *model, "--runtime", "tensorrt-rtx")
    assert done.returncode == 2
    assert "neuroscan-edge build-engine" in done.stderr
    assert done.stdout == ""
