"""``bench`` from the command line: what it writes, and every bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from neuroscan_edge.bench import harness, read_record, render_page
from neuroscan_edge.bench.cold_start import ColdStartError, measure_cold_start
from neuroscan_edge.bench.library import open_library
from neuroscan_edge.bench.system import FilesSystem
from neuroscan_edge.classify.pipeline import AUTO_BATCH
from neuroscan_edge.cli.app import app
from neuroscan_edge.errors import UsageError
from neuroscan_edge.model.graph.roofline import GraphShapeError
from neuroscan_edge.runtimes import Parallelism, RuntimeInfo, Tuned, choose_runtime
from neuroscan_edge.runtimes.build import BuildOptions, build_engine
from neuroscan_edge.spec import RESEARCH_USE, Precision, RuntimeName
from support.engine_cases import MACHINE, fitting_engine
from support.fakes.fake_nvml import FakeNvml
from support.tiny_models import calibrated_bundle

QUICK = (
    "--warm-up", "0", "--min-duration", "0.2", "--max-duration", "0.4", "--threads", "1",
    "--stage-slices", "4", "--sweep", "1,4", "--cold-starts", "0",
)  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return calibrated_bundle(tmp_path_factory.mktemp("bench") / "tiny")


GPU_BATCH = 2 * AUTO_BATCH


class GpuRuntime:
    """Says that a GPU runs it, and wants larger batches than a CPU."""

    info = RuntimeInfo("onnxruntime", "1", "A GPU", Precision.INT8, "0" * 64, batch_size=GPU_BATCH)

    def __enter__(self) -> "GpuRuntime":
        return self

    def __exit__(self, *_: object) -> None: ...

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.full((len(batch), 4), 0.25, np.float32)


@pytest.fixture
def on_gpu(monkeypatch):
    def chosen(bundle, options):
        return replace(choose_runtime(bundle, options), cuda=True)

    monkeypatch.setattr("neuroscan_edge.bench.run.choose_runtime", chosen)
    monkeypatch.setattr("neuroscan_edge.bench.run.open_choice", lambda *_: GpuRuntime())


def bench(*arguments: object):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_a_run_writes_record_and_page(scans, model, tmp_path):
    output, page = tmp_path / "record.json", tmp_path / "page.html"
    done = bench(
        scans, "--model", model.folder, *QUICK, "--output", output, "--page", page,
        "--scenario", "SingleStream", "--scenario", "Offline", "--scope", "both",
    )  # fmt: skip
    # A busy machine is not steady within half a second, and says so.
    assert done.exit_code in {0, 1}, done.output
    record = read_record(output)
    found = record.content
    assert [(each["scenario"], each["scope"]) for each in found["scenarios"]] == [
        (name, scope) for name in ("SingleStream", "Offline") for scope in ("pipeline", "runtime")
    ]
    assert all(each["samples"] > 0 for each in found["scenarios"])
    assert found["input"] | {"notes": []} == {
        "kind": "scans", "samples": 20, "left_out": 0, "notes": []
    }  # fmt: skip
    assert "p90 needs 64 slices in 64 queries, there are 20 scans" in found["input"]["notes"][0]
    assert found["model"]["engine_sha256"] == model.files["model.int8.onnx"].sha256
    assert found["options"]["parallelism"]["one slice"] == "1 x 1 threads (asked for)"
    assert found["machine"]["cores"] and found["software"]["onnxruntime"]
    assert found["memory"]["peak_host_bytes"] > 1e7
    assert found["stages"]["one_at_a_time"]["slices"] == 4
    computing = [each for each in found["layers"]["layers"] if each["operations"]]
    assert {each["int8"] for each in computing} == {True, False}, "convolutions, and the head"
    assert "layers, ms of one core a slice: " in done.output
    assert "Layers of the model" in page.read_text()
    assert [point["batch_size"] for point in found["sweep"]["points"]] == [1, 4]
    assert str(tmp_path) not in output.read_text(), "no path of this machine is in a record"
    assert RESEARCH_USE in page.read_text() and "Where the time goes" in page.read_text()
    again = tmp_path / "again.html"
    assert bench("page", output, "--output", again).exit_code == 0
    assert again.read_text() == page.read_text()


def test_no_layers_are_timed_where_none_are_wanted(scans, model, tmp_path):
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, *QUICK, "--output", output,
                 "--scenario", "Offline", "--layer-runs", 0)  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    assert "layers" not in read_record(output).content
    assert "Layers of the model" not in render_page(read_record(output))


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (GraphShapeError("the shape of x is not known"), "the shape of x is not known"),
        (OSError(28, "No space left on device"), "No space left on device); check the temporary"),
    ],
    ids=["graph", "disk"],
)
def test_what_was_measured_outlives_a_failure_to_time_layers(
    scans, model, tmp_path, monkeypatch, failure, reason
):
    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr("neuroscan_edge.bench.run.measure_layers", fails)
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, *QUICK, "--output", output,
                 "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    record = read_record(output)
    assert record.content["scenarios"][0]["samples"] > 0 and "sweep" in record.content
    assert reason in record.content["layers"]["reason"]
    assert "no layers: " in done.output and reason in done.output
    assert "Layers of the model" in render_page(record)


@pytest.mark.parametrize("runs", [-1, 1001])
def test_layer_runs_out_of_range_are_bad_usage(scans, model, runs):
    done = bench(scans, "--model", model.folder, "--layer-runs", runs)
    assert done.exit_code == 2 and "layer runs" in done.output


def test_noise_stands_in_for_scans(model, tmp_path):
    output = tmp_path / "record.json"
    done = bench("--noise", "--samples", 3, "--model", model.folder, *QUICK, "--output", output,
                 "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    assert read_record(output).content["input"]["kind"] == "noise"


def test_noise_is_noise_and_never_zeros(model):
    with open_library((), model.preprocessing, 2, noise=True) as library:
        first, second = library.slices
        assert first.std() > 40
        assert (first != second).any()
        places = library.files
    assert not any(path.exists() for path in places), "made for the run alone"


def test_no_scans_is_bad_usage(tmp_path, model):
    done = bench("--model", model.folder, *QUICK)
    assert done.exit_code == 2
    assert "there are no scans; name files or folders, or give --noise" in done.output
    (tmp_path / "empty").mkdir()
    done = bench(tmp_path / "empty", "--model", model.folder, *QUICK)
    assert done.exit_code == 2
    assert "there are no scans to measure on" in done.output


def test_what_cannot_be_measured_on_is_left_out_and_counted(scans, model):
    (scans / "bad.png").write_bytes(b"no image")
    pages = [np.full((40, 40), level, np.uint8) for level in (10, 90)]
    cv2.imwritemulti(str(scans / "pages.tiff"), pages)
    cv2.imwrite(str(scans / "blank.png"), np.zeros((40, 40), np.uint8))
    with open_library((scans,), model.preprocessing, 100) as library:
        assert (len(library.files), library.left_out) == (20, 3)
    with (
        pytest.raises(UsageError, match="1 files found, 1 tried, none"),
        open_library((scans / "bad.png",), model.preprocessing, 5),
    ):
        pass


def test_too_few_queries_claim_no_percentile_and_say_how_many(scans, model, tmp_path):
    output = tmp_path / "record.json"
    quick = [*QUICK[:2], "--min-duration", "0.01", "--max-duration", "0.01", *QUICK[6:]]
    done = bench(scans, "--model", model.folder, *quick, "--output", output,
                 "--scenario", "MultiStream")  # fmt: skip
    assert done.exit_code == 1
    assert "p99 needs 662: give a longer --max-duration" in done.output
    (section,) = read_record(output).content["scenarios"]
    assert section["latency_ms"]["claimed"] is None
    assert (section["verdict"], read_record(output).verdict) == ("unstable", "unstable")


ELSEWHERE = {
    "another GPU": ({"compute_capabilities": ("12.0",)}, "sm_120"),
    "another processor": (
        {
            "runtime": RuntimeName.ONNXRUNTIME,
            "runtime_version": onnxruntime.__version__,
            "platform": "linux an-architecture",
            "cuda_major": None,
            "compute_capabilities": (),
        },
        "found an engine for linux an-architecture, wanted one for",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_an_engine_for_another_machine_is_refused(scans, model, tmp_path, changes, reason):
    engine = fitting_engine(model, tmp_path / "engine", **changes)
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, "--engine", engine.folder, *QUICK,
                 "--output", output)  # fmt: skip
    assert done.exit_code == 2
    assert done.output.startswith(f"error: {engine.folder}: found ")
    assert reason in done.output
    assert not output.exists(), "nothing was measured"


def test_ctrl_c_leaves_a_partial_record(scans, model, tmp_path, monkeypatch):
    asked: list[int] = []
    query = FilesSystem.query

    def interrupted(self, indices):
        asked.append(1)
        if len(asked) == 5:
            raise KeyboardInterrupt
        query(self, indices)

    monkeypatch.setattr(FilesSystem, "query", interrupted)
    output, page = tmp_path / "record.json", tmp_path / "page.html"
    done = bench(
        scans, "--model", model.folder, *QUICK, "--output", output, "--page", page,
        "--scenario", "SingleStream", "--scenario", "Offline",
    )  # fmt: skip
    assert done.exit_code == 130
    record = read_record(output)
    assert record.verdict is harness.Verdict.PARTIAL
    assert record.content["interrupted"] is True
    assert record.reasons == ["SingleStream (pipeline): interrupted after 4 slices"]
    assert len(record.content["scenarios"]) == 1
    assert "partial: the run was cut short" in page.read_text()


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_the_signal_of_ctrl_c_ends_a_real_run_with_its_record(scans, model, tmp_path, scenario):
    output = tmp_path / "record.json"
    command = [
        sys.executable, "-m", "neuroscan_edge", "bench", str(scans), "--model", str(model.folder),
        "--scenario", scenario, "--threads", "1", "--warm-up", "0", "--min-duration", "300",
        "--output", str(output),
    ]  # fmt: skip
    started = tmp_path / "started"
    # The first query says that measuring has begun: no test waits for a guess.
    place = tmp_path / "site"
    place.mkdir()
    (place / "sitecustomize.py").write_text(
        "import pathlib, neuroscan_edge.bench.system as system\n"
        "real = system.classify_files\n"
        "def told(*arguments):\n"
        "    for result in real(*arguments):\n"
        f"        pathlib.Path({str(started)!r}).touch()\n"
        "        yield result\n"
        "system.classify_files = told\n"
    )
    path = os.pathsep.join([str(place), *sys.path])
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as process:
        until = time.monotonic() + 60
        while not started.exists() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    record = read_record(output)
    assert record.verdict is harness.Verdict.PARTIAL
    (section,) = record.content["scenarios"]
    assert section["reason"].startswith("interrupted after")
    assert "stages" not in record.content and "sweep" not in record.content


@pytest.mark.usefixtures("on_gpu")
def test_without_nvml_the_reason_is_told(scans, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, *QUICK, "--output", output,
                 "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    assert "no GPU figures: pynvml is not installed" in done.output
    assert "no layers: layers are timed on a CPU only" in done.output
    assert "neuroscan-edge[bench]" in read_record(output).content["gpu"]["reason"]


def test_a_gpu_that_does_not_run_the_model_is_not_watched(scans, model, tmp_path, monkeypatch):
    # Throttled, as an idle one may be: no verdict on a run of the CPU.
    nvml = FakeNvml(reasons=0x40)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, *QUICK, "--output", output,
                 "--runtime", "onnxruntime", "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    record = read_record(output)
    assert record.content["gpu"]["reason"] == "the model runs on the CPU"
    assert "gpu" not in record.content["scenarios"][0]
    assert not any("throttled" in reason for reason in record.reasons)
    assert nvml.looks == 0


def test_without_loadgen_the_extra_is_named_before_anything_is_measured(scans, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    done = bench(scans, "--model", model.folder, "--harness", "loadgen")
    assert done.exit_code == 2
    assert "neuroscan-edge[bench]" in done.output


def test_records_of_two_machines_are_compared_with_a_warning(scans, model, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    bench(scans, "--model", model.folder, *QUICK, "--output", one, "--scenario", "Offline")
    content = json.loads(one.read_text())
    # As many windows as a quiet machine gives.
    content["scenarios"][0]["windows"] = [10.0, 11.0, 12.0]
    one.write_text(json.dumps(content))
    content["machine"]["cpu"] = "another processor"
    two.write_text(json.dumps(content))
    done = bench("compare", one, two)
    assert done.exit_code == 0
    assert "warning: the records are of different machines" in done.output
    assert "Offline (pipeline)" in done.output and "x 1.000" in done.output
    assert bench("compare", one, tmp_path / "none.json").exit_code == 2


def test_records_without_a_common_figure_are_bad_usage(scans, model, tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    for path, name in ((one, "SingleStream"), (two, "Offline")):
        bench(scans, "--model", model.folder, *QUICK, "--output", path, "--scenario", name)
    done = bench("compare", one, two)
    assert done.exit_code == 2
    assert "the first has SingleStream (pipeline), the second Offline (pipeline)" in done.output


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--sweep", "a"), "give whole numbers"),
        (("--sweep", "0"), "give 1 to 1024"),
        (("--samples", "0"), "give 1 to 100000"),
        (("--min-duration", "9", "--max-duration", "1"), "a maximum that is not below"),
        (("--pin", "9999"), "cannot be used"),
        (("--output", "nowhere/record.json"), "is not a folder"),
        (("--model", "nothing"), "there is no bundle"),
    ],
)
def test_bad_usage_is_told_before_measuring(scans, model, arguments, reason):
    done = bench(scans, "--model", model.folder, *arguments)
    assert done.exit_code == 2
    assert reason in done.output


def test_cold_start_is_from_process_to_first_result():
    now = [0]

    def start(command):
        now[0] += (3 if len(seen) == 0 else 1) * 10**9
        seen.append(command)
        return b'{"path": "a.png", "prediction": "no_tumor"}\n'

    seen: list[list[str]] = []
    found = measure_cold_start(Path("a.png"), ["--threads", "1"], 3, lambda: now[0], start)
    assert found == {"runs_s": [3, 1, 1], "median_s": 1, "first_s": 3}
    assert seen[0][1:5] == ["-m", "neuroscan_edge", "classify", "a.png"]
    with pytest.raises(ColdStartError, match="run it by hand"):
        measure_cold_start(Path("a.png"), [], 1, lambda: 0, lambda command: b"")


def test_a_cold_start_runs_a_real_process(scans, model):
    image = next(scans.rglob("*.png"))
    found = measure_cold_start(image, ["--model", str(model.folder), "--threads", "1"], 1)
    assert found["first_s"] > 0


@pytest.mark.usefixtures("on_gpu")
def test_the_batch_size_recorded_is_what_the_runtime_asks_for(scans, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    output = tmp_path / "record.json"
    command = [scans, "--model", model.folder, *QUICK, "--output", output]
    for asked, used in ((0, GPU_BATCH), (4, 4)):
        done = bench(*command, "--scenario", "Offline", "--batch-size", asked)
        assert done.exit_code in {0, 1}, done.output
        content = read_record(output).content
        assert content["options"]["batch_size"] == used
        assert content["stages"]["streaming"]["batch_size"] == used
        # Whole batches alone are counted.
        assert content["scenarios"][0]["samples"] % used == 0


def test_the_batch_size_recorded_on_a_cpu_is_what_classify_takes(scans, model, tmp_path):
    output = tmp_path / "record.json"
    bench(scans, "--model", model.folder, *QUICK, "--output", output, "--scenario", "Offline")
    assert read_record(output).content["options"]["batch_size"] == AUTO_BATCH


def test_tuning_again_measures_each_kind_of_batch_once(scans, model, tmp_path, monkeypatch):
    asked = []

    def counted(bundle, choice, options, *, batch_size, slices, again):
        asked.append((batch_size, again))
        tuned = replace(options, threads=0, parallelism=Parallelism(1))
        return Tuned(tuned, "measured now")

    monkeypatch.setattr("neuroscan_edge.bench.run.tune", counted)
    done = bench(scans, "--model", model.folder, *QUICK, "--retune", "--scope", "both",
                 "--scenario", "SingleStream", "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    assert sorted(asked) == [(1, True), (AUTO_BATCH, True)]


@pytest.mark.parametrize("of_an_engine", [False, True], ids=["a graph", "an engine"])
def test_a_cold_start_is_of_what_was_measured(scans, model, tmp_path, monkeypatch, of_an_engine):
    seen = []

    def timed(image, options, runs):
        seen.append(list(options))
        return {"runs_s": [1.0], "median_s": 1.0, "first_s": 1.0}

    monkeypatch.setattr("neuroscan_edge.bench.run.measure_cold_start", timed)
    which = ["--runtime", "onnxruntime"]
    if of_an_engine:
        folder = tmp_path / "engine"
        options = BuildOptions(RuntimeName.ONNXRUNTIME, Precision.INT8, output=folder)
        build_engine(model, options, lambda *_: None)
        which = ["--engine", str(folder)]
    done = bench(scans, "--model", model.folder, *QUICK[:-1], "1", *which,
                 "--scenario", "Offline")  # fmt: skip
    assert done.exit_code in {0, 1}, done.output
    ((*_, option, value),) = seen
    assert seen[0][seen[0].index("--threads") + 1] == "1"
    assert (option, value) == (("--engine", which[1]) if of_an_engine else ("--precision", "int8"))


@pytest.mark.usefixtures("on_gpu")
def test_with_nvml_each_scenario_has_its_gpu_figures(scans, model, tmp_path, monkeypatch):
    nvml = FakeNvml(reasons=0x40)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpu = replace(MACHINE.gpu.gpus[0], bus_id="0000:65:00.0")
    machine = replace(MACHINE, gpu=replace(MACHINE.gpu, gpus=(gpu,)))
    monkeypatch.setattr("neuroscan_edge.bench.run.this_machine", lambda: machine)
    output = tmp_path / "record.json"
    done = bench(scans, "--model", model.folder, *QUICK, "--output", output,
                 "--scenario", "Offline")  # fmt: skip
    assert done.exit_code == 1, "throttled: not valid, however steady"
    assert nvml.watched == gpu.bus_id
    record = read_record(output)
    assert record.content["scenarios"][0]["gpu"]["temperature_c"] == [61, 61]
    assert "the GPU was throttled: hardware thermal slowdown" in record.reasons
    assert nvml.open == 0
