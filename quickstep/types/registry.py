"""Look up by name: a name -> the class it stands for, imported only when it is asked for.

A table is a literal dict `{name: Entry("package.module:Class", extra=...)}`, so listing it imports nothing. A second dict
`{old name: new name}` keeps the names of the release before working.

A name may also be code of somebody's own, `"their.module:Class"`. Importing a module runs it, and names stand in the files of strangers:
such a name works only where a person typed it, or trusted its module.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from quickstep.types.errors import ConfigError, MissingExtra, UnknownName

_log = logging.getLogger(__name__)
_CODE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):[^\W\d]\w*(\.[^\W\d]\w*)*")  # their.module:Class
SETTINGS_WITH_NAMES = {  # the settings that look a name up -> what they name
    "backbone": "backbone",
    "backbones": "backbone",
    "head": "head",
    "heads": "head",
    "flow": "method of flow",
    "method": "method of flow",
    "estimator": "pose estimator",
}
_trusted: set[str] = set()


@dataclass(frozen=True)
class Entry:
    """Where a named class lives, what it is in a few words, and the extra that brings its libraries."""

    target: str  # "package.module:Attribute"
    about: str
    extra: str | None = None


def look_up(kind: str, name: str, table: Mapping[str, Entry], *, renamed: Mapping[str, str] | None = None) -> Any:
    """Import the attribute that a name of the table stands for, or a `their.module:Class` of a trusted module."""
    name = current_name(kind, name, renamed or {})
    if name in table:
        return _load(kind, name, table[name].target, table[name].extra)
    if _CODE.fullmatch(name):
        refuse_code(kind, name)
        return _load(kind, name, name, None)
    raise UnknownName(kind, name, table)


def trust(*modules: str) -> None:
    """Let models, libraries and recipes name classes of these modules, for the rest of the process: their code will run."""
    for module in modules:
        if not _CODE.fullmatch(f"{module}:Class"):
            raise ConfigError("trust", f"{module!r} is not the name of a Python module, such as their.module")
    _trusted.update(modules)


def trust_typed(*names: str | None) -> None:
    """Trust the modules of names that a person typed, or wrote in a program."""
    _trusted.update(match["module"] for name in names if name is not None and (match := _CODE.fullmatch(name)))


def refuse_code(kind: str, *names: str | None) -> None:
    """Refuse names that would run code of a module that nobody trusts."""
    for name in names:
        match = _CODE.fullmatch(name or "")
        if match and match["module"] not in _trusted:
            raise ConfigError(
                "trust",
                f"the {kind} {name!r} is Python code from outside quickstep, which would run with all your rights; "
                f"if you know who wrote it, trust the module {match['module']}",
            )


def refuse_code_in(content: object, key: str = "") -> None:
    """Refuse such names in the settings of a file, wherever they stand in it."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            refuse_code_in(value, str(name))
    elif isinstance(content, list | tuple):
        for value in content:
            refuse_code_in(value, key)
    elif isinstance(content, str) and key in SETTINGS_WITH_NAMES:
        refuse_code(SETTINGS_WITH_NAMES[key], *content.split(","))


def trusted_modules() -> tuple[str, ...]:
    """Return the modules that are trusted now, for a process that works for this one."""
    return tuple(sorted(_trusted))


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
