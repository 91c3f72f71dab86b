"""Text files of a dataset: whatever encoding they were saved in, and class lists, which give names to class numbers."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from quickstep.datasets.readers.rows import plain
from quickstep.storage.files import write_text
from quickstep.types.errors import ManifestError

MAX_BYTES = 512 * 2**20  # about ten million rows
_NUMBERED = re.compile(r"^\s*(\d{1,9})(?:\s*[,;:\t]\s*|\s+)(\S.*)$")
_NUMBER = re.compile(r"^\d{1,9}$")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8 or UTF-16, with or without a byte order mark."""
    try:
        if not path.is_file():
            raise ManifestError(path, "is not a file" if path.exists() else "does not exist; check the path")
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError(path, "is too large to be a list of videos")
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(path, f"cannot be read: {error}") from error
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = None if wide else data[: error.start].count(b"\n") + 1
        raise ManifestError(path, "is not UTF-8 text: save it again as UTF-8", line=line) from error


def read_class_list(path: Path) -> dict[int, str]:
    """Read number -> name from a file with one name on each line (counted from 0) or `number name`, as UCF and Kinetics write it."""
    lines = [(number, text.strip()) for number, text in enumerate(read_text(path).splitlines(), start=1) if text.strip()]
    if not lines:
        raise ManifestError(path, "the class list is empty; write one class name on each line")
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
            raise ManifestError(path, f"class number {number} is listed twice", line=line)
        if plain(name) in names.values():
            raise ManifestError(path, f"the class {name!r} is listed twice", line=line)
        names[number] = plain(name)
    return names


def class_name(label: str, classes: Mapping[int, str] | None, *, listing: Path, line: int) -> str:
    """Return the name behind a class number; without a class list, or where the label is one of its names, the label itself."""
    if classes is None:
        return label
    if not _NUMBER.match(label.strip()):
        if plain(label) in classes.values():
            return label
        raise ManifestError(listing, f"the label {label!r} is neither a number nor a name of the class list", line=line)
    number = int(label)
    if number not in classes:
        numbers = f"{min(classes)} to {max(classes)}"
        raise ManifestError(listing, f"class number {number} is not in the class list, which has {numbers}", line=line)
    return classes[number]


def write_class_list(names: Sequence[str], path: Path) -> None:
    """Write one name on each line, beginning with number 0; with its number where the names themselves begin with numbers."""
    numbered = all(_NUMBERED.match(name) for name in names)
    lines = [f"{index} {name}" if numbered else name for index, name in enumerate(names)]
    write_text(path, "".join(f"{line}\n" for line in lines))
