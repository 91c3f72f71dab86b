"""Cache: computed arrays and small facts on disk, each under the hash of everything that decides it.

Values are written atomically, so that other processes never read an incomplete one, and a killed process leaves none. A value that fails
its checksum is removed and counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path
from safetensors import SafetensorError
from safetensors.numpy import load, save

from quickstep.storage.files import check_regular, write_bytes
from quickstep.types.errors import CacheError, MediaError

Json = Any
_log = logging.getLogger(__name__)
Arrays = dict[str, NDArray[Any]]

_SCHEMA = """
create table if not exists digests (path text primary key, stamp text not null, sha256 text not null) without rowid;
create table if not exists facts (kind text, key text, value text not null, crc integer not null, primary key (kind, key)) without rowid;
"""
_TIMEOUT = 60.0  # seconds to wait for another process
_RACY_SECONDS = 2.0  # a file that was written so recently may change again within the same time stamp
_DAY_SECONDS = 86_400.0  # an older temporary file belongs to a process that was killed


@dataclass(frozen=True)
class Entry:
    """One stored value, for listing and pruning."""

    file: Path
    key: Mapping[str, Json]
    size: int  # bytes
    used: float  # seconds since the epoch


class Cache:
    """A folder of computed values; by default $QUICKSTEP_CACHE, else the user's cache folder."""

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or os.environ.get("QUICKSTEP_CACHE") or user_cache_path("quickstep"))
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"Cache({str(self.folder)!r})"

    # -- arrays ----------------------------------------------------------------------------------------------------------

    def get(self, key: Mapping[str, Json]) -> Arrays | None:
        """Return the arrays under a key, or None; a damaged file is removed and counts as missing."""
        file = self._file(key)
        try:
            blob = file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CacheError(self.folder, f"the cache cannot be read: {_reason(error)}") from error
        arrays = _unpack(blob)
        with contextlib.suppress(OSError):  # another process may have pruned it, or the disk is read-only: the value is good
            if arrays is None:
                _log.warning("removed a damaged file from the cache: %s", file)
                file.unlink()
            elif time.time() - file.stat().st_mtime > _DAY_SECONDS:
                os.utime(file)  # so that pruning knows what is still used
        return arrays

    def put(self, key: Mapping[str, Json], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Store arrays under a key."""
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        blob = save(packed, metadata={"key": canonical(key), "sha256": _checksum(packed)})
        try:
            write_bytes(self._file(key), blob, sync=False)  # a file that a crash damaged fails its checksum
        except OSError as error:
            raise CacheError(self.folder, f"the cache cannot be written: {_reason(error)}; {_ELSEWHERE}") from error

    # -- facts -----------------------------------------------------------------------------------------------------------

    def recall(self, kind: str, key: Mapping[str, Json]) -> Json | None:
        """Return the fact of a kind under a key, or None."""
        rows = self._query("select value, crc from facts where kind = ? and key = ?", (kind, hash_of(key)))
        if not rows or zlib.crc32(rows[0][0].encode()) != rows[0][1]:
            return None
        return json.loads(rows[0][0])

    def remember(self, kind: str, key: Mapping[str, Json], value: Json) -> None:
        """Store a small fact (the result of a probe, a fingerprint) under its kind and key."""
        text = canonical(value)
        self._query("insert or replace into facts values (?, ?, ?, ?)", (kind, hash_of(key), text, zlib.crc32(text.encode())))

    def digest(self, path: str | Path) -> str:
        """Return the sha256 of a file, which is stored for as long as the file's size and times do not change."""
        file = Path(path)
        try:
            check_regular(file)
            stat = file.stat()
            name, stamp = str(file.resolve()), f"{stat.st_size}:{stat.st_mtime_ns}:{stat.st_ctime_ns}:{stat.st_ino}"
            rows = self._query("select sha256 from digests where path = ? and stamp = ?", (name, stamp))
            if rows:
                return str(rows[0][0])
            with file.open("rb") as handle:
                sha256 = hashlib.file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            raise MediaError(path, "there is no such file") from None
        except CacheError:
            raise
        except (OSError, ValueError) as error:
            raise MediaError(path, f"cannot be read: {_reason(error)}") from error
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _RACY_SECONDS:
            self._query("insert or replace into digests values (?, ?, ?)", (name, stamp, sha256))
        return sha256

    # -- maintenance -----------------------------------------------------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """Yield every stored value with its key, in any order; also the networks that were compiled for this machine."""
        for file in (self.folder / "arrays").glob("??/*.safetensors"):
            with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                stat = file.stat()
                yield Entry(file, _key_of(file), stat.st_size, stat.st_mtime)
        for folder in (self.folder / "networks").glob("*"):
            sizes = [file.stat().st_size for file in folder.glob("*")]
            yield Entry(folder, {"kind": "network"}, sum(sizes), folder.stat().st_mtime)

    def prune(self, *, unused_days: float = 0.0) -> tuple[int, int]:
        """Remove values that were not used for so many days (0: all), and temporary files; return their number and bytes."""
        now, count, size = time.time(), 0, 0
        parts = [file for file in (self.folder / "arrays").glob("??/.*.part") if now - file.stat().st_mtime > _DAY_SECONDS]
        old = [entry for entry in self.entries() if entry.used <= now - unused_days * 86_400]
        try:
            for file in parts:
                file.unlink(missing_ok=True)
            for entry in old:
                shutil.rmtree(entry.file) if entry.file.is_dir() else entry.file.unlink(missing_ok=True)
                count, size = count + 1, size + entry.size
        except OSError as error:
            raise CacheError(self.folder, f"the cache cannot be pruned: {_reason(error)}") from error
        if unused_days == 0 and (self.folder / "facts.sqlite").exists():
            self._query("delete from facts", ())
            self._query("delete from digests", ())
        return count, size

    def _file(self, key: Mapping[str, Json]) -> Path:
        name = hash_of(key)
        return self.folder / "arrays" / name[:2] / f"{name}.safetensors"

    def _query(self, sql: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run one statement on this thread's connection; a damaged database is renamed and a new one created."""
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.OperationalError as error:
            raise CacheError(self.folder, f"the cache cannot be used: {error}; {_ELSEWHERE}") from error
        except sqlite3.DatabaseError as error:
            _log.warning("the cache's database is damaged and is replaced: %s", error)
            self._local.connection = None
            with contextlib.suppress(FileNotFoundError):
                (self.folder / "facts.sqlite").replace(self.folder / "facts.damaged")
            for suffix in ("-wal", "-shm"):
                (self.folder / f"facts.sqlite{suffix}").unlink(missing_ok=True)
            return self._connection().execute(sql, values).fetchall()

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(self.folder / "facts.sqlite", timeout=_TIMEOUT, isolation_level=None)
            except (OSError, sqlite3.OperationalError) as error:
                raise CacheError(self.folder, f"the cache cannot be opened: {_reason(error)}; {_ELSEWHERE}") from error
            _set_up(connection)
            self._local.connection = connection
        return connection


_ELSEWHERE = "free some space there, or name another folder with `cache=FOLDER` or QUICKSTEP_CACHE"
_HEADER_LIMIT = 1 << 16


def _set_up(connection: sqlite3.Connection) -> None:
    """Create the tables if they do not exist; several threads and processes may do so at the same time.

    SQLite does not wait when two connections switch the journal at once: it raises "locked", so the waiting is done here.
    """
    until = time.monotonic() + _TIMEOUT
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = normal")
            connection.executescript(_SCHEMA)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def canonical(value: Json) -> str:
    """Return JSON with one spelling for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(key: Json) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(key).encode()).hexdigest()


def _checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _metadata(blob: bytes) -> dict[str, str]:
    """Return the metadata in the header of a safetensors file: eight bytes of length, then JSON."""
    length = int.from_bytes(blob[:8], "little")
    metadata: dict[str, str] = json.loads(blob[8 : 8 + length])["__metadata__"]
    return metadata


def _key_of(file: Path) -> dict[str, Json]:
    with file.open("rb") as handle:
        blob = handle.read(8 + _HEADER_LIMIT)
    try:
        key: dict[str, Json] = json.loads(_metadata(blob)["key"])
    except (ValueError, KeyError, TypeError):
        return {"kind": "damaged"}
    return key


def _unpack(blob: bytes) -> Arrays | None:
    """Return the arrays of a stored file, or None if it is not exactly as it was written."""
    try:
        arrays: Arrays = load(blob)
        return arrays if _metadata(blob)["sha256"] == _checksum(arrays) else None
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
