"""The vectors of a table: the nearest to one vector, exact while there are few, through an index when there are many.

Knows LanceDB and nothing of videos, words or backbones: a table has a column `vector` and whatever else its owner keeps. The index
gives up a little recall for speed; what `nearest` gives back was compared exactly all the same, and how far it must look for that
was tried when the index was built (probing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import Bitmap, BTree, IvfFlat, IvfRq
from numpy.typing import ArrayLike

from quickstep.library.ann_tuning import COLUMN, DISTANCE, ROW, Rows, Tuning, Vectors, by_codes, remember, remembered, try_out
from quickstep.library.schema import vectors_of
from quickstep.library.table import translated
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.progress import Progress, silent

INDEX = "vector_idx"
EXACT_ROWS = 20_000  # below it every row is looked at: exact, and no slower than an index
FEW = 200  # rows that pass a filter, and are compared one by one sooner than the index is asked
PARTITION = 4096  # rows, about
BITS = 3  # a number of a vector in its code; with fewer, vectors without order cannot be told apart
GROWTH = 2.0  # times the rows the index was built for, before it is built anew
NEW_ROWS = 1_000  # rows, or this share of all, unknown to the index, before it takes them in
NEW_SHARE = 0.005
FEW_VALUES = 200  # different ones among a sample of a column's, for the kind of index that likes them few
MOST_SHARE = 0.05  # of the rows that pass: to find more of them, all are looked at
CHANCE = 0.3  # more neighbours than a filter passes so many of on the average
MANY = 500  # candidates; fewer cost little
KEEP, SKIP = 2.5, 0.02  # microseconds more to keep one more candidate, and to skip a row rather than look at its code
FAR = 100  # times as many neighbours are looked for as are wanted, where what is near does not pass
_COUNTED = (pa.types.is_boolean, pa.types.is_string, pa.types.is_integer)
_PLAIN = (*_COUNTED, pa.types.is_floating, pa.types.is_date)
_CHANGED = 3  # times that a search begins again because the table was rewritten under it


def nearest(
    table: Any, vector: ArrayLike, *, limit: int = 10, where: str | None = None, columns: Sequence[str] | None = None, exact: bool = False
) -> pa.Table:
    """The rows whose vectors are the most like `vector`, best first, of those of which `where` (SQL on the columns) is true.

    The columns asked for (by default all but the vector) and `_distance`, the cosine distance; fewer rows than `limit` where there
    are no more. `exact` looks at every row, whatever index there is.
    """
    if limit < 1:
        raise ConfigError("limit", f"at least 1, not {limit}")
    schema: pa.Schema = table.schema
    query = _query_vector(vector, schema)
    names = [name for name in schema.names if name != COLUMN] if columns is None else list(columns)
    tuning = None if exact else remembered(schema)
    eligible = _count(table, where)
    with translated(_place(table), "cannot be read"):
        if tuning is not None and limit <= MOST_SHARE * eligible:
            for _ in range(_CHANGED):
                rows = _candidates(table, query, tuning, limit=limit, passing=(where, eligible))
                found = _compared(table, query, rows, limit=limit, names=names)
                if len(found) == min(limit, len(rows)):
                    return found
        search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").limit(limit).bypass_vector_index()
        search = search if where is None else search.where(where, prefilter=True)
        return search.select([*names, DISTANCE]).to_arrow()


def ensure_index(table: Any, *, progress: Progress = silent) -> None:
    """Build the index when the table has grown enough for one, and bring it up to date when too many rows are new to it."""
    rows = table.count_rows()
    if rows < EXACT_ROWS:
        return
    tuning = remembered(table.schema)
    stats = table.index_stats(INDEX)
    if tuning is None or stats is None or rows > GROWTH * tuning.rows:
        build_index(table, progress=progress)
    elif stats.num_unindexed_rows > max(NEW_ROWS, NEW_SHARE * rows):
        with translated(_place(table), "cannot be written"):
            _index_columns(table)
            table.optimize()


def build_index(table: Any, *, progress: Progress = silent, seed: int = 0) -> None:
    """Build the index anew from all rows, whatever their number, and try out how hard it must be searched."""
    rows = table.count_rows()
    if rows == 0:
        raise QuickstepError("an empty library needs no index; index some videos first")
    with translated(_place(table), "cannot be written"):
        progress("index", 0, 3)
        if table.stats()["fragment_stats"]["num_fragments"] > 1:
            table.optimize()  # rows that lie together are fetched faster
        progress("index", 1, 3)
        _index_columns(table)
        partitions = max(1, round(rows / PARTITION))
        table.create_index(COLUMN, config=_kind(table, partitions), name=INDEX, replace=True)
        progress("index", 2, 3)
        remember(table, try_out(table, partitions, seed=seed, progress=progress))
        progress("index", 3, 3)


def tuning_of(table: Any) -> Tuning | None:
    """How hard the index is searched, and what recall that reached when it was tried; None without an index."""
    return remembered(table.schema)


def _query_vector(vector: ArrayLike, schema: pa.Schema) -> Vectors:
    """The query as float32 (D,), refused if it is not what the table holds."""
    array = np.asarray(vector, dtype=np.float32).ravel()
    width = schema.field(COLUMN).type.list_size
    if len(array) != width:
        raise QuickstepError(f"the library holds vectors of {width} numbers, and this one has {len(array)}: search with the same backbone")
    if not np.isfinite(array).all() or not array.any():
        raise QuickstepError("the vector to look for must have finite numbers that are not all zero")
    return array


def _count(table: Any, where: str | None) -> int:
    """How many rows pass; a filter that cannot be read is refused here, for all that follows."""
    try:
        return int(table.count_rows(where))
    except ValueError as error:
        if where is None:
            raise
        reason = str(error).strip().splitlines()[0].removeprefix("Invalid input, ").split(", /")[0].split(" Valid fields are")[0]
        columns = ", ".join(field.name for field in table.schema if field.name != COLUMN and not pa.types.is_binary(field.type))
        raise ConfigError("where", f"{reason[:200]}; the columns are {columns}") from error


def _candidates(table: Any, query: Vectors, tuning: Tuning, *, limit: int, passing: tuple[str | None, int]) -> Rows:
    """Rows to compare exactly, among them the nearest of those that pass the filter; so many do.

    To skip rows while looking at codes takes longer than to look at all of them and drop what does not pass, as long as enough does;
    it saves when so little passes that very many would have to be kept. And it is what works where the filter and the question
    contradict each other: what is left then lies far away, where many rows are about as near, so that more of them are compared.
    """
    where, eligible = passing
    if where is None:
        return by_codes(table, query, tuning.effort(limit))
    if eligible <= FEW:
        rows: Rows = table.search().where(where).limit(None).select([]).with_row_id(True).to_arrow()[ROW].to_numpy()
        return rows
    count = table.count_rows()
    share = eligible / count
    effort = tuning.effort(limit / share * (1 + CHANCE * (1 - share)))
    scan = count * effort.probes / tuning.partitions
    if effort.candidates > MANY and effort.candidates * KEEP > scan * SKIP:
        few = replace(effort, candidates=tuning.effort(10 * limit).candidates)
        return by_codes(table, query, few, where=where, first=True)
    found = by_codes(table, query, effort, where=where)
    if len(found) >= 0.5 * share * effort.candidates:
        return found
    return by_codes(table, query, tuning.effort(FAR * limit), where=where, first=True)


def _compared(table: Any, query: Vectors, rows: Rows, *, limit: int, names: Sequence[str]) -> pa.Table:
    """The nearest of some rows, best first; fewer than there should be if the table was rewritten meanwhile.

    The columns are read of those only that are found: no thumbnail is fetched for a mere candidate.
    """
    fetched = _fetched(table, rows, [COLUMN])
    vectors = vectors_of(fetched)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(query), 1e-12)
    distances = 1.0 - vectors @ query / lengths
    best = np.argsort(distances, kind="stable")[:limit]
    found = fetched[ROW].take(best)
    payload = _fetched(table, found.to_numpy(), names)
    at = pc.index_in(found, value_set=payload[ROW].combine_chunks())  # they come in the table's order
    told = pa.chunked_array([distances[best]], pa.float32()).filter(at.is_valid())
    return payload.take(at.drop_null()).append_column(DISTANCE, told).select([*names, DISTANCE])


def _fetched(table: Any, rows: Rows, names: Sequence[str]) -> pa.Table:
    return table.take_row_ids(rows.tolist()).select(list(names)).with_row_id().to_arrow()


def _kind(table: Any, partitions: int) -> Any:
    if table.schema.field(COLUMN).type.list_size % 8:  # codes are made of whole bytes
        return IvfFlat(distance_type="cosine", num_partitions=partitions)
    return IvfRq(distance_type="cosine", num_bits=BITS, num_partitions=partitions)


def _index_columns(table: Any) -> None:
    """Let filters on columns of plain values be answered without a look at every row."""
    have = {name for index in table.list_indices() for name in index.columns}
    rows = table.count_rows()
    places = np.unique(np.linspace(0, rows - 1, min(rows, 10 * FEW_VALUES)).astype(int)).tolist()
    for field in table.schema:
        if field.name in have or not field.name.isidentifier() or not any(of_kind(field.type) for of_kind in _PLAIN):
            continue
        few = any(of_kind(field.type) for of_kind in _COUNTED)
        if few:
            values = table.take_offsets(places).select([field.name]).to_arrow()[field.name]
            few = len(values.unique()) <= FEW_VALUES
        table.create_index(field.name, config=Bitmap() if few else BTree(), name=f"{field.name}_idx")


def _place(table: Any) -> str:
    return str(table.uri)
