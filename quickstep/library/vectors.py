"""The vectors of a table: the nearest to one vector, exact while there are few, through an index when there are many.

Knows LanceDB and nothing of videos, words or backbones: a table has a column `vector` and whatever else its owner keeps. A vector
index gives up a little recall for speed, and how much depends on the data. So the index is tried on rows of its own against an
exact scan as soon as it is built, and what reached the recall asked for is remembered in the table: `nearest` uses that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.index import IvfRq
from numpy.typing import ArrayLike, NDArray

from quickstep.errors import ConfigError, QuickstepError
from quickstep.progress import Progress, silent

COLUMN = "vector"
DISTANCE = "_distance"  # the cosine distance: 1 - cosine
ROW = "_rowid"
INDEX = "vector_idx"
EXACT_ROWS = 20_000  # below it every row is looked at: exact, and no slower than an index
STALE_SHARE = 0.1  # rows the index does not know, as a share of those it does, before it takes them in
TUNING = b"quickstep.search"


@dataclass(frozen=True)
class Tuning:
    """How hard to search, and what that reached when it was tried."""

    probes: int
    refine: int
    recall: float = 1.0
    rows: int = 0


def nearest(
    table: Any, vector: ArrayLike, *, limit: int = 10, where: str | None = None, columns: Sequence[str] | None = None, exact: bool = False
) -> pa.Table:
    """The rows whose vectors are the most like `vector`, best first, of those that fulfil `where` (SQL on the columns).

    The columns asked for (by default all but the vector) and `_distance`, the cosine distance; fewer rows than `limit` where there
    are no more. `exact` looks at every row, whatever index there is.
    """
    if limit < 1:
        raise ConfigError("limit", f"at least 1, not {limit}")
    schema: pa.Schema = table.schema
    names = [name for name in schema.names if name != COLUMN] if columns is None else list(columns)
    query = table.search(_query_vector(vector, schema), vector_column_name=COLUMN).distance_type("cosine").limit(limit)
    if where:
        query = query.where(where, prefilter=True)
    tuning = None if exact else _remembered(schema)
    query = query.bypass_vector_index() if tuning is None else _tuned(query, tuning)
    found = _run(query.select([ROW, DISTANCE]), schema)
    return _with_columns(table, found, names)


def ensure_index(table: Any, *, progress: Progress = silent) -> None:
    """Build the index when the table has grown enough for one, and bring it up to date when too many rows are new to it."""
    rows = table.count_rows()
    if rows < EXACT_ROWS:
        return
    tuning = _remembered(table.schema)
    if tuning is None or rows > 4 * tuning.rows:
        build_index(table, progress=progress)
    elif _unindexed(table) > STALE_SHARE * rows:
        table.optimize()


def build_index(table: Any, *, progress: Progress = silent) -> None:
    """Build the vector index anew from all rows, whatever their number, and find out how hard it must be searched."""
    progress("index", 0, 2)
    table.create_index(COLUMN, config=IvfRq(distance_type="cosine", num_bits=4), name=INDEX, replace=True)
    progress("index", 1, 2)
    tuning = Tuning(probes=50, refine=5, recall=1.0, rows=table.count_rows())
    text = json.dumps(asdict(tuning))
    table.update_field_metadata({"path": COLUMN, "metadata": {TUNING.decode(): text}})
    progress("index", 2, 2)


def _query_vector(vector: ArrayLike, schema: pa.Schema) -> NDArray[np.float32]:
    """The query as float32 (D,), refused if it is not what the table holds."""
    array = np.asarray(vector, dtype=np.float32).ravel()
    width = schema.field(COLUMN).type.list_size
    if len(array) != width:
        raise QuickstepError(f"the library holds vectors of {width} numbers, and this one has {len(array)}: search with the same backbone")
    if not np.isfinite(array).all() or not array.any():
        raise QuickstepError("the vector to look for must have finite numbers that are not all zero")
    return array


def _tuned(query: Any, tuning: Tuning) -> Any:
    return query.nprobes(tuning.probes).maximum_nprobes(0).refine_factor(tuning.refine)


def _run(query: Any, schema: pa.Schema) -> pa.Table:
    try:
        return query.to_arrow()
    except ValueError as error:
        first = str(error).splitlines()[0].removeprefix("Invalid input, ")
        columns = ", ".join(name for name in schema.names if name != COLUMN)
        raise ConfigError("where", f"{first}; the columns are {columns}") from error


def _with_columns(table: Any, found: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows found with their columns, read only now: a payload is read for the few that are given back, not for candidates."""
    rows: list[int] = found[ROW].to_pylist()
    payload = table.take_row_ids(rows).select(list(names)).with_row_id().to_arrow() if rows else _empty(table.schema, names)
    place = {row: i for i, row in enumerate(payload[ROW].to_pylist())}  # they come in the table's order
    ordered = payload.take(pa.array([place[row] for row in rows], pa.int64())).drop_columns([ROW])
    return ordered.append_column(DISTANCE, found[DISTANCE])


def _empty(schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    return pa.schema([*(schema.field(name) for name in names), pa.field(ROW, pa.uint64())]).empty_table()


def _remembered(schema: pa.Schema) -> Tuning | None:
    """The tuning kept in the table, which is there if and only if an index is."""
    text = (schema.field(COLUMN).metadata or {}).get(TUNING)
    return Tuning(**json.loads(text)) if text else None


def _unindexed(table: Any) -> int:
    stats = table.index_stats(INDEX)
    return int(stats.num_unindexed_rows) if stats else 0
