"""Approximate nearest neighbours (ANN) in a table of vectors: exact for small tables, through an index for large ones.

The index keeps a short code of each vector, in partitions of similar ones. A search reads the codes of some partitions (`probes`), takes
the rows with the nearest codes (`candidates`) and compares those exactly. How many of both reach the target recall depends on the data:
footage lies in clusters, where a few partitions suffice; vectors without structure need all of them. So the numbers are measured on the
table itself when the index is built, and kept in the table. The table needs a column `vector`; it may have any other columns.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from lancedb.index import Bitmap, BTree, IvfFlat, IvfRq
from numpy.typing import ArrayLike, NDArray

from quickstep.library.table import filter_problem, translated_errors, vectors_of
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.progress import Progress, silent

COLUMN = "vector"
DISTANCE = "_distance"  # the cosine distance: 1 - cosine
ROW = "_rowid"
INDEX = "vector_idx"

EXACT_ROWS = 20_000  # smaller tables are searched exactly, which is as fast as an index
FEW_ROWS = 200  # when a filter passes so few, comparing all is faster than the index
PARTITION_ROWS = 4096  # about
CODE_BITS = 3  # for each dimension; with fewer, vectors without structure cannot be distinguished
GROWTH = 2.0  # times as many rows as when the index was built: build it again
NEW_ROWS = 1_000  # rows, or this share of all, that are not in the index before it takes them in
NEW_SHARE = 0.005
FEW_VALUES = 200  # distinct ones in a sample of a column: up to so many a bitmap index is used
MAX_SHARE = 0.05  # of the rows that pass; a search for more neighbours is exact
SAFETY = 0.3  # more neighbours than a filter passes on average
MANY_CANDIDATES = 500  # fewer cost little
KEEP_COST, SKIP_COST = 2.5, 0.02  # microseconds for one more candidate, and for skipping a row instead of reading its code
FAR_FACTOR = 100  # times as many neighbours are searched where the near rows do not pass the filter
RETRIES = 3  # when the table is rewritten during a search

TARGET_RECALL = 0.972  # to reach in the measurement, on the hardest kind of query
SLACK = 0.01  # of recall, given up for fewer candidates
DEPTHS = (10, 100, 1000)  # numbers of neighbours; a filter that passes a tenth needs ten times as many
MAX_CANDIDATES = {10: 200, 100: 600, 1000: 3000}
MIN_CANDIDATES = 40  # so few cost nothing
PROBE_SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0)  # of the partitions
BLURS = (0.15, 0.5)  # distances of an example from the row it resembles: a re-encoded copy, another take
MIXED_ROWS = 8  # that a text query is mixed from
QUERIES = 32  # of each kind
_TUNING_KEY = "quickstep.search"  # in the metadata of the column
_SCAN, _FETCH = 0.014, 9.0  # microseconds to read a code and to fetch a vector: only their ratio matters
_CATEGORICAL = (pa.types.is_boolean, pa.types.is_string, pa.types.is_integer)
_INDEXED_TYPES = (*_CATEGORICAL, pa.types.is_floating, pa.types.is_date)

Vectors = NDArray[np.float32]
Rows = NDArray[np.uint64]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Effort:
    """How many probes and candidates find `depth` neighbours."""

    depth: int
    probes: int
    candidates: int
    recall: float  # measured

    @property
    def cost(self) -> float:
        """The part of the cost that grows with the candidates; a filter leaves the same share of candidates and neighbours."""
        return self.candidates * (1.0 + _FETCH * min(1.0, DEPTHS[0] / self.depth))


@dataclass(frozen=True)
class Tuning:
    """The measured efforts of an index, from few neighbours to many."""

    rows: int  # in the table at that time
    partitions: int
    efforts: tuple[Effort, ...]

    def effort(self, depth: float) -> Effort:
        """Return the effort for any number of neighbours: interpolated between the measured ones, proportional beyond them."""
        first, last = self.efforts[0], self.efforts[-1]
        if depth <= first.depth:
            return first
        if depth >= last.depth:
            return Effort(math.ceil(depth), last.probes, math.ceil(last.candidates * depth / last.depth), last.recall)
        at = np.log([effort.depth for effort in self.efforts])
        probes, candidates = (
            math.ceil(math.exp(np.interp(math.log(depth), at, np.log(values))))
            for values in ([e.probes for e in self.efforts], [e.candidates for e in self.efforts])
        )
        return Effort(math.ceil(depth), probes, candidates, min(effort.recall for effort in self.efforts))


# -- searching --------------------------------------------------------------------------------------------------------------


def nearest(
    table: Any, vector: ArrayLike, *, limit: int = 10, where: str | None = None, columns: Sequence[str] | None = None, exact: bool = False
) -> pa.Table:
    """Find the rows whose vectors are most similar to `vector`, best first, among those for which `where` (SQL) is true.

    Gives the requested columns (by default all but the vector) and `_distance`, the cosine distance; fewer than `limit` rows where
    there are no more. `exact` compares every row, even where an index exists.
    """
    if limit < 1:
        raise ConfigError("limit", f"must be at least 1, not {limit}")
    schema: pa.Schema = table.schema
    query = _query_vector(vector, schema)
    names = [name for name in schema.names if name != COLUMN] if columns is None else list(columns)
    tuning = None if exact else read_tuning(schema)
    eligible = _count(table, where)
    with translated_errors(str(table.uri), "cannot be read"):
        if tuning is not None and limit <= MAX_SHARE * eligible:
            for _ in range(RETRIES):
                rows = _candidates(table, query, tuning, limit=limit, where=where, eligible=eligible)
                matches = _compare_exactly(table, query, rows, limit=limit, names=names)
                if len(matches) == min(limit, len(rows)):
                    return matches
            _log.info("%s was rewritten during a search; comparing every row instead", table.uri)
        search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").limit(limit).bypass_vector_index()
        search = search if where is None else search.where(where, prefilter=True)
        return search.select([*names, DISTANCE]).to_arrow()


def _query_vector(vector: ArrayLike, schema: pa.Schema) -> Vectors:
    """Return the query as float32 (D,); refuse one that does not fit the table."""
    array = np.asarray(vector, dtype=np.float32).ravel()
    width = schema.field(COLUMN).type.list_size
    if len(array) != width:
        raise QuickstepError(f"the library has vectors of {width} numbers, and this one has {len(array)}: search with the same backbone")
    if not np.isfinite(array).all() or not array.any():
        raise QuickstepError("the query vector must have finite numbers that are not all zero")
    return array


def _count(table: Any, where: str | None) -> int:
    """Count the rows that pass; a filter that cannot be read is refused here."""
    try:
        return int(table.count_rows(where))
    except ValueError as error:
        if where is None:
            raise
        columns = ", ".join(field.name for field in table.schema if field.name != COLUMN and not pa.types.is_binary(field.type))
        raise ConfigError("where", f"{filter_problem(error)}; the columns are {columns}") from error


def _candidates(table: Any, query: Vectors, tuning: Tuning, *, limit: int, where: str | None, eligible: int) -> Rows:
    """Find rows to compare exactly, among them the nearest of the `eligible` ones that pass the filter.

    Skipping rows while reading codes takes longer than reading all codes and dropping what does not pass, as long as enough rows pass.
    Skipping is faster when so few pass that very many candidates would be needed. It is also necessary where the filter and the query
    contradict each other: the rows left are then far away, at similar distances, so more of them are compared.
    """
    if where is None:
        return nearest_codes(table, query, tuning.effort(limit))
    if eligible <= FEW_ROWS:
        rows: Rows = table.search().where(where).limit(None).select([]).with_row_id(True).to_arrow()[ROW].to_numpy()
        return rows
    count = table.count_rows()
    share = eligible / count
    effort = tuning.effort(limit / share * (1 + SAFETY * (1 - share)))
    scanned = count * effort.probes / tuning.partitions
    if effort.candidates > MANY_CANDIDATES and effort.candidates * KEEP_COST > scanned * SKIP_COST:
        few = replace(effort, candidates=tuning.effort(10 * limit).candidates)
        return nearest_codes(table, query, few, where=where, prefilter=True)
    rows = nearest_codes(table, query, effort, where=where)
    if len(rows) >= 0.5 * share * effort.candidates:
        return rows
    return nearest_codes(table, query, tuning.effort(FAR_FACTOR * limit), where=where, prefilter=True)


def nearest_codes(table: Any, query: Vectors, effort: Effort, *, where: str | None = None, prefilter: bool = False) -> Rows:
    """Find the rows with the nearest codes, best first; `where` is applied to the result, or with `prefilter` before the search."""
    search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").limit(effort.candidates).nprobes(effort.probes)
    if where is not None:
        search = search.where(where, prefilter=prefilter)
        search = search.maximum_nprobes(0) if prefilter else search  # continue where the partitions have too few such rows
    rows: Rows = search.select([ROW, DISTANCE]).to_arrow()[ROW].to_numpy()
    return rows


def _compare_exactly(table: Any, query: Vectors, rows: Rows, *, limit: int, names: Sequence[str]) -> pa.Table:
    """Find the nearest among some rows, best first; fewer than `limit` if the table was rewritten meanwhile.

    The columns are read for the result alone, so that no thumbnail is fetched for a candidate.
    """
    fetched = _fetch(table, rows, [COLUMN])
    vectors = vectors_of(fetched)
    lengths = np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(query), 1e-12)
    distances = 1.0 - vectors @ query / lengths
    best = np.argsort(distances, kind="stable")[:limit]
    best_rows = fetched[ROW].take(best)
    payload = _fetch(table, best_rows.to_numpy(), names)
    places = pc.index_in(best_rows, value_set=payload[ROW].combine_chunks())  # the payload has the order of the table
    best_distances = pa.chunked_array([distances[best]], pa.float32()).filter(places.is_valid())
    return payload.take(places.drop_null()).append_column(DISTANCE, best_distances).select([*names, DISTANCE])


def _fetch(table: Any, rows: Rows, names: Sequence[str]) -> pa.Table:
    return table.take_row_ids(rows.tolist()).select(list(names)).with_row_id().to_arrow()


# -- building ---------------------------------------------------------------------------------------------------------------


def ensure_index(table: Any, *, progress: Progress = silent) -> None:
    """Build the index when the table is large enough for one; update it when too many rows are not in it."""
    rows = table.count_rows()
    if rows < EXACT_ROWS:
        return
    tuning = read_tuning(table.schema)
    stats = table.index_stats(INDEX)
    if tuning is None or stats is None or rows > GROWTH * tuning.rows:
        build_index(table, progress=progress)
    elif stats.num_unindexed_rows > max(NEW_ROWS, NEW_SHARE * rows):
        with translated_errors(str(table.uri), "cannot be written"):
            _index_columns(table)
            table.optimize()


def build_index(table: Any, *, progress: Progress = silent, seed: int = 0) -> None:
    """Build the index from all rows, however many, and measure how many probes and candidates it needs."""
    rows = table.count_rows()
    if rows == 0:
        raise QuickstepError("an empty library needs no index; index some videos first")
    with translated_errors(str(table.uri), "cannot be written"):
        progress("index", 0, 3)
        if table.stats()["fragment_stats"]["num_fragments"] > 1:
            table.optimize()  # rows in one file are fetched faster
        progress("index", 1, 3)
        _index_columns(table)
        partitions = max(1, round(rows / PARTITION_ROWS))
        table.create_index(COLUMN, config=_index_config(table, partitions), name=INDEX, replace=True)
        progress("index", 2, 3)
        write_tuning(table, measure_efforts(table, partitions, seed=seed, progress=progress))
        progress("index", 3, 3)


def write_tuning(table: Any, tuning: Tuning) -> None:
    """Keep a tuning in the table that it was measured on."""
    text = json.dumps({"rows": tuning.rows, "partitions": tuning.partitions, "efforts": [astuple(effort) for effort in tuning.efforts]})
    table.update_field_metadata({"path": COLUMN, "metadata": {_TUNING_KEY: text}})


def read_tuning(schema: pa.Schema) -> Tuning | None:
    """Read the tuning of a table; None before the index is complete."""
    text = (schema.field(COLUMN).metadata or {}).get(_TUNING_KEY.encode())
    if text is None:
        return None
    record = json.loads(text)
    return Tuning(record["rows"], record["partitions"], tuple(Effort(*effort) for effort in record["efforts"]))


def _index_config(table: Any, partitions: int) -> Any:
    if table.schema.field(COLUMN).type.list_size % 8:  # codes consist of whole bytes
        return IvfFlat(distance_type="cosine", num_partitions=partitions)
    return IvfRq(distance_type="cosine", num_bits=CODE_BITS, num_partitions=partitions)


def _index_columns(table: Any) -> None:
    """Index the columns of plain values, so that filters on them need not read every row."""
    indexed = {name for index in table.list_indices() for name in index.columns}
    rows = table.count_rows()
    sample = np.unique(np.linspace(0, rows - 1, min(rows, 10 * FEW_VALUES)).astype(int)).tolist()
    for field in table.schema:
        if field.name in indexed or not field.name.isidentifier() or not any(is_type(field.type) for is_type in _INDEXED_TYPES):
            continue
        few = any(is_type(field.type) for is_type in _CATEGORICAL)
        if few:
            values = table.take_offsets(sample).select([field.name]).to_arrow()[field.name]
            few = len(values.unique()) <= FEW_VALUES
        table.create_index(field.name, config=Bitmap() if few else BTree(), name=f"{field.name}_idx")


# -- measuring --------------------------------------------------------------------------------------------------------------


def measure_efforts(table: Any, partitions: int, *, seed: int, progress: Progress) -> Tuning:
    """Measure the least effort that reaches the target recall, for few neighbours and for many."""
    count = table.count_rows()
    depths = [depth for depth in DEPTHS if 2 * MAX_CANDIDATES[depth] <= count] or [DEPTHS[0]]
    queries = _sample_queries(table, count, np.random.default_rng(seed))
    truth = _exact_neighbours(table, queries, depths[-1], count, progress)
    efforts = []
    for number, depth in enumerate(depths):
        progress("measuring the index", number, len(depths))
        # The more neighbours a query has, the fewer queries are needed to measure the recall.
        some = np.arange(len(queries)).reshape(len(BLURS) + 1, -1)[:, : max(8, QUERIES * 20 // (depth + 10))].ravel()
        efforts.append(_least_effort(table, queries[some], truth[some, :depth], partitions))
    progress("measuring the index", len(depths), len(depths))
    return Tuning(count, partitions, tuple(efforts))


def _sample_queries(table: Any, count: int, rng: np.random.Generator) -> Vectors:
    """Make queries as hard as those of users (Q, D), kind by kind.

    Examples lie near a row of the table, moved by the difference of two other rows. Texts lie far from all rows, in the directions in
    which rows differ: the sum of some rows minus the sum of others has both properties.
    """
    places = rng.integers(0, count, 4 * QUERIES)
    own = vectors_of(table.take_offsets(np.unique(places).tolist()).select([COLUMN]).to_arrow())
    own = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    picked = own[rng.integers(0, len(own), (MIXED_ROWS, QUERIES))]  # (MIXED_ROWS, QUERIES, D)
    noise = 1e-3 * rng.standard_normal(picked[0].shape, dtype=np.float32)  # rows may be equal
    examples = [picked[0] + blur * (picked[1] - picked[2]) + noise for blur in BLURS]
    texts = picked[: MIXED_ROWS // 2].sum(axis=0) - picked[MIXED_ROWS // 2 :].sum(axis=0) + noise
    queries: Vectors = np.concatenate([*examples, texts])
    return queries


def _exact_neighbours(table: Any, queries: Vectors, depth: int, count: int, progress: Progress) -> Rows:
    """Find the nearest rows by comparing every one (Q, depth), best first."""
    scores = np.full((len(queries), depth), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), depth), dtype=np.uint64)
    done = 0
    for batch in table.search().limit(None).select([COLUMN]).with_row_id(True).to_batches(8192):
        vectors = vectors_of(batch)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        scores = np.concatenate([scores, queries @ vectors.T / lengths], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(batch[ROW].to_numpy(), (len(queries), len(vectors)))], axis=1)
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        done += len(vectors)
        progress("comparing every row", done, count)
    ordered: Rows = np.take_along_axis(rows, np.argsort(-scores, axis=1, kind="stable"), 1)
    return ordered


def _least_effort(table: Any, queries: Vectors, truth: Rows, partitions: int) -> Effort:
    """Find the cheapest effort that reaches the target recall, else return the largest one."""
    depth, rows = truth.shape[1], table.count_rows()
    best: Effort | None = None
    lowest = math.inf
    for probes in sorted({max(1, round(share * partitions)) for share in PROBE_SHARES}):
        scan = _SCAN * rows * probes / partitions
        if scan >= lowest:
            break
        effort = _fewest_candidates(table, queries, truth, Effort(depth, probes, MAX_CANDIDATES[depth], 0.0))
        if effort.recall >= TARGET_RECALL and scan + effort.cost < lowest:
            best, lowest = effort, scan + effort.cost
        largest = effort
    return best or largest


def _fewest_candidates(table: Any, queries: Vectors, truth: Rows, most: Effort) -> Effort:
    """Find few candidates that reach about the recall of `most` with as many probes."""
    curve = _recalls(table, queries, truth, most)
    # Among many candidates the last ones cost time and add little; among few they cost nothing.
    target = max(min(TARGET_RECALL, curve[-1]), curve[-1] - SLACK * max(1.0, most.depth / DEPTHS[1]))
    candidates = max(MIN_CANDIDATES, int(np.flatnonzero(curve >= target)[0]) + 1)
    while candidates < most.candidates:
        # With a lower limit the index also skips more rows: the first of many candidates reach more than so few alone.
        recall = float(_recalls(table, queries, truth, replace(most, candidates=candidates))[-1])
        if recall >= target:
            return replace(most, candidates=candidates, recall=round(recall, 4))
        candidates = math.ceil(1.4 * candidates)
    return replace(most, recall=round(float(curve[-1]), 4))


def _recalls(table: Any, queries: Vectors, truth: Rows, effort: Effort) -> NDArray[np.float64]:
    """Measure the recall of the hardest kind of query, by the number of candidates that count."""
    hits = np.zeros((len(queries), effort.candidates))
    for number, query in enumerate(queries):
        rows = nearest_codes(table, query, effort)
        hits[number, : len(rows)] = np.isin(rows, truth[number])
    kinds = np.cumsum(hits, axis=1).reshape(len(BLURS) + 1, -1, effort.candidates).mean(axis=1)
    recalls: NDArray[np.float64] = kinds.min(axis=0) / effort.depth
    return recalls
