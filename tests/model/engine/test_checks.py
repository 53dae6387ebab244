"""An engine is refused on the wrong machine, in words that say what to do."""

import json
import shlex
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from neuroscan_edge.cli.app import app
from neuroscan_edge.errors import (
    EngineContractError,
    EngineDriverError,
    EngineError,
    EngineFlavourError,
    EngineGpuError,
    EngineIntegrityError,
    EnginePlatformError,
    EngineSchemaError,
    EngineVersionError,
    OutputError,
)
from neuroscan_edge.model.engine import Installed, open_engine
from neuroscan_edge.model.engine.manifest import EngineManifest
from neuroscan_edge.spec import RuntimeName
from neuroscan_edge.system.gpu_probe import Gpu
from support.engine_cases import MACHINE, MISMATCHES, PLAN, RTX, Attempt, Mismatch, fitting_engine


@pytest.fixture
def attempt(bundle, tmp_path) -> Attempt:
    folder = tmp_path / "engine"
    fitting_engine(bundle, folder)
    return Attempt(folder, bundle)


def test_an_engine_that_fits_gives_its_verified_bytes(attempt):
    assert attempt.load() == {"engine.plan": PLAN}


@pytest.mark.parametrize("case", MISMATCHES, ids=str)
def test_a_mismatch_says_what_was_found_wanted_and_the_fix(attempt, case: Mismatch):
    changed = case.change(attempt)
    with pytest.raises(case.error) as raised:
        changed.load()
    assert type(raised.value) is case.error
    message = str(raised.value)
    for words in case.says:
        assert words in message
    assert raised.value.found and raised.value.wanted and raised.value.fix
    assert raised.value.exit_code == 2


def test_the_command_that_fixes_it_can_be_pasted_and_fits(bundle, tmp_path, attempt):
    """The engine lies elsewhere, in a folder with a space: the command says where to put it."""
    folder = tmp_path / "my engines" / "one"
    fitting_engine(bundle, folder, runtime_version="1.0")
    with pytest.raises(EngineVersionError) as raised:
        replace(attempt, folder=folder).load()
    command = raised.value.fix.removeprefix('run "').removesuffix('"')
    words = shlex.split(command)
    assert words[:3] == ["neuroscan-edge", "build-engine", str(bundle.folder)]
    assert words[words.index("--output") + 1] == str(folder)
    done = CliRunner().invoke(app, [*words[1:], "--target", "8.6"])
    assert done.exit_code == 0, done.output
    assert open_engine(folder).manifest.runtime_version != "1.0"


def test_checks_come_in_their_order(attempt):
    """Everything is wrong at once; mended from the front, each error shows in its turn."""
    gpu = replace(MACHINE.gpu, gpus=(Gpu("other", "12.0", 1),), cuda=(12, 0))
    wrong = replace(MACHINE, architecture="aarch64", gpu=gpu)
    plan = attempt.folder / "engine.plan"
    fitting_engine(attempt.bundle, attempt.folder, labels=("a", "b"))
    plan.write_bytes(PLAN[::-1])
    now = replace(attempt, installed=Installed(RuntimeName.TENSORRT, "10.3.0"), machine=wrong)

    def raised() -> type[EngineError]:
        with pytest.raises(EngineError) as error:
            now.load()
        return type(error.value)

    order = [raised()]
    plan.write_bytes(PLAN)
    order.append(raised())
    now = replace(now, installed=replace(RTX, version="1.6.0"))
    order.append(raised())
    now = replace(now, installed=RTX)
    order.append(raised())
    now = replace(now, machine=replace(MACHINE, gpu=gpu))
    order.append(raised())
    now = replace(now, machine=replace(MACHINE, gpu=replace(gpu, gpus=MACHINE.gpu.gpus)))
    order.append(raised())
    now = replace(now, machine=MACHINE)
    order.append(raised())
    assert order == [
        EngineIntegrityError,
        EngineFlavourError,
        EngineVersionError,
        EnginePlatformError,
        EngineGpuError,
        EngineDriverError,
        EngineContractError,
    ]


def test_a_manifest_reads_back_as_it_was_and_is_the_same_twice(attempt):
    manifest = open_engine(attempt.folder).manifest
    assert manifest.to_bytes() == manifest.to_bytes()
    assert (attempt.folder / "manifest.json").read_bytes() == manifest.to_bytes()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"schema": "1"}', '{"schema": true}'])
def test_a_manifest_that_is_none_is_a_clear_error(attempt, text):
    (attempt.folder / "manifest.json").write_text(text)
    with pytest.raises(EngineSchemaError, match="wanted an engine manifest"):
        open_engine(attempt.folder)


NEEDED = [name for name in EngineManifest.__dataclass_fields__ if name != "extra_outputs"]


@pytest.mark.parametrize("field", NEEDED)
def test_a_manifest_without_a_field_is_a_clear_error(attempt, field):
    path = attempt.folder / "manifest.json"
    document = json.loads(path.read_text())
    del document[field]
    path.write_text(json.dumps(document))
    with pytest.raises(EngineSchemaError, match=field):
        open_engine(attempt.folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": {"min": 1, "opt": 1}},
        {"batch": {"min": "1", "opt": 1, "max": 1}},
        {"batch": {"min": 0, "opt": 0, "max": 0}},
        {"input": {"name": "image"}},
        {"output": []},
        {"labels": "abc"},
        {"labels": [1, 2]},
        {"compute_capabilities": None},
        {"files": []},
        {"files": {"engine.plan": "0"}},
        {"graph": {}},
        {"layers": {}},
        {"layers": {"found": {"int8_planned": 1, "int8_found": 1, "int8_missing": [2]}}},
        {"runtime": "cuda"},
        {"precision": "int4"},
        {"runtime_version": 10},
        {"cuda_major": "13"},
        {"build_s": "long"},
        {"unknown": 1},
    ],
    ids=lambda changes: json.dumps(changes)[:40],
)
def test_a_malformed_manifest_is_a_clear_error(attempt, changes):
    path = attempt.folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(EngineSchemaError, match="wanted an engine manifest"):
        open_engine(attempt.folder)


def test_an_engine_that_cannot_be_written_names_the_option(bundle, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="give another --output"):
        fitting_engine(bundle, tmp_path / "file" / "engine")
