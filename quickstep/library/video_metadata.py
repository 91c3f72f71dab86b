"""What a csv knows of the videos: columns of any name, read as whole numbers, numbers, yes/no, dates or text. Knows no library."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa

from quickstep.datasets.manifest import read_manifest
from quickstep.library.schema import KINDS, OWN, kind_of
from quickstep.types.errors import ConfigError
from quickstep.types.segment import Segment

Value = str | int | float | bool | date
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_YES = {"true": True, "yes": True, "false": False, "no": False}


@dataclass(frozen=True)
class Metadata:
    """The columns with their types, and each video's values; a video of which a column says nothing has none there."""

    kinds: Mapping[str, pa.DataType]
    values: Mapping[str, Mapping[str, Value]]  # path -> column -> value


def read_metadata(file: Path) -> list[Segment]:
    """The rows of a csv with a column `path`; paths count from the csv's folder."""
    return list(read_manifest(file, labelled=False).segments)


def gather_metadata(segments: Sequence[Segment], there: pa.Schema | None) -> Metadata:
    """What the columns of some lists say, typed; a column that the library has keeps the type it has there."""
    texts: dict[str, dict[str, str]] = {}
    for segment in segments:
        known = {"label": segment.label, "group": segment.group, "split": segment.split}
        said = {**segment.extra, **{name: value for name, value in known.items() if value}}
        row = texts.setdefault(full(segment.path), {})
        for name, value in said.items():
            if value.strip():
                row.setdefault(_named(name), value.strip())
    columns = dict.fromkeys(name for row in texts.values() for name in row)
    kinds: dict[str, pa.DataType] = {}
    readers: dict[str, Callable[[str], Value | None]] = {}
    for name in columns:
        said_here = [row[name] for row in texts.values() if name in row]
        fixed = there.field(name).type if there is not None and name in there.names else None
        kinds[name] = fixed if fixed is not None else _kind(said_here)
        readers[name] = _READERS[kind_of(kinds[name])]
        wrong = next((value for value in said_here if readers[name](value) is None), None)
        if wrong is not None:
            raise ConfigError("metadata", f"the library's column {name!r} is a {kind_of(kinds[name])}, and {wrong[:40]!r} is none")
    values: dict[str, dict[str, Any]] = {path: {name: readers[name](text) for name, text in row.items()} for path, row in texts.items()}
    return Metadata(kinds, values)


def full(path: str | Path) -> str:
    """The one spelling of a video's path: in full, links as they are."""
    given = Path(path).expanduser()
    spelled = os.path.abspath(given)  # noqa: PTH100 - resolves no links
    return spelled if os.path.lexists(spelled) or not os.path.lexists(given) else os.path.realpath(given)


def _named(name: str) -> str:
    """A column's name as SQL can say it."""
    plain = re.sub(r"[.`\"]", "_", name.strip())
    if plain.casefold() in OWN:
        raise ConfigError("metadata", f"a column cannot be called {name!r}, the library has one of its own of that name; rename it")
    return plain


def _kind(values: Sequence[str]) -> pa.DataType:
    """The narrowest type that can hold all of some texts."""
    return next(KINDS[name] for name, read in _READERS.items() if all(read(value) is not None for value in values))


def _whole(text: str) -> int | None:
    return int(text) if _WHOLE.fullmatch(text) and (text == "0" or not text.lstrip("+-").startswith("0")) else None


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) and not re.match(r"[+-]?0\d", text) else None  # 0123 is a name, not a number


def _yes(text: str) -> bool | None:
    return _YES.get(text.casefold())


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None
    except ValueError:
        return None


_READERS: dict[str, Callable[[str], Value | None]] = {
    "whole number": _whole,
    "number": _number,
    "yes or no": _yes,
    "date": _date,
    "text": lambda text: text,
}
