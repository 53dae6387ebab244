"""The one door for optional imports."""

import importlib
from collections.abc import Iterable
from types import ModuleType

from neuroscan_edge.errors import MissingDependencyError


def require(module: str, *, extra: str, why: str) -> ModuleType:
    """Import an optional module, or say which extra installs it.

    Parameters
    ----------
    module : str
        Dotted name of the module.
    extra : str
        The extra of this project that installs it.
    why : str
        What it is needed for, as it reads after "needed".

    Raises
    ------
    MissingDependencyError
        If the module itself is absent. If something *inside* it fails to import, that error is
        passed on unchanged: the install is broken, not incomplete.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise MissingDependencyError(
            f"{module} is not installed, but it is needed {why}; "
            f"install it with: pip install 'neuroscan-edge[{extra}]'"
        ) from error


def installed_versions(distributions: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by their names as given."""
    # Not at the top: it takes longer to import than all the rest here.
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
