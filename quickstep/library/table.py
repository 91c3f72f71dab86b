"""Library: one table of windows of videos, in a folder or in object storage, and the columns of that table.

A commit is complete or does not happen; in a folder, commits wait for each other. Errors of LanceDB and of the disk become
LibraryErrors here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from filelock import FileLock, Timeout  # comes with huggingface-hub
from numpy.typing import NDArray

from quickstep.backbones import Backbone, BackboneSpec
from quickstep.models.model import MACHINE_DEPENDENT
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import LibraryError, QuickstepError
from quickstep.types.view import View

FORMAT = 2  # 1: of version 0.1
TABLE = "windows"
OWN_COLUMNS = ("vector", "path", "digest", "start", "end", "duration", "gone", "names", "scores", "named_by", "thumbnail")
COLUMN_TYPES = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "yes or no": pa.bool_(), "date": pa.date32()}
NO_LABELS = "none of its windows has a label; index its videos again with a model that labels them"
LOCK_SLOTS = 256  # a video's lock is one of so many
KEEP_VERSIONS = timedelta(minutes=10)  # how long an old version stays readable, for searches that are running
_ATTEMPTS = 8  # at a commit that conflicts with another machine's
_CARD_KEY = b"quickstep"
_CONFLICT = re.compile(r"conflict|concurrent|retry", re.IGNORECASE)
_DISK_FULL = re.compile(r"no space|os error 28|quota", re.IGNORECASE)
_NO_PERMISSION = re.compile(r"read-only|permission denied|os error (13|30|1)\b", re.IGNORECASE)
_HOW_TO_MAKE_ONE = "make one: quickstep index LIBRARY VIDEOS"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Card:
    """How every window of a library was made."""

    backbone: BackboneSpec = field(metadata={"written_as": "opening"})  # how its backbone is opened
    identity: dict[str, Any]  # of the backbone; vectors of another one are not comparable
    width: int
    window: float  # seconds
    stride: float = field(metadata={"written_as": "hop"})  # seconds
    view: View
    single_frames: bool  # whether the backbone gives one vector for each frame, or one or more for each window
    created: str
    quickstep: str
    format: int = FORMAT

    def to_metadata(self) -> dict[bytes, bytes]:
        """Return the card as metadata of the table."""
        return {_CARD_KEY: json.dumps(to_plain(self), sort_keys=True).encode()}


def read_card(schema: pa.Schema) -> Card:
    """Read the card in a table's metadata; a ValueError says what is wrong with it."""
    raw = (schema.metadata or {}).get(_CARD_KEY)
    if raw is None:
        raise ValueError("its table was not made by quickstep")
    content = json.loads(raw)
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or version < 1:
        raise ValueError("its table has no format number")
    if version > FORMAT:
        raise ValueError(f"was written by a newer quickstep (format {version}, this one reads up to {FORMAT}); upgrade quickstep")
    return from_plain(Card, content, where="the library's card")


