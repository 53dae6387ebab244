"""Reading a recipe from its TOML file, every key and type checked."""

import dataclasses
import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from neuroscan_edge.errors import NeuroScanError
from training.recipe.recipe import Recipe, RecipeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises
    ------
    RecipeError
        If the file is missing, is not TOML, or a key is unknown, missing or out of range; an
        unknown key is answered with the nearest known one.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist; see training/recipes/") from error
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not a readable TOML file: {error}") from error
    try:
        return _build(Recipe, table, "")
    except NeuroScanError as error:
        raise RecipeError(f"{path}: {error}") from error


_T = TypeVar("_T")


def _build(kind: type[_T], table: Mapping[str, Any], where: str) -> _T:
    hints = get_type_hints(kind)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise RecipeError(
                f"unknown key {where}{key}; did you mean {where}{near[0]}? "
                f"(known: {', '.join(hints)})"
            )
    for each in dataclasses.fields(kind):  # type: ignore[arg-type]
        required = (
            each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        )
        if required and each.name not in table:
            raise RecipeError(f"{where}{each.name} is missing")
    return kind(**{key: _value(hints[key], table[key], f"{where}{key}") for key in table})


def _value(kind: Any, value: Any, where: str) -> Any:
    if get_origin(kind) in (Union, UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if dataclasses.is_dataclass(kind):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} is {value!r}; it must be a table")
        return _build(kind, value, f"{where}.")  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise RecipeError(f"{where} is {value!r}; it must be a list")
        inner = get_args(kind)[0]
        return tuple(_value(inner, each, f"{where}[{i}]") for i, each in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError as error:
            raise RecipeError(f"{where} is larger than any float") from error
    expected = str if issubclass(kind, str) else kind
    if not isinstance(value, expected) or (kind is not bool and isinstance(value, bool)):
        raise RecipeError(f"{where} is {value!r}; it must be of type {expected.__name__}")
    return value
