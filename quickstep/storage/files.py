"""Write files atomically: a reader, another process or a crash finds the old file or the whole new one, never a part of it.

Every function creates missing parent folders, leaves nothing behind when it fails, and raises the OSError of the system: the caller
turns it into an error that names what could not be written.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import os
import platform
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import Any

from quickstep.types.escaping import csv_cells

_SUFFIX = ".part"
NOT_REGULAR = "is a device or a pipe, not a file"


@contextmanager
def replacing(path: str | Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary path in the same folder; when the block ends without an error, rename it to `path`.

    The block writes the temporary file with any library. `sync=False` skips the wait for the disk: for files that can be computed again.
    What a killed process left of the same file is removed, unless `sync` is off.
    """
    target = Path(path)
    made = make_folder(target.parent)
    mine = f".{_digest(target.name)}-{_this_system()}-"
    if sync:
        _remove_abandoned(target.parent, mine)
    temporary = target.parent / f"{mine}{os.getpid()}-{token_hex(4)}{_SUFFIX}"
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
        for folder in (target.parent, *(folder.parent for folder in made)):
            sync_to_disk(folder)


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and its parents; return those that were missing."""
    missing = []
    for place in (folder, *folder.parents):
        if place.exists():
            break
        missing.append(place)
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


@cache
def _this_system() -> str:
    """Return a word for the machine, and the container on it, in which numbers of processes mean the same."""
    try:
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        space = ""
    return _digest(f"{platform.node()} {space}")


def _remove_abandoned(folder: Path, prefix: str) -> None:
    """Remove the temporary files with this prefix whose process is dead."""
    if os.name == "nt":
        return  # a process cannot be looked up without ending it
    for entry in folder.iterdir():
        number = entry.name.removeprefix(prefix).partition("-")[0]
        if entry.name.startswith(prefix) and is_temporary(entry) and number.isdigit() and not _is_alive(int(number)):
            entry.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
    table = [[str(value) for value in csv_cells(row)] for row in (header, *rows)]
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