@dataclass(frozen=True, eq=False)
class Library:
    """Windows of videos that can be searched."""

    uri: str
    card: Card
    table: Any = field(repr=False)  # of LanceDB

    @classmethod
    def open(cls, uri: str | Path) -> Library:
        """Open an existing library; anything else is a LibraryError that says what it is."""
        uri = normalize_uri(uri)
        if not is_remote(uri):
            _check_folder(Path(uri))
        with translated_errors(uri, "cannot be read"):
            table = _connect(uri).open_table(TABLE)
        try:
            return cls(uri, read_card(table.schema), table)
        except ValueError as error:
            raise LibraryError(uri, str(error)) from error

    @classmethod
    def create(cls, uri: str | Path, card: Card) -> Library:
        """Create a library; if another process creates it at the same time, open that one."""
        uri = normalize_uri(uri)
        if not is_remote(uri):
            _check_vacant(Path(uri))
            with translated_errors(uri, "cannot be written"):
                Path(uri).mkdir(parents=True, exist_ok=True)
        with lock(uri, "commit"):
            if not exists(uri):
                with translated_errors(uri, "cannot be written"):
                    _connect(uri).create_table(TABLE, schema=schema_of(card))
        return cls.open(uri)

    @property
    def schema(self) -> pa.Schema:
        """The columns at this moment."""
        return self.table.schema

    @property
    def metadata_columns(self) -> list[str]:
        """The names of the columns that came with the videos, from a csv."""
        return [column.name for column in self.schema if column.name not in OWN_COLUMNS]

    def rows(self, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Read some columns of the rows for which `where` is true."""
        with translated_errors(self.uri, "cannot be read"):
            return self._query(columns, where).to_arrow()

    def batches(self, columns: Sequence[str], where: str | None = None, *, size: int = 8192) -> Iterator[pa.RecordBatch]:
        """Read the same as `rows`, `size` rows at a time, for what does not fit into memory."""
        with translated_errors(self.uri, "cannot be read"):
            yield from self._query(columns, where).to_batches(size)

    def count(self, where: str | None = None) -> int:
        """Count the windows for which `where` is true."""
        with translated_errors(self.uri, "cannot be read"):
            return int(self.table.count_rows(where))

    def labels(self) -> set[str]:
        """Return every label that a model gave to a window."""
        labels: set[str] = set()
        for batch in self.batches(["names"], "names IS NOT NULL"):
            labels |= set(batch["names"].flatten().to_pylist())
        return labels

    def commit(self, change: Callable[[Any], object]) -> None:
        """Change the table: under a lock in a folder, repeated after a conflict with another machine in object storage."""
        with lock(self.uri, "commit"), translated_errors(self.uri, "cannot be written"):
            for attempt in range(_ATTEMPTS):
                try:
                    self.table.checkout_latest()
                    change(self.table)
                    return
                except (RuntimeError, ValueError, OSError) as error:
                    if attempt == _ATTEMPTS - 1 or not _CONFLICT.search(str(error)) or not is_remote(self.uri):
                        raise
                    _log.info("commit to %s conflicts with another one, attempt %d: %s", self.uri, attempt + 1, error)
                    time.sleep(0.05 * 2**attempt)

    def replace(self, rows: pa.Table, paths: Sequence[str]) -> None:
        """Replace all rows of these paths by others, in one commit."""

        def change(table: Any) -> None:
            if table.count_rows(sql_in("path", paths)) == 0:
                table.add(rows)
                return
            merge = table.merge_insert(["path", "start"]).when_matched_update_all().when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(sql_in("path", paths)).execute(rows)

        self.commit(change)

    def compact(self, *, before: timedelta = KEEP_VERSIONS) -> None:
        """Join small files; remove old versions and what killed processes left."""

        def change(table: Any) -> None:
            # All writers hold the lock, so a file that is in no version was left by a process that has died.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                table.optimize(cleanup_older_than=before, delete_unverified=not is_remote(self.uri))

        self.commit(change)

    def backbone(self, *, weights: str | Path | None = None, cache: Cache | None = None) -> Backbone:
        """Open the backbone that made the vectors; another version or other weights are refused."""
        backbone = self.card.backbone.with_weights(weights).open(cache)
        check_same_backbone(self, backbone)
        return backbone

    def _query(self, columns: Sequence[str], where: str | None) -> Any:
        query = self.table.search().limit(None).select(list(columns))
        return query.where(where) if where else query


def open_library(library: Library | str | Path) -> Library:
    """Open a library by its path or URI; return a Library unchanged."""
    if isinstance(library, Library):
        return library
    if isinstance(library, str | Path):
        return Library.open(library)
    raise LibraryError("the library", f"must be a Library, a path or a URI, not a {type(library).__name__}")


def check_same_backbone(library: Library, backbone: Backbone) -> None:
    """Refuse a backbone whose vectors are not comparable with those of the library."""
    here, there = dict(backbone.identity), library.card.identity
    different = sorted(name for name in here.keys() | there.keys() if name not in MACHINE_DEPENDENT and here.get(name) != there.get(name))
    if not different:
        return
    differences = "; ".join(
        f"its {name} is {_shortened(there.get(name))}, here it is {_shortened(here.get(name))}" for name in different[:3]
    )
    made_by = library.card.backbone.name
    raise LibraryError(
        library.uri,
        f"was made with another backbone than {backbone.name} ({differences}); open {made_by} with the weights it was made with, "
        f"or make a new library: quickstep index NEW_LIBRARY VIDEOS --backbone {backbone.name}",
    )


# -- columns ----------------------------------------------------------------------------------------------------------------


def schema_of(card: Card) -> pa.Schema:
    """Return the columns of an empty library."""
    columns = [
        pa.field("vector", pa.list_(pa.float32(), card.width), nullable=False),  # of length 1
        pa.field("path", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),  # sha256 of the file
        pa.field("start", pa.float64(), nullable=False),  # seconds
        pa.field("end", pa.float64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),  # of the whole video
        pa.field("gone", pa.bool_(), nullable=False),  # the file no longer exists
        pa.field("names", pa.list_(pa.string())),  # the most probable labels, best first
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("named_by", pa.string()),  # the model
        pa.field("thumbnail", pa.binary()),  # JPEG
    ]
    return pa.schema(columns, metadata=card.to_metadata())


def vectors_of(rows: pa.Table | pa.RecordBatch) -> NDArray[np.float32]:
    """Return the vectors of some rows, (N, D)."""
    column = rows.column("vector")
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flat = [part.flatten().to_numpy(zero_copy_only=False) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *flat]).reshape(-1, column.type.list_size)


def to_vectors(vectors: NDArray[np.float32]) -> pa.Array:
    """Return (N, D) as a column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1)), vectors.shape[1])


