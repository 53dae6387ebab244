"""JSON read back into the dataclasses it was written from, every type checked."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

_T = TypeVar("_T")


def from_json(kind: type[_T], document: object) -> _T:
    """Build a dataclass from what `dataclasses.asdict` and JSON made of one.

    Fields may be str, int, bool, float, Literal, other dataclasses, tuples of one type, mappings
    from text, and any of these or None. Keys that are no field are passed over; a
    field with a default may be missing.

    Raises
    ------
    ValueError
        If a key is missing or a value has another type; the message says which.
    """
    built: _T = _value(kind, document, "")
    return built


def _value(kind: Any, value: Any, where: str) -> Any:
    options = get_args(kind)
    origin = get_origin(kind)
    if origin is types.UnionType:
        present = next(option for option in options if option is not types.NoneType)
        return None if value is None else _value(present, value, where)
    if origin is Literal and value in options:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_value(options[0], each, f"{where}[{i}]") for i, each in enumerate(value))
    if origin is Mapping and isinstance(value, dict):
        return {
            _value(options[0], key, f"{where}.{key}"): _value(options[1], each, f"{where}.{key}")
            for key, each in value.items()
        }
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        optional = {
            each.name
            for each in dataclasses.fields(kind)
            if each.default is not dataclasses.MISSING
        }
        missing = sorted(set(hints) - set(value) - optional)
        if missing:
            raise ValueError(f"{where}.{missing[0]}".lstrip(".") + " is missing")
        present = [name for name in hints if name in value]
        return kind(
            **{name: _value(hints[name], value[name], f"{where}.{name}") for name in present}
        )
    if kind is float and type(value) in (int, float):
        return float(value)
    # An exact type: True is no whole number here.
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise ValueError(f"{where.lstrip('.') or 'the document'} is not as this version writes it")
