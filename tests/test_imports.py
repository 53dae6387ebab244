"""Imports point one way, and the edge loads no training framework."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT

FRAMEWORKS = ("tensorflow", "keras", "tf2onnx", "torch", "matplotlib", "sklearn")
CHECKED = ("neuroscan_edge", "training", "kernels")
"""The packages that the contracts of pyproject.toml are about."""

ASKED_FOR_BY = {
    "keras": {"neuroscan_edge/model/export.py"},
    "pycuda": {"neuroscan_edge/system/cuda/context.py"},
    "sklearn": {"neuroscan_edge/parity/evaluation/metrics.py"},
    "tensorflow": {"neuroscan_edge/model/export.py"},
    "tf2onnx": {"neuroscan_edge/model/export.py"},
}
"""Who imports what by its name in a string, which the import linter does not see."""

PLANTED = {
    "at the top of a module": (
        "neuroscan_edge/scans/grey.py",
        "from neuroscan_edge.results.record import Record\n",
        "The rooms of the package point one way",
    ),
    "inside a function": (
        "neuroscan_edge/model/labels.py",
        "def late():\n    from neuroscan_edge.cli.app import app\n    return app\n",
        "The rooms of the package point one way",
    ),
    "for types alone": (
        "neuroscan_edge/errors.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
        "    from neuroscan_edge.scans.scan import Provenance\n",
        "The rooms of the package point one way",
    ),
    "between rooms of one layer": (
        "neuroscan_edge/scans/grey.py",
        "from neuroscan_edge.preprocess import reference\n",
        "The rooms of the package point one way",
    ),
    "in a module of no room": (
        "neuroscan_edge/helpers.py",
        "",
        "The rooms of the package point one way",
    ),
    "in a circle within a room": (
        "neuroscan_edge/scans/scan.py",
        "from neuroscan_edge.scans.quality import examine\n",
        "No circles between the children",
    ),
    "of the lab": (
        "neuroscan_edge/bench/run.py",
        "from training import recipe\n",
        "The lab imports the package",
    ),
    "of a framework": (
        "neuroscan_edge/parity/keras_baseline.py",
        "import tensorflow.keras\n",
        "The edge imports no training framework",
    ),
    "of PyCUDA": (
        "neuroscan_edge/runtimes/trt/runner.py",
        "import pycuda.driver\n",
        "PyCUDA is imported in system.cuda alone",
    ),
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder), "COLUMNS": "200"},
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository's code alone, free to be damaged."""
    for path in (path for name in CHECKED for path in (ROOT / name).rglob("*.py")):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_are_kept():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "code", "contract"), PLANTED.values(), ids=PLANTED)
def test_one_wrong_import_breaks_its_contract(copy, path, code, contract):
    with (copy / path).open("a") as file:
        file.write(code)
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in done.stdout.partition("Broken contracts")[2], done.stdout


def test_frameworks_are_asked_for_where_they_may_be_alone():
    found: dict[str, set[str]] = {}
    for path in (ROOT / "neuroscan_edge").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in {
                "__import__",
                "import_module",
                "require",
            }:
                name = node.args[0].value if isinstance(node.args[0], ast.Constant) else ""
                found.setdefault(str(name).partition(".")[0], set()).add(
                    path.relative_to(ROOT).as_posix()
                )
    assert {name: found.get(name, set()) for name in (*FRAMEWORKS, "pycuda")} == {
        name: ASKED_FOR_BY.get(name, set()) for name in (*FRAMEWORKS, "pycuda")
    }


def loaded_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_everything_at_the_edge_loads_no_framework():
    code = """
import importlib, pkgutil, neuroscan_edge
for each in pkgutil.walk_packages(neuroscan_edge.__path__, "neuroscan_edge."):
    if not each.name.endswith("__main__"):
        importlib.import_module(each.name)
"""
    assert loaded_by(code).isdisjoint(FRAMEWORKS)


def test_classifying_loads_no_framework(scans, bundle):
    code = f"""
from pathlib import Path
from neuroscan_edge.classify.request import ClassifyRequest
from neuroscan_edge.classify.run import run
assert run(ClassifyRequest((Path({str(scans)!r}),), model={str(bundle.folder)!r})) == 0
"""
    assert loaded_by(code).isdisjoint(FRAMEWORKS)


def test_help_loads_no_numeric_library():
    code = """
from typer.testing import CliRunner
from neuroscan_edge.cli.app import app
assert CliRunner().invoke(app, ["--help"]).exit_code == 0
"""
    assert loaded_by(code).isdisjoint({"numpy", "cv2", "onnxruntime", "onnx", *FRAMEWORKS})
