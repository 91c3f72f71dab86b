"""From which score on something was really found: what searches for things that are not there reach in this very library.

The best score of many windows is high by chance alone, and how high depends on the library, on its size, and on the network.

For words, unrelated searches are made, several hundred everyday phrases, and the best score of each is kept: it is the best of as many
windows as a real search has. The cut-off is the score that only so many in a hundred of them pass. Some of the "unrelated" do find what
they name, so the upper tail is bounded by what the lower half leads one to expect of the best of many: a Gumbel law.

For an example, most windows are unrelated to it, and how they score is a bell whose lower half no match disturbs: the cut-off is what
the best of so many windows of that bell rarely passes. Where there are enough videos, how like its nearest other video each one is
bounds it too; each of the two is allowed half of the false alarms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from quickstep.backbones import Backbone
from quickstep.library.ann_index import nearest
from quickstep.library.ann_tuning import DISTANCE
from quickstep.library.query_vectors import texts_to_vectors
from quickstep.library.reference_phrases import PHRASES
from quickstep.library.schema import quoted, vectors_of
from quickstep.library.table import Library
from quickstep.library.windows import Slicing, Vectors
from quickstep.storage.cache import Cache, hash_of

DIGITS = 6  # of a score; what differs less is equal, however it was computed
RATE = 0.05  # searches for what is not there that may pass
FEWEST = 8  # unrelated searches from which anything can be said
SAMPLE = 4096  # windows that stand for all
SAME = 0.999  # what is as like as this is the same, whatever else there is
EXAMPLES = 300  # videos that stand for unrelated examples
SCANNED = 200_000  # windows up to which all are looked at; beyond, the index is asked
VERSION = 1
# Quantiles of the standard Gumbel law: how far 1 - RATE lies beyond the median, in units of (median - first tenth).
_GUMBEL = [-math.log(-math.log(p)) for p in (0.1, 0.5, 1 - RATE)]
_REACH = (_GUMBEL[2] - _GUMBEL[1]) / (_GUMBEL[1] - _GUMBEL[0])


@dataclass(frozen=True)
class Cutoff:
    """The lowest score that counts as found, and what it was estimated from."""

    score: float
    basis: str  # in words
    false_alarms: float | None = None  # of searches for what is not there, the share that passes
    searches: int = 0  # unrelated ones that were made

    def __str__(self) -> str:
        if self.false_alarms is None:
            return f"cut-off {self.score:.3f}: {self.basis}"
        rate = f"about {100 * self.false_alarms:.0f} in 100 searches for what is not there reach it"
        return f"cut-off {self.score:.3f}: {rate} (from {self.searches} {self.basis})"


def threshold(best: NDArray[np.float64], rate: float = RATE) -> float | None:
    """The score that a share of `rate` of unrelated searches passes; None where there are too few to tell."""
    if len(best) < FEWEST:
        return None
    ordered = np.sort(best)
    place = math.ceil((1 - rate) * (len(ordered) + 1))
    seen = float(ordered[place - 1]) if place <= len(ordered) else math.inf
    tenth, median = np.quantile(ordered, [0.1, 0.5])
    return min(seen, float(median + _REACH * (median - tenth)))


def of_words(library: Library, backbone: Backbone, where: str, cache: Cache) -> Cutoff | None:
    """The cut-off for words, among the windows of which `where` is true."""

    def reach() -> NDArray[np.float64]:
        return best_scores(library, texts_to_vectors(PHRASES, backbone, library, cache=cache), where)

    best = _remembered(library, "words", where, cache, reach)
    return _cutoff(best, "unrelated phrases")


def of_example(library: Library, example: Vectors, where: str, cache: Cache, *, digest: str) -> Cutoff | None:
    """The cut-off for an example (D,), among the windows of which `where` is true; those of its own bytes tell nothing."""

    def reach() -> NDArray[np.float64]:
        vectors, digests = _one_a_video(library, where)
        return best_scores(library, vectors, where, apart=digests)

    some = sample(library, f"({where}) AND digest <> {quoted(digest)}")
    if len(some) < FEWEST:
        return None
    bell = bell_threshold(some.astype(np.float64) @ example.astype(np.float64), library.count(where), RATE / 2)
    nearest_others = np.sort(_remembered(library, "examples", where, cache, reach))
    place = math.ceil((1 - RATE / 2) * (len(nearest_others) + 1))
    seen = float(nearest_others[place - 1]) if place <= len(nearest_others) else math.inf
    return Cutoff(round(min(bell, seen, SAME), DIGITS), "windows of other videos", RATE, len(some))


def bell_threshold(scores: NDArray[np.float64], windows: int, rate: float) -> float:
    """What the best of so many windows passes with this probability, if they scored as the lower half of these do."""
    tenth, median = np.quantile(scores, [0.1, 0.5])
    spread = max(float(median - tenth), 1e-6) / -float(stats.norm.ppf(0.1))
    certain = max(3, len(scores) // 4)  # two quantiles of few scores know little of the bell: then its tail is Student's
    return float(median + spread * stats.t.isf(rate / max(1, windows), certain))


def best_scores(library: Library, queries: Vectors, where: str, *, apart: Sequence[str] | None = None) -> NDArray[np.float64]:
    """The best score of each query (Q, D) among the windows; with `apart`, windows of the digest beside a query do not count."""
    best = np.full(len(queries), -np.inf)
    if len(queries) == 0:
        return best
    if library.count(where) > SCANNED:
        return np.array([_best_by_index(library, query, where, apart[i] if apart else None) for i, query in enumerate(queries)])
    own = np.array(apart) if apart is not None else None
    for batch in library.batches(["vector", "digest"], where):
        scores = vectors_of(batch).astype(np.float64) @ queries.astype(np.float64).T  # (n, Q)
        if own is not None:
            scores[np.array(batch["digest"].to_pylist())[:, None] == own[None, :]] = -np.inf
        best = np.maximum(best, scores.max(axis=0))
    return best


def usual_score(library: Library, query: Vectors) -> float:
    """What this query scores with a window of no account: the median over windows from all through the library."""
    some = sample(library)
    return float(np.median(some.astype(np.float64) @ query.astype(np.float64))) if len(some) else 0.0


def sample(library: Library, where: str | None = None) -> Vectors:
    """Vectors of windows from all through the library, or through the part of which `where` is true."""
    count = library.count()
    if where is not None and count <= SCANNED // 10:
        return vectors_of(library.rows(["vector"], where))
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)).tolist()
    return (
        vectors_of(library.table.take_offsets(rows).select(["vector"]).to_arrow())
        if rows
        else np.empty((0, library.card.width), np.float32)
    )


def _best_by_index(library: Library, query: Vectors, where: str, apart: str | None) -> float:
    if not query.any():
        return 0.0
    clause = where if apart is None else f"({where}) AND digest <> {quoted(apart)}"
    found = nearest(library.table, query, limit=1, where=clause, columns=["start"])
    return 1.0 - float(found[DISTANCE][0].as_py()) if len(found) else -math.inf


def _one_a_video(library: Library, where: str) -> tuple[Vectors, list[str]]:
    """The middle window of some videos, evenly drawn, and their digests."""
    slicing = Slicing(library.card.window, library.card.hop, library.card.looking, library.card.single_frames)
    middle: dict[str, tuple[str, float]] = {}  # digest -> path, start
    for batch in library.batches(["path", "digest", "duration"], f"start = 0 AND ({where})"):
        for row in batch.to_pylist():
            spans = slicing.spans(row["duration"])
            middle[row["digest"]] = (row["path"], float(spans[len(spans) // 2, 0]))
    digests = sorted(middle)
    chosen = [digests[i] for i in np.unique(np.linspace(0, len(digests) - 1, min(len(digests), EXAMPLES)).astype(int))] if digests else []
    clause = " OR ".join(f"(path = {quoted(middle[d][0])} AND start = {middle[d][1]!r})" for d in chosen)
    rows = library.rows(["vector", "digest"], clause or "false")
    return vectors_of(rows), rows["digest"].to_pylist()


def _remembered(library: Library, kind: str, where: str, cache: Cache, reach: object) -> NDArray[np.float64]:
    """The best scores, from the cache as long as the library stays as it is."""
    key = {
        "version": VERSION,
        "kind": kind,
        "library": library.uri,
        "created": library.card.created,
        "state": library.table.version,
        "where": where,
        "phrases": hash_of(list(PHRASES)),
    }
    known = cache.recall("cutoff", key)
    if known is None:
        assert callable(reach)
        known = [float(score) for score in reach() if math.isfinite(score)]
        cache.remember("cutoff", key, known)
    return np.array(known, dtype=np.float64)


def _cutoff(best: NDArray[np.float64], basis: str) -> Cutoff | None:
    score = threshold(best)
    return None if score is None else Cutoff(round(score, DIGITS), basis, RATE, len(best))
