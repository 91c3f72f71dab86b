"""MMAction2 list files: `path number` a line, spaces in the path allowed; knows nothing of folders or csv."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from quickstep.errors import ManifestError
from quickstep.sources.class_lists import named
from quickstep.sources.rows import Row

_LINE = re.compile(r"^(?P<path>\S.*?)\s+(?P<label>\d{1,9})$")
_SEVERAL = re.compile(r"\.[A-Za-z0-9]{2,5}(\s+\d+)+$")


def looks_like(text: str) -> bool:
    """Whether the first line that says something has the form `path number`."""
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return _LINE.match(first) is not None


def read_rows(text: str, path: Path, *, classes: Mapping[int, str] | None) -> list[Row]:
    """One row a line; the last word is the class number."""
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.match(line.strip())
        if match is None:
            raise ManifestError(path, f"expected `path number`, found {line.strip()[:80]!r}", line=number)
        if _SEVERAL.search(match["path"]):
            raise ManifestError(path, "several numbers stand behind the path; a segment has one label", line=number)
        rows.append(Row(number, match["path"], label=named(match["label"], classes, listing=path, line=number)))
    return rows
