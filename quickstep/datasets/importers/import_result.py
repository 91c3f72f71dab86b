"""ImportResult: the manifest of a public dataset's files on this disk, and the files that are missing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quickstep.datasets.manifest import Manifest
from quickstep.storage.files import write_csv
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Failure


@dataclass(frozen=True)
class ClassCount:
    """How many segments of a class are on this disk, and how many are missing."""

    label: str
    found: int
    missing: int = 0


@dataclass(frozen=True)
class ImportResult:
    """A manifest of the files that are here, and a report on those that are not."""

    manifest: Manifest
    table: tuple[ClassCount, ...]
    missing: tuple[tuple[str, ...], ...] = ()  # rows in the form of the dataset's own list
    columns: tuple[str, ...] = ()  # of `missing`
    unmatched: tuple[str, ...] = ()  # one sentence for each class or label without a counterpart
    notes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()

    def write_missing(self, path: str | Path) -> None:
        """Write the rows without a file as a list of the same form."""
        try:
            write_csv(path, self.columns, self.missing)
        except OSError as error:
            raise ManifestError(path, f"cannot be written: {error.strerror or error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return the counts and messages as plain data."""
        return {
            "segments": len(self.manifest),
            "videos": len(self.manifest.paths),
            "classes": {count.label: {"found": count.found, "missing": count.missing} for count in self.table},
            "missing": len(self.missing),
            "unmatched": list(self.unmatched),
            "notes": list(self.notes),
            "failures": [str(failure) for failure in self.failures],
        }
