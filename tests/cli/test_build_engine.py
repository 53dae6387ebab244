"""``neuroscan-edge build-engine`` and ``inspect`` as their users meet them."""

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from neuroscan_edge.spec import RESEARCH_USE
from support.command_line import command, neuroscan_edge
from support.places import ROOT
from support.tiny_models import calibrated_bundle

DEFAULT_BUNDLE = ROOT / "engines" / "xception-tuned"


@pytest.fixture
def bundle(tmp_path) -> Path:
    return calibrated_bundle(tmp_path / "tiny").folder


def test_an_engine_is_built_and_described(bundle, tmp_path):
    output = tmp_path / "engine"
    done = neuroscan_edge(
        "build-engine", bundle, "--runtime", "tensorrt-rtx", "--precision", "int8",
        "--target", "8.6", "--max-batch", "4", "--output", output,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "4 of 4 planned layers in INT8" in done.stdout
    assert RESEARCH_USE in done.stderr
    assert "\x1b" not in done.stdout + done.stderr, "no bar and no colours in a pipe"

    described = neuroscan_edge("inspect", output, "--json")
    record = json.loads(described.stdout)
    assert record["kind"] == "engine"
    assert record["intended_use"] == RESEARCH_USE
    assert record["batch"] == {"min": 1, "opt": 4, "max": 4}
    assert record["layers"]["planned"]["int8_convolutions"][0] == "stem"


def test_a_terminal_shows_a_bar(tmp_path):
    terminal, end = pty.openpty()
    arguments = ("build-engine", DEFAULT_BUNDLE, "--runtime", "tensorrt-rtx", "--precision", "int8")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    running = subprocess.Popen(
        command(*arguments, "--output", tmp_path / "engine"),
        stdout=subprocess.DEVNULL, stderr=end, cwd=ROOT, env=environment,
    )  # fmt: skip
    os.close(end)
    shown = b""
    # At the end of a pseudo-terminal, reading fails.
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert running.wait(timeout=60) == 0
    assert b"building" in shown and b"%" in shown
    assert re.search(rb"[^0-9][1-9][0-9]?%", shown), "between nothing and all"


def test_ctrl_c_ends_a_build_with_130_and_no_engine(tmp_path):
    output = tmp_path / "engine"
    running = subprocess.Popen(
        command(
            "build-engine", DEFAULT_BUNDLE, "--runtime", "tensorrt-rtx",
            "--precision", "int8", "--output", output,
        ),
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        # A shell's background job ignores interrupts, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 60
    # The builder's library is loaded when a build starts.
    while "tensorrt_rtx" not in Path(f"/proc/{running.pid}/maps").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert "interrupted" in errors and "Traceback" not in errors
    assert not output.exists()


def test_a_missing_runtime_is_one_line_and_exit_2(bundle):
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        done = neuroscan_edge("build-engine", bundle, "--runtime", "tensorrt")
        assert done.returncode == 2
        assert done.stderr.startswith("error: tensorrt is not installed")
        assert len(done.stderr.splitlines()) == 1
    else:
        assert neuroscan_edge("build-engine", bundle, "--runtime", "tensorrt").returncode == 0


def test_inspect_describes_a_bundle_with_its_engines(bundle):
    assert neuroscan_edge("build-engine", bundle, "--runtime", "onnxruntime").returncode == 0
    done = neuroscan_edge("inspect", bundle)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime-int8-cpu: onnxruntime" in done.stdout
    assert RESEARCH_USE in done.stdout
    record = json.loads(neuroscan_edge("inspect", bundle, "--json").stdout)
    assert record["graphs"]["int8"]["convolutions"]["int8"] == 4
    assert set(record["graphs"]["fp16"]["weights_bytes"]) == {"float16"}


def test_inspect_describes_a_graph(bundle):
    record = json.loads(neuroscan_edge("inspect", bundle / "model.int8.onnx", "--json").stdout)
    assert record["kind"] == "graph"
    assert record["inputs"] == ["image uint8 ['batch', 32, 32, 1]"]
    assert record["operators"]["Conv"] == 4


@pytest.mark.parametrize("content", [b"", b"\x00\x01 no graph", b"{}"], ids=range(3))
def test_inspect_refuses_what_is_no_graph(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    done = neuroscan_edge("inspect", path)
    assert done.returncode == 2
    assert "is no ONNX file" in done.stderr and "Traceback" not in done.stderr


def test_inspect_says_that_an_engine_was_altered(bundle):
    assert neuroscan_edge("build-engine", bundle, "--runtime", "onnxruntime").returncode == 0
    path = bundle / "engines" / "onnxruntime-int8-cpu" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    done = neuroscan_edge("inspect", path.parent)
    assert done.returncode == 2
    assert "altered or damaged" in done.stderr


def test_classify_takes_the_engine_it_is_told_to_and_refuses_an_altered_one(bundle, scans):
    # FP32: on some processors OpenVINO gets no INT8 engine.
    options = ("--runtime", "openvino", "--precision", "fp32")
    assert neuroscan_edge("build-engine", bundle, *options).returncode == 0
    engine = bundle / "engines" / "openvino-fp32-cpu"
    arguments = ("classify", scans, "--model", bundle, "--engine", engine, "--format", "jsonl")
    done = neuroscan_edge(*arguments)
    assert done.returncode == 0, done.stderr
    recorded = json.loads((engine / "manifest.json").read_text())["files"][0]["sha256"]
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert {record["engine_sha256"] for record in records} == {recorded}
    assert {record["runtime"] for record in records} == {"openvino"}
    weights = engine / "model.bin"
    data = weights.read_bytes()
    weights.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    refused = neuroscan_edge(*arguments)
    assert refused.returncode == 2
    assert "model.bin: found SHA-256" in refused.stderr
    assert refused.stdout == ""
