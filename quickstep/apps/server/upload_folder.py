"""Desk: the folder of videos that are being looked at. Each is removed when its request ends, all of them when the service does.

A service that was killed could not tidy up: the next one that starts does, wherever no living process holds a desk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout  # comes with huggingface-hub

from quickstep.types.errors import CacheError

_MARK = "quickstep-serve-"
_LOCK = ".lock"
# Endings that FFmpeg goes by where the content alone does not tell; any other is left away, as is everything else of a client's name.
_SUFFIXES = {".3gp", ".apng", ".asf", ".avi", ".flv", ".gif", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4"}
_SUFFIXES |= {".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts", ".vob", ".webm", ".wmv"}


class Desk:
    """A folder of our own among the temporary files, readable by nobody else."""

    def __init__(self, parent: Path | None = None) -> None:
        try:
            self.folder = Path(tempfile.mkdtemp(prefix=_MARK, dir=parent))
        except OSError as error:
            raise CacheError(parent or tempfile.gettempdir(), f"no room for uploads: {error.strerror}; set $TMPDIR to a folder") from error
        self._lock = FileLock(self.folder / _LOCK, thread_local=False)
        self._lock.acquire(timeout=0)
        _tidy(self.folder.parent)

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """Where one video may be written; it is gone afterwards, whatever happened, also under the ending it was given."""
        path = self.folder / uuid.uuid4().hex
        try:
            yield path
        finally:
            for left in self.folder.glob(f"{path.name}*"):
                left.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)


def with_suffix_of(name: str, path: Path) -> Path:
    """The file under the ending of a client's name, if it is one that video files have; nothing else of a name ever reaches the disk."""
    ending = f".{name.rsplit('.', 1)[-1].lower()}"
    return path.rename(path.with_suffix(ending)) if ending in _SUFFIXES else path


def _tidy(parent: Path) -> None:
    """Remove what services that were killed left behind."""
    for folder in parent.glob(f"{_MARK}*"):
        with contextlib.suppress(OSError, Timeout):  # somebody else's, or in use: it stays
            if folder.is_symlink() or folder.stat().st_uid != os.getuid() or not (folder / _LOCK).exists():
                continue
            with FileLock(folder / _LOCK, timeout=0):
                shutil.rmtree(folder)
