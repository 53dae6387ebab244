"""Imports point one way, and the edge loads no training framework."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from support.places import ROOT

PACKAGE = ROOT / "neuroscan_edge"
MODULES = sorted(PACKAGE.rglob("*.py"))
FRAMEWORKS = ("tensorflow", "keras", "tf2onnx", "torch", "matplotlib", "sklearn")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def loaded_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_package_imports_no_lab_code(path):
    assert not {name.split(".")[0] for name in imported(path)} & {
        "training",
        "calibration",
        "benchmarks",
        *FRAMEWORKS,
    }


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pycuda_is_imported_in_system_cuda_alone(path):
    if path.relative_to(PACKAGE).parts[:2] != ("system", "cuda"):
        assert "pycuda" not in {name.split(".")[0] for name in imported(path)}


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
