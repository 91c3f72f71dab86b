"""Read lists of videos: text in any encoding, class lists, csv with a header (`path,label,...`) or headerless `path,number`.

Each line becomes a Row of texts; `to_segment` checks it and turns it into a Segment.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import itemgetter
from pathlib import Path, PurePosixPath

from quickstep.storage.files import write_text
from quickstep.types.errors import ManifestError
from quickstep.types.escaping import from_csv
from quickstep.types.segment import Segment

_LABEL_NAMES = ("action", "category", "class", "class_name", "classes", "klasse", "move", "name", "tag", "target")  # of others
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
NO_SPLIT = "out"  # of a row that is not part of the chosen official split
_MISSING = {"nan", "NaN", "NAN"}  # how tables write a missing value


@dataclass(frozen=True)
class Row:
    """The values of one line; an empty text is a missing value."""

    line: int
    path: str
    label: str = ""
    start: str = ""
    end: str = ""
    group: str = ""
    split: str = ""
    pose_person: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def plain(text: str) -> str:
    """Return a name without surrounding space, in one unicode form: the same name typed on two systems is equal."""
    return unicodedata.normalize("NFC", text.strip())


def to_segment(row: Row, listing: Path, *, root: Path, labelled: bool, official_split: str | None = None) -> Segment:
    """Return the segment of a row, or raise a ManifestError with the file and the line; relative paths start at `root`.

    A row may belong to several official splits (`1:train|2:test`); `official_split` chooses one of them.
    """

    def wrong(why: str) -> ManifestError:
        return ManifestError(listing, why, line=row.line)

    if not row.path.strip() or row.path in _MISSING:
        raise wrong("the path is missing")
    if "\0" in row.path:
        raise wrong("the path contains a zero character")
    label, group, split = plain(row.label), plain(row.group), plain(row.split)
    for name, value in (("label", label), ("group", group), ("split", split)):
        if value in _MISSING:
            raise wrong(f"the {name} is {value!r}, which means a missing value: fill it in or leave it empty")
    if labelled and not label:
        raise wrong("the label is missing")
    try:
        return Segment(
            locate(row.path, root),
            label=label or None,
            start=_seconds("start", row.start) or 0.0,
            end=_seconds("end", row.end),
            group=group or None,
            split=_split(split, official_split) if labelled else None,
            extra=dict(row.extra),
            person=_person(row.pose_person),
        )
    except ValueError as error:
        raise wrong(str(error)) from error


def choose_split(text: str, official_split: str | None) -> str:
    """Return the split of a row; where it lists several official splits, that of the chosen one, or NO_SPLIT."""
    if ":" not in text:
        return text
    splits = {name.strip(): split.strip() for name, _, split in (entry.partition(":") for entry in text.split("|"))}
    if official_split is None:
        raise ValueError(f"the row lists several official splits ({', '.join(splits)}): choose one with `official_split`")
    return splits.get(official_split, NO_SPLIT)


def _split(text: str, official_split: str | None) -> str | None:
    split = choose_split(text, official_split)
    if split and split.casefold() not in SPLITS and split != NO_SPLIT:
        raise ValueError(f"the split is {split!r}; it must be train, val or test (or empty)")
    return SPLITS.get(split.casefold(), split) or None


def _person(text: str) -> int | None:
    text = text.strip()
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the pose_person is {text!r}; it must be the number of a person, or empty for the dancer")
    return int(text) if text else None


def _seconds(name: str, text: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        if "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise ValueError(f"the {name} is {text!r}, which is not a number of seconds") from None


def locate(text: str, root: Path) -> Path:
    """Return the file of a path in a list: as written if it exists, else with spaces, backslashes or unicode form corrected."""
    as_written = _under(root, text)
    for spelling in _spellings(text):
        path = _under(root, spelling)
        if os.path.lexists(path):
            return path
    return _in_other_unicode_form(as_written) or as_written


def _spellings(text: str) -> Iterator[str]:
    yield text
    yield text.strip()
    slashed = text.strip().replace("\\", "/")
    yield slashed
    yield unicodedata.normalize("NFC", slashed)
    yield unicodedata.normalize("NFD", slashed)


def _under(root: Path, text: str) -> Path:
    path = Path(text)
    if path.is_absolute() or ".." not in path.parts:
        return root / path
    # `..` starts at the real folder of the list, as in a shell
    return Path(os.path.normpath(Path(os.path.realpath(root)) / path)) if _is_linked(root) else Path(os.path.normpath(root / path))


def _is_linked(folder: Path) -> bool:
    return os.path.realpath(folder) != os.path.abspath(folder)  # noqa: PTH100 - compares with the path before links are resolved


def _in_other_unicode_form(path: Path) -> Path | None:
    """Return the existing path whose parts differ only in unicode form."""
    if path.as_posix().isascii():
        return None
    current = Path(path.anchor) if path.is_absolute() else Path()
    for part in PurePosixPath(path.as_posix()).parts[1 if path.is_absolute() else 0 :]:
        current = current / part
        if os.path.lexists(current):
            continue
        try:
            names = [entry.name for entry in current.parent.iterdir()]
        except (OSError, ValueError):
            return None
        equal = [name for name in names if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", part)]
        if not equal:
            return None
        current = current.parent / equal[0]
    return current


MAX_BYTES = 512 * 2**20  # about ten million rows
_NUMBERED = re.compile(r"^\s*(\d{1,9})(?:\s*[,;:\t]\s*|\s+)(\S.*)$")
_NUMBER = re.compile(r"^\d{1,9}$")
_ENDS_WITH_NUMBER = re.compile(r"[,;\t]\s*\d{1,9}$")
_NAME_COLUMNS = {"class", "class name", "class_name", "label", "name"}  # headers of a list with nothing but names


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
    names: dict[int, str] = {}
    for line, number, name in class_lines(read_text(path), path):
        if number in names:
            raise ManifestError(path, f"class number {number} is listed twice", line=line)
        if plain(name) in names.values():
            raise ManifestError(path, f"the class {name!r} is listed twice", line=line)
        names[number] = plain(name)
    return names


def class_lines(text: str, path: Path) -> list[tuple[int, int, str]]:
    """Return (line, class number, the rest) by class number, from `name`, `number name` or `number,name`, with or without a header."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip() and not line.startswith("# ")]
    if len(lines) > 1 and lines[0][1].strip('"').casefold() in _NAME_COLUMNS:
        lines = lines[1:]
    if not lines:
        raise ManifestError(path, "the class list is empty; write one class name on each line")
    numbered = [(line, _NUMBERED.match(text)) for line, text in lines]
    if numbered[0][1] is None and len(numbered) > 1 and all(match for _, match in numbered[1:]):
        numbered = numbered[1:]  # a header such as `index,label`
    if all(match for _, match in numbered):
        return sorted(((line, int(match[1]), match[2].strip().strip('"')) for line, match in numbered if match), key=itemgetter(1))
    if all(_ENDS_WITH_NUMBER.search(text) for _, text in lines[1:] or lines):
        raise ManifestError(path, f"expected `number,name` or a name alone, not {lines[-1][1][:80]!r}", line=lines[-1][0])
    return [(line, index, text.strip('"')) for index, (line, text) in enumerate(lines)]


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