def type_name(kind: pa.DataType) -> str:
    """Name a column's type in words."""
    return next((name for name, other in COLUMN_TYPES.items() if other == kind), str(kind))


def describe_columns(schema: pa.Schema) -> str:
    """List the columns that a filter can use, with their types."""
    own = [name for name in OWN_COLUMNS if name not in ("vector", "thumbnail", "digest")]
    more = [f"{column.name} ({type_name(column.type)})" for column in schema if column.name not in OWN_COLUMNS]
    return ", ".join([*own, *more])


def filter_problem(error: Exception) -> str:
    """Return what is wrong with a filter, from LanceDB's error."""
    return str(error).strip().splitlines()[0].removeprefix("Invalid input, ").split(", /")[0].split(" Valid fields are")[0][:200]


def sql_text(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def sql_in(column: str, values: Iterable[str]) -> str:
    """Return SQL that is true where the column is one of these texts."""
    listed = ", ".join(sql_text(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"


# -- place and locks --------------------------------------------------------------------------------------------------------


def exists(uri: str) -> bool:
    """Tell whether a complete library exists there."""
    if not is_remote(uri):
        return any((Path(uri) / f"{TABLE}.lance" / "_versions").glob("*.manifest"))
    with translated_errors(uri, "cannot be read"):
        return TABLE in _connect(uri).list_tables().tables


def normalize_uri(uri: str | Path) -> str:
    """Return the one spelling of a library's place: a URI as it is, a folder as an absolute path."""
    text = str(uri)
    if not text.strip():
        raise LibraryError("the library", "has no name; name a folder, or object storage by its URI")
    return text if is_remote(text) else os.path.abspath(Path(text).expanduser())  # noqa: PTH100 - resolves no links


def is_remote(uri: str) -> bool:
    """Tell whether it is a URI and not a folder of this machine."""
    return "://" in uri


@contextlib.contextmanager
def lock(uri: str, name: str, *, wait: bool = True) -> Iterator[bool]:
    """Hold one of a library's locks, which the system frees when a process dies; give False where it is held and `wait` is off."""
    folder = Path(uri) / ".locks"
    if is_remote(uri):  # separates the processes of one machine; between machines LanceDB's commits do
        folder = Path(tempfile.gettempdir()) / f"quickstep-locks-{hashlib.sha256(uri.encode()).hexdigest()[:16]}"
    with translated_errors(uri, "cannot be written"):
        folder.mkdir(parents=True, exist_ok=True)
        file_lock = FileLock(folder / f"{name}.lock", timeout=-1 if wait else 0, thread_local=False)
        with contextlib.suppress(Timeout):
            file_lock.acquire(poll_interval=0.02)
    try:
        yield file_lock.is_locked
    finally:
        file_lock.release()


@contextlib.contextmanager
def translated_errors(uri: str, what: str) -> Iterator[None]:
    """Turn errors of LanceDB and of the disk into one LibraryError."""
    try:
        yield
    except QuickstepError:
        raise
    except (OSError, RuntimeError, ValueError, pa.ArrowException) as error:
        text = str((isinstance(error, OSError) and error.strerror) or error)
        if _DISK_FULL.search(text):
            raise LibraryError(uri, "the disk is full: free some space and run the same command again; what was indexed is kept") from error
        if _NO_PERMISSION.search(text):
            raise LibraryError(uri, f"{what}: the folder is read-only or belongs to another user") from error
        raise LibraryError(uri, f"{what}: {_first_line(text)}") from error


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        raise LibraryError(folder, f"does not exist; {_HOW_TO_MAKE_ONE}")
    if not folder.is_dir():
        raise LibraryError(folder, f"is a file, and a library is a folder; {_HOW_TO_MAKE_ONE}")
    if not exists(str(folder)):
        raise LibraryError(folder, f"is a folder but not a library: it has no {TABLE}.lance; {_HOW_TO_MAKE_ONE}")


def _check_vacant(folder: Path) -> None:
    if folder.is_dir():
        others = [entry.name for entry in folder.iterdir() if entry.name not in (".locks", f"{TABLE}.lance")]
        if others:
            raise LibraryError(folder, f"is not a library and contains other files ({others[0]}); name a new folder")
    elif folder.exists() or folder.is_symlink():
        raise LibraryError(folder, "is a file, and a library is a folder; name a new folder")


def _connect(uri: str) -> Any:
    return lancedb.connect(uri, read_consistency_interval=timedelta(0))


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else "no reason given"
    return re.sub(r",? ?/\S+\.rs:\d+(:\d+)?", "", line).removeprefix("lance error: ")[:300]


def _shortened(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 24 else f"{text[:12]}..."
