"""Read csv lists of videos: with a header (`path,label,...`) or headerless `path,number`; separated by commas, semicolons or tabs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from quickstep.datasets.readers.rows import Row
from quickstep.datasets.readers.text_files import class_name
from quickstep.types.errors import ManifestError

COLUMNS = ("path", "label", "start", "end", "group", "split", "pose_person")
_SEPARATORS = (",", ";", "\t")
_INTEGER = re.compile(r"^\s*\d{1,9}\s*$")


def has_header(text: str, path: Path) -> bool:
    """Whether the first line contains a column `path`."""
    return _header_separator(text, path) is not None


def looks_like(text: str, path: Path) -> bool:
    """Whether the first line is a headerless `path,number` (or `file,label`), separated by more than space."""
    return _pair_separator(text, path) in {",", ";"}


def read_rows(text: str, path: Path, *, classes: Mapping[int, str] | None, labelled: bool) -> list[Row]:
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
            yield line, values


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
        raise ManifestError(path, f"the column 'label' is missing; the columns are: {', '.join(columns)}", line=line)
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