COLUMNS = ("path", "label", "start", "end", "group", "split", "pose_person")
_SEPARATORS = (",", ";", "\t")
_INTEGER = re.compile(r"^\s*\d{1,9}\s*$")


def has_header(text: str, path: Path) -> bool:
    """Whether the first line contains a column `path`."""
    return _header_separator(text, path) is not None


def lists_pairs(text: str, path: Path) -> bool:
    """Whether the first line is a headerless `path,number` (or `file,label`), separated by more than space."""
    return _pair_separator(text, path) in {",", ";"}


def read_csv_rows(text: str, path: Path, *, classes: Mapping[int, str] | None, labelled: bool) -> list[Row]:
    """Read the rows of a csv; the values of further columns are kept as they are."""
    separator = _header_separator(text, path)
    if separator is None:
        return _without_header(text, path, classes=classes, labelled=labelled)
    records = _records(text, path, separator)
    line, header = next(records)
    columns = _column_names(header, path, line=line, labelled=labelled)
    return [_row(line, values, columns, path=path, classes=classes, separator=separator) for line, values in records]


def _records(text: str, path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the values of each record that is not blank, with the number of its first line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader, None)
        except csv.Error as error:
            why = "a quotation mark that opens here is never closed" if "unexpected end" in str(error) else f"not csv: {error}"
            raise ManifestError(path, why, line=line) from error
        if values is None:
            return
        if any(value.strip() for value in values):
            yield line, [from_csv(value) for value in values]


