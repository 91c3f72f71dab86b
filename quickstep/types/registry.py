"""look_up: a name that users type -> the thing itself, imported only when asked for; knows no table of its own.

A table is a literal dict `{name: Entry("package.module:Class", extra=...)}`, so listing it imports nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from quickstep.types.errors import ConfigError, MissingExtra, UnknownName


@dataclass(frozen=True)
class Entry:
    """Where a named thing lives, what it is in a few words, and the extra that brings its libraries."""

    target: str  # "package.module:Attribute"
    about: str
    extra: str | None = None


def look_up(kind: str, name: str, table: Mapping[str, Entry]) -> Any:
    """The attribute a name stands for; `"their.module:Class"` reaches outside the table."""
    if name in table:
        return _load(kind, name, table[name].target, table[name].extra)
    if ":" in name and not name.startswith((":", "/", ".")):
        return _load(kind, name, name, None)
    raise UnknownName(kind, name, table)


def _load(kind: str, name: str, target: str, extra: str | None) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        if extra is not None:
            raise MissingExtra(extra, f"the {kind} {name!r}") from error
        raise ConfigError(kind, f"cannot import {module!r} for {name!r}: {error}") from error
    except AttributeError as error:
        raise ConfigError(kind, f"{module!r} has no {attribute!r}") from error
