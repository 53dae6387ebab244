import json
import sys

import numpy
import pytest

from neuroscan_edge.errors import MissingDependencyError
from neuroscan_edge.system.optional import installed_versions, require


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder on the import path; what is imported from it is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_present_module_is_returned():
    assert require("json", extra="cpu", why="to test") is json


def test_present_submodule_is_returned():
    assert require("json.decoder", extra="cpu", why="to test") is json.decoder


@pytest.mark.parametrize(
    "module",
    ["nse_absent", "nse_absent.sub.module", "json.nse_absent"],
    ids=["absent package", "module of absent package", "absent module of present package"],
)
def test_absent_module_names_extra_and_reason(module):
    with pytest.raises(MissingDependencyError) as caught:
        require(module, extra="openvino", why="to run an INT8 graph")
    message = str(caught.value)
    assert message.startswith(f"{module} is not installed")
    assert "needed to run an INT8 graph" in message
    assert "pip install 'neuroscan-edge[openvino]'" in message


def test_absent_module_is_an_import_error():
    with pytest.raises(ImportError):
        require("nse_absent", extra="cpu", why="to test")


BROKEN = {
    "absent dependency": ("import nse_absent_dependency", ModuleNotFoundError),
    "absent name in dependency": ("from json import nse_absent_name", ImportError),
    "library that does not load": ("raise OSError('libcudart.so.13: not found')", OSError),
    "syntax error": ("def", SyntaxError),
    "dependency with a longer name": ("import nse_broken_plugins", ModuleNotFoundError),
    "dependency with a shorter name": ("import nse_bro", ModuleNotFoundError),
}


@pytest.mark.parametrize(("source", "error"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_module_passes_its_own_error_on(site, source, error):
    (site / "nse_broken.py").write_text(source)
    with pytest.raises(error) as caught:
        require("nse_broken", extra="cpu", why="to test")
    assert not isinstance(caught.value, MissingDependencyError)


def test_broken_sibling_passes_its_own_error_on(site):
    package = site / "nse_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "first.py").write_text("import nse_package.second")
    with pytest.raises(ModuleNotFoundError, match=r"nse_package\.second") as caught:
        require("nse_package.first", extra="cpu", why="to test")
    assert not isinstance(caught.value, MissingDependencyError)


def test_versions_are_of_what_is_installed():
    assert installed_versions(("nse-absent", "numpy")) == {"numpy": numpy.__version__}
