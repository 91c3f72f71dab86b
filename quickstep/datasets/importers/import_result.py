"""Collected: what came of looking for a public set on this disk: the manifest, what is missing, what has no label here."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstep.datasets.manifest import Manifest
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Failure


@dataclass(frozen=True)
class ClassCount:
    """How many segments of a class there are here, and how many the set has that are not."""

    label: str
    found: int
    missing: int = 0


@dataclass(frozen=True)
class ImportResult:
    """A manifest of what is here, and an account of what is not."""

    manifest: Manifest
    table: tuple[ClassCount, ...]
    missing: tuple[tuple[str, ...], ...] = ()  # rows as the set's own list has them
    columns: tuple[str, ...] = ()  # of `missing`
    unmatched: tuple[str, ...] = ()  # classes and labels that found no partner, one sentence each
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def write_missing(self, path: str | Path) -> None:
        """The rows whose files are not here, as a list of the same form."""
        write_csv(path, self.columns, self.missing)

    def to_json(self) -> dict[str, Any]:
        return {
            "segments": len(self.manifest),
            "videos": len(self.manifest.paths),
            "classes": {tally.label: {"found": tally.found, "missing": tally.missing} for tally in self.table},
            "missing": len(self.missing),
            "unmatched": list(self.unmatched),
            "notes": list(self.notes),
            "failures": [str(failure) for failure in self.failures],
        }


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A small table on disk."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)
    except OSError as error:
        raise ManifestError(path, f"cannot be written: {error.strerror or error}") from error
