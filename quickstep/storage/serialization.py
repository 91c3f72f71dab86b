"""Convert frozen dataclasses to plain JSON and back, strictly.

Supported are str, int, float, bool, None, Path, Literal, tuples and dicts of those, dataclasses of those, and `X | None`. NaN and infinity
are refused, because JSON cannot express them.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Return a value as plain JSON types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {written_name(field): to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(inner) for inner in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot be written as JSON")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")


def written_name(field: Field[Any]) -> str:
    """Return the key of a dataclass field in JSON: its name, unless its metadata keep an older spelling as `written_as`."""
    return str(field.metadata.get("written_as", field.name))


def from_plain(kind: type[T], value: Any, *, where: str = "") -> T:
    """Create a `kind` from plain JSON types; a missing, unknown or wrong value is a ValueError that names its place."""
    return _read(kind, value, where or kind.__name__)  # type: ignore[no-any-return]


def _read(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_either(kind, value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise _wrong(f"one of {', '.join(map(str, get_args(kind)))}", value, where)
        return value
    if origin is tuple:
        return _read_tuple(get_args(kind), value, where)
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise _wrong("an object", value, where)
        return {key: _read(get_args(kind)[1], inner, f"{where}.{key}") for key, inner in value.items()}
    if is_dataclass(kind):
        return _read_record(kind, value, where)
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(kind.__name__, value, where)
    return value


def _read_either(kind: Any, value: Any, where: str) -> Any:
    choices = get_args(kind)
    if value is None and types.NoneType in choices:
        return None
    rest = [choice for choice in choices if choice is not types.NoneType]
    if len(rest) > 1 and all(choice in (bool, int, float, str) for choice in rest):
        if type(value) is int and int not in rest and float in rest:
            return float(value)
        if type(value) not in rest:
            raise _wrong(" or ".join(choice.__name__ for choice in rest), value, where)
        return value
    if len(rest) != 1:
        raise TypeError(f"{where}: only X | None, or a choice of plain values, can be read, not {kind}")
    return _read(rest[0], value, where)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise _wrong("a list", value, where)
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_read(kinds[0], inner, f"{where}[{index}]") for index, inner in enumerate(value))
    if len(kinds) != len(value):
        raise _wrong(f"{len(kinds)} values", value, where)
    return tuple(_read(inner_kind, inner, f"{where}[{index}]") for index, (inner_kind, inner) in enumerate(zip(kinds, value)))


def _read_record(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong("an object", value, where)
    hints = _hints(kind)
    value = {_current_name(kind, key): inner for key, inner in value.items()}
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise ValueError(f"{where} has an unknown {unknown[0]!r}")
    needed = {field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING}
    missing = sorted(needed - set(value))
    if missing:
        raise ValueError(f"{where} lacks {missing[0]!r}")
    return kind(**{name: _read(hints[name], inner, f"{where}.{name}") for name, inner in value.items()})


def _current_name(kind: Any, key: str) -> str:
    """Return the field that a key of a file means, also if the key is the field's name in version 0.1."""
    for field in fields(kind):
        if key in (written_name(field), field.metadata.get("was")):
            return field.name
    return key


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return {field.name: get_type_hints(kind)[field.name] for field in fields(kind)}


def _wrong(wanted: str, value: Any, where: str) -> ValueError:
    return ValueError(f"{where} is {wanted}, not {str(value)[:40]!r}")


def library_version(name: str) -> str:
    """Give the installed version of a library; "" where it is not installed (or quickstep runs from a folder of source files)."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
