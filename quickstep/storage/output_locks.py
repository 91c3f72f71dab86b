"""reserve: no two processes write to the same file or folder at the same time; the second one ends with an error."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from quickstep.storage.files import make_folder
from quickstep.types.errors import ConfigError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # errors of file systems that cannot lock

# The folder has no place for a lock: the write itself says what is wrong.
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@dataclass(frozen=True)
class _Lock:
    path: Path
    handle: int
    folders: list[Path]  # that were made for it, the innermost first


_held: dict[Path, _Lock] = {}


def reserve(target: str | Path) -> None:
    """Reserve a file or folder for this process until `release_all`; a ConfigError if another process writes there.

    The system releases the lock of a process that dies.
    """
    place = Path(target).resolve()
    if place in _held or (place.exists() and not (place.is_file() or place.is_dir())):
        return
    try:
        folders = make_folder(place.parent)
        path = place.parent / f".{hashlib.sha256(os.fsencode(place.name)).hexdigest()[:8]}.lock"
        _held[place] = _Lock(path, _locked_file(path), folders)
    except BlockingIOError:
        raise ConfigError("out", f"another quickstep is writing to {target}: wait until it ends, or name another place") from None
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise


def release_all() -> None:
    """Release what this process has reserved, and remove the folders that were made for it and are empty."""
    for lock in (_held.pop(place) for place in list(_held)):
        with contextlib.suppress(OSError):  # a file system that became unwritable keeps the file, which locks nothing
            if sys.platform != "win32":
                lock.path.unlink(missing_ok=True)
        os.close(lock.handle)
        with contextlib.suppress(OSError):  # not empty: that is what it was made for
            for folder in lock.folders:
                folder.rmdir()


def _locked_file(path: Path) -> int:
    """Open and lock a file; a BlockingIOError if another process has locked it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(handle)
        except OSError:
            os.close(handle)
            raise
        if _is_same(handle, path):  # else its last holder removed it meanwhile
            return handle
        os.close(handle)


def _lock(handle: int) -> None:
    """Lock an open file; a BlockingIOError if another process has."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
        return
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _is_same(handle: int, path: Path) -> bool:
    try:
        return sys.platform == "win32" or os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
