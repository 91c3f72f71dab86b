"""Library: one table of windows in a folder or in object storage; opened, created, locked and written.

What LanceDB and the disk have to say is translated here. A commit is whole or not at all; in a folder commits wait for each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from filelock import FileLock, Timeout  # comes with huggingface-hub

from quickstep.backbones import Backbone, open_backbone
from quickstep.library.schema import TABLE, Card, among, read_card, schema_of
from quickstep.models.model import COMPUTED
from quickstep.storage.cache import Cache
from quickstep.types.errors import LibraryError, QuickstepError

SLOTS = 256  # locks that stand for videos
KEPT = timedelta(minutes=10)  # how long a version stays readable after the next: for who is searching it right now
_TRIES = 8  # of a commit that another machine's crossed
_CROSSED = re.compile(r"conflict|concurrent|retry", re.IGNORECASE)
_FULL = re.compile(r"no space|os error 28|quota", re.IGNORECASE)
_SHUT = re.compile(r"read-only|permission denied|os error (13|30|1)\b", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Library:
    """Windows of videos that can be searched."""

    uri: str
    card: Card
    table: Any = field(repr=False)  # of LanceDB

    @classmethod
    def open(cls, uri: str | Path) -> Library:
        """The library that is there; anything else is a LibraryError that says what it is."""
        uri = place_of(uri)
        if not is_remote(uri):
            _check_folder(Path(uri))
        with translated(uri, "cannot be read"):
            table = _connect(uri).open_table(TABLE)
        try:
            return cls(uri, read_card(table.schema), table)
        except ValueError as error:
            raise LibraryError(uri, str(error)) from error

    @classmethod
    def create(cls, uri: str | Path, card: Card) -> Library:
        """A new library, or the one that somebody else made in this very moment."""
        uri = place_of(uri)
        if not is_remote(uri):
            _check_vacant(Path(uri))
            with translated(uri, "cannot be written"):
                Path(uri).mkdir(parents=True, exist_ok=True)
        with lock_of(uri, "commit"):
            if not exists(uri):
                with translated(uri, "cannot be written"):
                    _connect(uri).create_table(TABLE, schema=schema_of(card))
        return cls.open(uri)

    @property
    def schema(self) -> pa.Schema:
        """The columns there are now."""
        return self.table.schema

    def rows(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Some columns of the rows of which `where` is true."""
        with translated(self.uri, "cannot be read"):
            query = self.table.search().limit(None).select(list(columns))
            return (query.where(where) if where else query).to_arrow()

    def batches(self, columns: Sequence[str], where: str | None = None, *, size: int = 8192) -> Iterator[pa.RecordBatch]:
        """The same, so many rows at a time: for what does not fit into memory."""
        with translated(self.uri, "cannot be read"):
            query = self.table.search().limit(None).select(list(columns))
            yield from (query.where(where) if where else query).to_batches(size)

    def count(self, where: str | None = None) -> int:
        """How many windows there are."""
        with translated(self.uri, "cannot be read"):
            return int(self.table.count_rows(where))

    def commit(self, change: Callable[[Any], object]) -> None:
        """Change the table: alone in a folder, tried again where another machine's change crossed it in object storage."""
        with lock_of(self.uri, "commit"), translated(self.uri, "cannot be written"):
            for attempt in range(_TRIES):
                try:
                    self.table.checkout_latest()
                    change(self.table)
                    return
                except (RuntimeError, ValueError, OSError) as error:
                    if attempt == _TRIES - 1 or not _CROSSED.search(str(error)) or not is_remote(self.uri):
                        raise
                    time.sleep(0.05 * 2**attempt)

    def replace(self, rows: pa.Table, paths: Sequence[str]) -> None:
        """Put these rows in the place of whatever there is of these paths, in one commit."""

        def change(table: Any) -> None:
            if table.count_rows(among("path", paths)) == 0:
                table.add(rows)
                return
            merge = table.merge_insert(["path", "start"]).when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(among("path", paths)).execute(rows)

        self.commit(change)

    def tidy(self, *, before: timedelta = KEPT) -> None:
        """Join small files, and remove versions that nobody reads any more and what killed processes left."""

        def change(table: Any) -> None:
            # All writers hold the lock, so that what is in no version was left by a process that is dead.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                table.optimize(cleanup_older_than=before, delete_unverified=not is_remote(self.uri))

        self.commit(change)

    def backbone(self, *, weights: str | Path | None = None, cache: Cache | None = None) -> Backbone:
        """The backbone that made its vectors; another version or other weights are refused."""
        how = self.card.opening
        opened = open_backbone(
            how.name, weights=weights or how.weights, output=how.output, precision=how.precision, engine=how.engine, cache=cache
        )
        check_same(self, opened)
        return opened


