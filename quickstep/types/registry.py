"""Look up by name: a name that a person types -> the class it stands for, imported only when it is asked for.

A table is a literal dict `{name: Entry("package.module:Class", extra=...)}`, so listing it imports nothing. A second dict
`{old name: new name}` keeps the names of the release before working.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from quickstep.types.errors import ConfigError, MissingExtra, UnknownName

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Where a named class lives, what it is in a few words, and the extra that brings its libraries."""

    target: str  # "package.module:Attribute"
    about: str
    extra: str | None = None


def look_up(kind: str, name: str, table: Mapping[str, Entry], *, renamed: Mapping[str, str] | None = None) -> Any:
    """Import the attribute that a name stands for; `"their.module:Class"` reaches outside the table."""
    name = current_name(kind, name, renamed or {})
    if name in table:
        return _load(kind, name, table[name].target, table[name].extra)
    if ":" in name and not name.startswith((":", "/", ".")):
        return _load(kind, name, name, None)
    raise UnknownName(kind, name, table)


def current_name(kind: str, name: str, renamed: Mapping[str, str]) -> str:
    """Return today's name for a name that a person typed; an old one is noted once a process.

    For a name from a file of an earlier release use `renamed.get(name, name)`, which logs no note.
    """
    if name not in renamed:
        return name
    _note_new_name(kind, name, renamed[name])
    return renamed[name]


@cache
def _note_new_name(kind: str, old: str, new: str) -> None:
    _log.warning("the %s %r is called %r now; the old name will stop working in the next release", kind, old, new)


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
