"""Reading a text file that some spreadsheet, script or phone wrote; knows nothing of what it says."""

from __future__ import annotations

import codecs
from pathlib import Path

from quickstep.types.errors import ManifestError

LARGEST = 512 * 2**20  # bytes; ten million rows


def read_text(path: Path) -> str:
    """The text of a file, whichever of the usual unicode encodings and byte order marks it has."""
    try:
        if not path.is_file():
            raise ManifestError(path, "is not a file" if path.exists() else "does not exist")
        if path.stat().st_size > LARGEST:
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