def _first_record(text: str, path: Path, separator: str) -> list[str]:
    try:
        return next(_records(text, path, separator), (0, []))[1]
    except ManifestError:
        return []  # another separator may fit; if none does, reading the rows raises the error


def _header_separator(text: str, path: Path) -> str | None:
    for separator in _SEPARATORS:
        if "path" in [value.strip().casefold() for value in _first_record(text, path, separator)]:
            return separator
    return None


def _column_names(header: list[str], path: Path, *, line: int, labelled: bool) -> list[str]:
    """Return the name of each column: ours in lower case, an unnamed one by its number."""
    columns: list[str] = []
    for index, value in enumerate(header, start=1):
        folded = value.strip().casefold()
        name = folded if folded in COLUMNS else (value if value.strip() else f"column {index}")
        if name in columns:
            raise ManifestError(path, f"two columns are called {name!r}", line=line)
        columns.append(name)
    if labelled and "label" not in columns:
        near = get_close_matches("label", columns, 1) or [name for name in columns if name.casefold() in _LABEL_NAMES]
        mend = f"rename {near[0]!r} to 'label'" if near else "name the column of the classes 'label'"
        raise ManifestError(path, f"the column 'label' is missing; the columns are: {', '.join(columns)}; {mend}", line=line)
    return columns


def _row(line: int, values: list[str], columns: list[str], *, path: Path, classes: Mapping[int, str] | None, separator: str) -> Row:
    if len(values) > len(columns) and not any(value.strip() for value in values[len(columns) :]):
        values = values[: len(columns)]
    if len(values) != len(columns):
        raise ManifestError(path, f"{len(values)} values, but the header names {len(columns)} columns", line=line)
    further = dict(zip(columns, values, strict=True))
    fields = {name: further.pop(name, "") for name in COLUMNS}
    if separator == ";":  # then the comma is the decimal sign
        fields |= {name: fields[name].replace(",", ".") for name in ("start", "end")}
    if fields["label"].strip():
        fields["label"] = class_name(fields["label"], classes, listing=path, line=line)
    extra = {name: value for name, value in further.items() if value or not name.startswith("column ")}
    return Row(line, extra=extra, **fields)


def _without_header(text: str, path: Path, *, classes: Mapping[int, str] | None, labelled: bool) -> list[Row]:
    separator = _pair_separator(text, path)
    if separator is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        header = "`path,label`" if labelled else "`path`"
        raise ManifestError(path, f"the first line must name the columns, such as {header}; it is {first[:80]!r}", line=1)
    rows = []
    for line, values in _records(text, path, separator):
        if len(values) != 2:
            raise ManifestError(path, f"expected `path{separator}label`, got {len(values)} values", line=line)
        rows.append(Row(line, values[0], label=class_name(values[1], classes, listing=path, line=line)))
    return rows


def _pair_separator(text: str, path: Path) -> str | None:
    """Return the separator that divides the first line into a file and a label; one followed by a number is preferred."""
    pairs = {separator: _first_record(text, path, separator) for separator in _SEPARATORS}
    with_number = [separator for separator, values in pairs.items() if len(values) == 2 and _INTEGER.match(values[1])]
    with_file = [separator for separator, values in pairs.items() if len(values) == 2 and Path(values[0].strip()).suffix]
    return next(iter(with_number + with_file), None)
