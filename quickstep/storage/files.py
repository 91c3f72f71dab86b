"""Write files atomically: a reader, another process or a crash finds the old file or the whole new one, never a part of it.

Every function creates missing parent folders, leaves nothing behind when it fails, and raises the OSError of the system: the caller
turns it into an error that names what could not be written.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

_SUFFIX = ".part"
NOT_REGULAR = "is a device or a pipe, not a file"


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends without an error, rename it to `path`.

    The block writes the temporary file with any library. `sync=False` skips the wait for the disk: for files that can be computed again.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{token_hex(8)}{_SUFFIX}"
    try:
        yield temporary
        if sync:
            sync_to_disk(temporary)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_to_disk(target.parent)


def check_regular(path: str | Path) -> None:
    """Raise an OSError for a device, a pipe or a socket: opening one may wait, and reading it may never end."""
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, NOT_REGULAR, str(path))


def write_bytes(path: str | Path, content: bytes | memoryview, *, sync: bool = True) -> None:
    """Write bytes atomically."""
    with replacing(path, sync=sync) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | Path, text: str, *, errors: str = "strict") -> None:
    """Write text atomically as UTF-8; the ends of the lines stay as they are."""
    write_bytes(path, text.encode("utf-8", errors))


def write_csv(path: str | Path, header: Sequence[str], rows: Iterable[Iterable[Any]], *, errors: str = "strict") -> None:
    """Write a header and rows atomically as comma-separated values."""
    table = [[str(value) for value in row] for row in (header, *rows)]
    bare = any("\r" in value for row in table for value in row)  # the csv module leaves a carriage return unquoted
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL).writerows(table)
    write_text(path, text.getvalue(), errors=errors)


def is_temporary(path: Path) -> bool:
    """Whether a file is the temporary one of a write that is running, or was killed."""
    return path.name.startswith(".") and path.name.endswith(_SUFFIX)


def sync_to_disk(path: Path) -> None:
    """Wait until a file, or the list of files of a folder, is on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot sync a folder
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