def check_same(library: Library, backbone: Backbone) -> None:
    """Refuse a backbone whose vectors cannot stand beside those of the library."""
    here, there = dict(backbone.identity), library.card.identity
    differing = sorted(name for name in here.keys() | there.keys() if name not in COMPUTED and here.get(name) != there.get(name))
    if not differing:
        return
    told = "; ".join(f"its {name} is {_short(there.get(name))}, here it is {_short(here.get(name))}" for name in differing[:3])
    made_by = library.card.opening.name
    raise LibraryError(
        library.uri,
        f"was made by another backbone than {backbone.name} ({told}); give it {made_by} with the weights it was made with (--weights), "
        f"or index the videos anew: quickstep index NEW_LIBRARY VIDEOS --backbone {backbone.name}",
    )


def exists(uri: str) -> bool:
    """Whether a library, whole, is there."""
    if not is_remote(uri):
        return any((Path(uri) / f"{TABLE}.lance" / "_versions").glob("*.manifest"))
    with translated(uri, "cannot be read"):
        return TABLE in _connect(uri).list_tables().tables


def place_of(uri: str | Path) -> str:
    """The one spelling of a place: object storage as it is given, a folder in full."""
    text = str(uri)
    if not text.strip():
        raise LibraryError("the library", "has no name; name a folder, or object storage by its URI")
    return text if is_remote(text) else os.path.abspath(Path(text).expanduser())  # noqa: PTH100 - resolves no links


def is_remote(uri: str) -> bool:
    """Whether it is a URI and no folder of this machine."""
    return "://" in uri


@contextlib.contextmanager
def lock_of(uri: str, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold one of a library's locks, which the system frees when a process dies; False where it is held and not waited for."""
    folder = Path(uri) / ".locks"
    if is_remote(uri):  # keeps the processes of one machine apart; between machines LanceDB's commits do
        folder = Path(tempfile.gettempdir()) / f"quickstep-locks-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    with translated(uri, "cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock", timeout=-1 if wait else 0, thread_local=False)
        with contextlib.suppress(Timeout):
            lock.acquire(poll_interval=0.02)
    try:
        yield lock.is_locked
    finally:
        lock.release()


@contextlib.contextmanager
def translated(uri: str, what: str) -> Iterator[None]:
    """Turn what LanceDB and the disk raise into one LibraryError."""
    try:
        yield
    except QuickstepError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        text = str(getattr(error, "strerror", None) or error)
        if _FULL.search(text):
            raise LibraryError(
                uri, "the disk is full: free some space and give the same command again; what was indexed is kept"
            ) from error
        if _SHUT.search(text):
            raise LibraryError(uri, f"{what}: the folder is read-only or belongs to somebody else") from error
        raise LibraryError(uri, f"{what}: {_first_line(text)}") from error


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise LibraryError(folder, "there is no such library; make one: quickstep index LIBRARY VIDEOS")
    if not folder.is_dir():
        raise LibraryError(folder, "is a file, and a library is a folder; make one: quickstep index LIBRARY VIDEOS")
    if not exists(str(folder)):
        raise LibraryError(folder, f"is a folder but no library: it has no {TABLE}.lance; make one: quickstep index LIBRARY VIDEOS")


def _check_vacant(folder: Path) -> None:
    if folder.is_dir():
        others = [entry.name for entry in folder.iterdir() if entry.name not in (".locks", f"{TABLE}.lance")]
        if others:
            raise LibraryError(folder, f"holds other things ({others[0]}) and no library, so none is made there; name a new folder")
    elif folder.exists() or folder.is_symlink():
        raise LibraryError(folder, "is a file, and a library is a folder; name a new folder")


def _connect(uri: str) -> Any:
    return lancedb.connect(uri, read_consistency_interval=timedelta(0))


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", line).removeprefix("lance error: ")[:300]


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
