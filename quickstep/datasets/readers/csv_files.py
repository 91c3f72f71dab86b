"""csv files: with a header (`path,label,...`) or headerless `path,number`; commas, semicolons or tabs; knows no folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from quickstep.datasets.readers.class_lists import named
from quickstep.datasets.readers.rows import Row
from quickstep.types.errors import ManifestError

KNOWN = ("path", "label", "start", "end", "group", "split", "pose_person")
_SEPARATORS = (",", ";", "\t")
_INTEGER = re.compile(r"^\s*\d{1,9}\s*$")


def has_header(text: str, path: Path) -> bool:
    """Whether the first line names a column `path`."""
    return _header_separator(text, path) is not None


def looks_like(text: str, path: Path) -> bool:
    """Whether the first line is headerless `path,number` (or another label behind a file name), told apart by more than space."""
    return _pair_separator(text, path) in {",", ";"}


def read_rows(text: str, path: Path, *, classes: Mapping[int, str] | None, labelled: bool) -> list[Row]:
    """The rows of a csv; further columns are kept as they are."""
    separator = _header_separator(text, path)
    if separator is None:
        return _without_header(text, path, classes=classes, labelled=labelled)
    lines = _lines(text, path, separator)
    number, header = next(lines)
    columns = _columns(header, path, line=number, labelled=labelled)
    return [_row(line, cells, columns, path=path, classes=classes, separator=separator) for line, cells in lines]


def _lines(text: str, path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record that says something, with the number of the line it begins on."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            why = "a quotation mark that opens here is never closed" if "unexpected end" in str(error) else f"not csv: {error}"
            raise ManifestError(path, why, line=line) from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def _first(text: str, path: Path, separator: str) -> list[str]:
    try:
        return next(_lines(text, path, separator), (0, []))[1]
    except ManifestError:
        return []  # another separator may read it; if none does, reading the rows says why


def _header_separator(text: str, path: Path) -> str | None:
    for separator in _SEPARATORS:
        if "path" in [cell.strip().casefold() for cell in _first(text, path, separator)]:
            return separator
    return None


def _columns(header: list[str], path: Path, *, line: int, labelled: bool) -> list[str]:
    """The name of each column: the known ones whatever their case, the unnamed ones by their number."""
    columns: list[str] = []
    for index, cell in enumerate(header, start=1):
        known = cell.strip().casefold()
        name = known if known in KNOWN else (cell if cell.strip() else f"column {index}")
        if name in columns:
            raise ManifestError(path, f"two columns are called {name!r}", line=line)
        columns.append(name)
    if labelled and "label" not in columns:
        raise ManifestError(path, f"there is no column 'label'; there are: {', '.join(columns)}", line=line)
    return columns


def _row(line: int, cells: list[str], columns: list[str], *, path: Path, classes: Mapping[int, str] | None, separator: str) -> Row:
    if len(cells) > len(columns) and not any(cell.strip() for cell in cells[len(columns) :]):
        cells = cells[: len(columns)]
    if len(cells) != len(columns):
        raise ManifestError(path, f"{len(cells)} values where the header names {len(columns)} columns", line=line)
    given = dict(zip(columns, cells, strict=True))
    known = {name: given.pop(name, "") for name in KNOWN}
    if separator == ";":  # where the comma is the decimal sign
        known |= {name: known[name].replace(",", ".") for name in ("start", "end")}
    if known["label"].strip():
        known["label"] = named(known["label"], classes, listing=path, line=line)
    extra = {name: value for name, value in given.items() if value or not name.startswith("column ")}
    return Row(line, extra=extra, **known)


def _without_header(text: str, path: Path, *, classes: Mapping[int, str] | None, labelled: bool) -> list[Row]:
    separator = _pair_separator(text, path)
    if separator is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        form = "`path,label`" if labelled else "`path`"
        raise ManifestError(path, f"the first line must name the columns, such as {form}; it is {first[:80]!r}", line=1)
    rows = []
    for line, cells in _lines(text, path, separator):
        if len(cells) != 2:
            raise ManifestError(path, f"expected `path{separator}label`, found {len(cells)} values", line=line)
        rows.append(Row(line, cells[0], label=named(cells[1], classes, listing=path, line=line)))
    return rows


def _pair_separator(text: str, path: Path) -> str | None:
    """The separator that cuts the first line into a file and a label; a number behind it is the surest sign."""
    pairs = {separator: _first(text, path, separator) for separator in _SEPARATORS}
    sure = [separator for separator, cells in pairs.items() if len(cells) == 2 and _INTEGER.match(cells[1])]
    likely = [separator for separator, cells in pairs.items() if len(cells) == 2 and Path(cells[0].strip()).suffix]
    return next(iter(sure + likely), None)
