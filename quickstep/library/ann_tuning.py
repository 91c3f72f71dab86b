"""How hard a vector index must be searched to find what a look at every row finds: tried on the table itself, remembered in it.

The index keeps a short code of each vector, in partitions of like ones. A search looks into some partitions (`probes`), takes the
rows with the nearest codes (`candidates`) and compares those exactly. How many of both it needs depends on the data: footage lies in
clusters, where a few partitions do; in vectors without any order all of them must be looked into. Knows no question of a user.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quickstep.library.schema import vectors_of
from quickstep.types.progress import Progress

COLUMN = "vector"
DISTANCE = "_distance"  # the cosine distance: 1 - cosine
ROW = "_rowid"

TARGET = 0.972  # recall to reach in the trial, on the hardest kind of its questions
SLACK = 0.01  # of recall, given up for fewer candidates
DEPTHS = (10, 100, 1000)  # how many neighbours are asked for; a filter that lets a tenth pass must find ten times as many
MOST = {10: 200, 100: 600, 1000: 3000}  # candidates, at most
FEWEST = 40  # candidates: so few cost nothing
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0)  # of the partitions
BLURS = (0.15, 0.5)  # how far an example lies from the row it is like: a re-encoded copy, another take
MIXED = 8  # rows that words are made of
QUESTIONS = 32  # of each kind
_KEY = "quickstep.search"  # in the metadata of the column
_SCAN, _TAKE = 0.014, 9.0  # microseconds to look at a code, and to fetch a vector: only their ratio matters

Vectors = NDArray[np.float32]
Rows = NDArray[np.uint64]


@dataclass(frozen=True)
class Effort:
    """What it takes to find so many neighbours."""

    depth: int
    probes: int
    candidates: int
    recall: float  # what it reached in the trial

    @property
    def cost(self) -> float:
        """What grows with the candidates: those compared exactly, of which a filter leaves as many as it leaves neighbours."""
        return self.candidates * (1.0 + _TAKE * min(1.0, DEPTHS[0] / self.depth))


@dataclass(frozen=True)
class Tuning:
    """What the trial of an index found, from few neighbours to many."""

    rows: int  # in the table at that time
    partitions: int
    efforts: tuple[Effort, ...]

    def effort(self, depth: float) -> Effort:
        """What it takes to find any number of neighbours: between the numbers that were tried, and in proportion beyond them."""
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


def remember(table: Any, tuning: Tuning) -> None:
    """Keep a tuning in the table it is true of."""
    text = json.dumps({"rows": tuning.rows, "partitions": tuning.partitions, "efforts": [astuple(effort) for effort in tuning.efforts]})
    table.update_field_metadata({"path": COLUMN, "metadata": {_KEY: text}})


def remembered(schema: pa.Schema) -> Tuning | None:
    """The tuning in a table; there is none before the index is whole."""
    text = (schema.field(COLUMN).metadata or {}).get(_KEY.encode())
    if text is None:
        return None
    kept = json.loads(text)
    return Tuning(kept["rows"], kept["partitions"], tuple(Effort(*effort) for effort in kept["efforts"]))


def by_codes(table: Any, query: Vectors, effort: Effort, *, where: str | None = None, first: bool = False) -> Rows:
    """The rows whose codes are nearest, best first; those of which `where` is not true are left out, at the end or `first`."""
    search = table.search(query, vector_column_name=COLUMN).distance_type("cosine").limit(effort.candidates).nprobes(effort.probes)
    if where is not None:
        search = search.where(where, prefilter=first)
        search = search.maximum_nprobes(0) if first else search  # look further where a partition has too few of them
    rows: Rows = search.select([ROW, DISTANCE]).to_arrow()[ROW].to_numpy()
    return rows


def try_out(table: Any, partitions: int, *, seed: int, progress: Progress) -> Tuning:
    """The least effort that finds as many neighbours as it should, for few neighbours and for many."""
    count = table.count_rows()
    depths = [depth for depth in DEPTHS if 2 * MOST[depth] <= count] or [DEPTHS[0]]
    questions = _questions(table, count, np.random.default_rng(seed))
    truth = _exact(table, questions, depths[-1], count, progress)
    efforts = []
    for number, depth in enumerate(depths):
        progress("trying the index", number, len(depths))
        # The more neighbours each question has, the fewer questions tell the recall as well.
        some = np.arange(len(questions)).reshape(len(BLURS) + 1, -1)[:, : max(8, QUESTIONS * 20 // (depth + 10))].ravel()
        efforts.append(_least(table, questions[some], truth[some, :depth], partitions))
    progress("trying the index", len(depths), len(depths))
    return Tuning(count, partitions, tuple(efforts))


def _questions(table: Any, count: int, rng: np.random.Generator) -> Vectors:
    """Vectors as hard to place as what will be asked (Q, D), kind by kind.

    Examples lie near a row of the table, blurred by what tells two other rows apart. Words lie far from all rows, and spread as rows
    differ from each other: as many rows as others, taken from them, leave that and come near none of either.
    """
    places = rng.integers(0, count, 4 * QUESTIONS)
    own = vectors_of(table.take_offsets(np.unique(places).tolist()).select([COLUMN]).to_arrow())
    own = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1e-12)
    picked = own[rng.integers(0, len(own), (MIXED, QUESTIONS))]  # (MIXED, QUESTIONS, D)
    noise = 1e-3 * rng.standard_normal(picked[0].shape, dtype=np.float32)  # rows may be equal
    examples = [picked[0] + blur * (picked[1] - picked[2]) + noise for blur in BLURS]
    words = picked[: MIXED // 2].sum(axis=0) - picked[MIXED // 2 :].sum(axis=0) + noise
    questions: Vectors = np.concatenate([*examples, words])
    return questions


def _exact(table: Any, questions: Vectors, depth: int, count: int, progress: Progress) -> Rows:
    """The nearest rows by a look at every one (Q, depth), best first."""
    scores = np.full((len(questions), depth), -np.inf, dtype=np.float32)
    rows = np.zeros((len(questions), depth), dtype=np.uint64)
    done = 0
    for batch in _batches(table):
        vectors = vectors_of(batch)
        lengths = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
        scores = np.concatenate([scores, questions @ vectors.T / lengths], axis=1)
        rows = np.concatenate([rows, np.broadcast_to(batch[ROW].to_numpy(), (len(questions), len(vectors)))], axis=1)
        best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        done += len(vectors)
        progress("looking at every row", done, count)
    found: Rows = np.take_along_axis(rows, np.argsort(-scores, axis=1, kind="stable"), 1)
    return found


def _batches(table: Any) -> Iterator[pa.RecordBatch]:
    yield from table.search().limit(None).select([COLUMN]).with_row_id(True).to_batches(8192)


def _least(table: Any, questions: Vectors, truth: Rows, partitions: int) -> Effort:
    """The cheapest effort that reaches the target, else the hardest one."""
    depth, rows = truth.shape[1], table.count_rows()
    best: Effort | None = None
    least = math.inf
    for probes in sorted({max(1, round(share * partitions)) for share in SHARES}):
        scan = _SCAN * rows * probes / partitions
        if scan >= least:
            break
        effort = _reached(table, questions, truth, Effort(depth, probes, MOST[depth], 0.0))
        if effort.recall >= TARGET and scan + effort.cost < least:
            best, least = effort, scan + effort.cost
        hardest = effort
    return best or hardest


def _reached(table: Any, questions: Vectors, truth: Rows, most: Effort) -> Effort:
    """Few candidates that reach about what the most of them do with so many probes, and the recall they reach."""
    curve = _recalls(table, questions, truth, most)
    # Among many candidates the last ones cost time and bring little; among few they cost nothing.
    aim = max(min(TARGET, curve[-1]), curve[-1] - SLACK * max(1.0, most.depth / DEPTHS[1]))
    candidates = max(FEWEST, int(np.flatnonzero(curve >= aim)[0]) + 1)
    while candidates < most.candidates:
        # Asked for fewer, the index also passes over rows sooner: what the first of many reach is not what so few reach.
        recall = float(_recalls(table, questions, truth, replace(most, candidates=candidates))[-1])
        if recall >= aim:
            return replace(most, candidates=candidates, recall=round(recall, 4))
        candidates = math.ceil(1.4 * candidates)
    return replace(most, recall=round(float(curve[-1]), 4))


def _recalls(table: Any, questions: Vectors, truth: Rows, effort: Effort) -> NDArray[np.float64]:
    """The recall of the hardest kind of questions, by how many of the candidates count."""
    hits = np.zeros((len(questions), effort.candidates))
    for number, question in enumerate(questions):
        found = by_codes(table, question, effort)
        hits[number, : len(found)] = np.isin(found, truth[number])
    kinds = np.cumsum(hits, axis=1).reshape(len(BLURS) + 1, -1, effort.candidates).mean(axis=1)
    recalls: NDArray[np.float64] = kinds.min(axis=0) / effort.depth
    return recalls
