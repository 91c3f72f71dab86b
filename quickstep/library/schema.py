"""What a library says of itself (Card), and the columns of its one table: a row is a window of a video. Knows no disk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quickstep.models.model import Opening
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.view import View

FORMAT = 1
TABLE = "windows"
CARD = b"quickstep"
OWN = ("vector", "path", "digest", "start", "end", "duration", "gone", "names", "scores", "named_by", "thumbnail")
NO_NAMES = "none of its windows has a name; let a model name them: quickstep index LIBRARY VIDEOS --model MODEL"
KINDS = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64(), "yes or no": pa.bool_(), "date": pa.date32()}


@dataclass(frozen=True)
class Card:
    """How every window of a library was made."""

    opening: Opening
    identity: dict[str, Any]  # of the backbone: vectors of another one cannot stand beside these
    width: int
    window: float  # seconds
    hop: float
    view: dict[str, Any]  # how a video is looked at
    single_frames: bool  # whether the backbone gives a vector a frame, or one (or some) a window
    created: str
    quickstep: str
    format: int = FORMAT

    @property
    def looking(self) -> View:
        """The view as itself."""
        return from_plain(View, self.view, where="the view")

    def packed(self) -> dict[bytes, bytes]:
        """As the table's metadata."""
        return {CARD: json.dumps(to_plain(self), sort_keys=True).encode()}


def read_card(schema: pa.Schema) -> Card:
    """The card in a table's metadata; a ValueError says what is wrong with it."""
    raw = (schema.metadata or {}).get(CARD)
    if raw is None:
        raise ValueError("its table was not made by quickstep")
    content = json.loads(raw)
    written = content.get("format") if isinstance(content, dict) else None
    if not isinstance(written, int) or written < 1:
        raise ValueError("its table does not say its format")
    if written > FORMAT:
        raise ValueError(f"was written by a newer quickstep (format {written}, this one reads up to {FORMAT}); upgrade quickstep")
    return from_plain(Card, content, where="the library's card")


def schema_of(card: Card) -> pa.Schema:
    """The columns of an empty library."""
    fields = [
        pa.field("vector", pa.list_(pa.float32(), card.width), nullable=False),  # of length 1
        pa.field("path", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),  # sha256 of the file
        pa.field("start", pa.float64(), nullable=False),  # seconds
        pa.field("end", pa.float64(), nullable=False),
        pa.field("duration", pa.float64(), nullable=False),  # of the whole video
        pa.field("gone", pa.bool_(), nullable=False),  # the file was not there any more
        pa.field("names", pa.list_(pa.string())),  # the likeliest labels, best first
        pa.field("scores", pa.list_(pa.float32())),
        pa.field("named_by", pa.string()),  # the model
        pa.field("thumbnail", pa.binary()),  # JPEG
    ]
    return pa.schema(fields, metadata=card.packed())


def vectors_of(rows: pa.Table | pa.RecordBatch) -> NDArray[np.float32]:
    """The vectors of some rows, (N, D)."""
    column = rows.column("vector")
    parts = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    flat = [part.flatten().to_numpy(zero_copy_only=False) for part in parts]
    return np.concatenate([np.empty(0, np.float32), *flat]).reshape(-1, column.type.list_size)


def to_vectors(vectors: NDArray[np.float32]) -> pa.Array:
    """(N, D) as a column."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1)), vectors.shape[1])


def kind_of(kind: pa.DataType) -> str:
    """A column's type in words."""
    return next((name for name, other in KINDS.items() if other == kind), str(kind))


def described(schema: pa.Schema) -> str:
    """The columns one can ask about, with their types."""
    own = [name for name in OWN if name not in ("vector", "thumbnail", "digest")]
    more = [f"{field.name} ({kind_of(field.type)})" for field in schema if field.name not in OWN]
    return ", ".join([*own, *more])


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def among(column: str, values: Any) -> str:
    """SQL: the column is one of these texts."""
    listed = ", ".join(quoted(value) for value in values)
    return f"{column} IN ({listed})" if listed else "false"
