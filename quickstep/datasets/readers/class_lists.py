"""Class lists: the names that stand behind class numbers; knows nothing of the videos that carry them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from quickstep.datasets.readers.rows import plain
from quickstep.datasets.readers.text_files import read_text
from quickstep.types.errors import ManifestError

_NUMBERED = re.compile(r"^\s*(\d{1,9})(?:\s*[,;:\t]\s*|\s+)(\S.*)$")
_NUMBER = re.compile(r"^\d{1,9}$")


def read_class_list(path: Path) -> dict[int, str]:
    """Number -> name: either one name a line (counted from 0), or `number name` on every line, as UCF and Kinetics write it."""
    lines = [(number, text.strip()) for number, text in enumerate(read_text(path).splitlines(), start=1) if text.strip()]
    if not lines:
        raise ManifestError(path, "the class list is empty; write one class name a line")
    numbered = [(line, _NUMBERED.match(text)) for line, text in lines]
    if numbered[0][1] is None and len(numbered) > 1 and all(match for _, match in numbered[1:]):
        numbered = numbered[1:]  # a header such as `index,label`
    if all(match for _, match in numbered):
        entries = [(line, int(match[1]), match[2].strip().strip('"')) for line, match in numbered if match]
    else:
        entries = [(line, index, text.strip('"')) for index, (line, text) in enumerate(lines)]
    names: dict[int, str] = {}
    for line, number, name in entries:
        if number in names:
            raise ManifestError(path, f"class number {number} stands here for the second time", line=line)
        if plain(name) in names.values():
            raise ManifestError(path, f"the class {name!r} stands here for the second time", line=line)
        names[number] = plain(name)
    return names


def named(label: str, classes: Mapping[int, str] | None, *, listing: Path, line: int) -> str:
    """The name behind a number; without a class list, and for a label that is one of its names, the label itself."""
    if classes is None:
        return label
    if not _NUMBER.match(label.strip()):
        if plain(label) in classes.values():
            return label
        raise ManifestError(listing, f"the label {label!r} is neither a number nor a name of the class list", line=line)
    number = int(label)
    if number not in classes:
        known = f"{min(classes)} to {max(classes)}"
        raise ManifestError(listing, f"class number {number} is not in the class list, which has {known}", line=line)
    return classes[number]


def write_class_list(names: Sequence[str], path: Path) -> None:
    """One name a line, the first is number 0; with its number where the names themselves begin with numbers."""
    numbered = all(_NUMBERED.match(name) for name in names)
    lines = [f"{index} {name}" if numbered else name for index, name in enumerate(names)]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
