"""evaluate_retrieval: measure the search of a library on queries with known answers: recall, median rank, mean average precision.

A query is a text or an example. Its ranking has every moment of the library, best first, without a threshold and without a limit for each
video. A moment is relevant if it is in the given video and overlaps the given span, or if its video has the given label (where videos have
no labels: its best window). Several rows with the same query name several answers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quickstep.backbones import Backbone
from quickstep.datasets.readers.list_files import read_text
from quickstep.library.moment_search import all_moments, example_query, text_query
from quickstep.library.moments import Moment
from quickstep.library.row_writer import full_path
from quickstep.library.table import Library, check_same_backbone, open_library, sql_text
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Interval, bootstrap, share
from quickstep.types.errors import LibraryError, ManifestError
from quickstep.types.progress import Progress, silent

RANKS = (1, 5, 10)  # of recall
SAMPLES = 2000  # of the bootstrap
_COLUMNS = ("query", "like", "path", "start", "end", "label")


@dataclass(frozen=True)
class RelevantSpan:
    """An answer: a span of a video, or all of it."""

    path: str
    start: float = 0.0
    end: float | None = None

    def contains(self, moment: Moment) -> bool:
        """Tell whether the moment is of this video and overlaps the span."""
        return moment.path == self.path and moment.end > self.start and (self.end is None or moment.start < self.end)


@dataclass(frozen=True)
class LabelledQuery:
    """A query with its answers."""

    text: str
    like: bool  # whether the text names an example
    spans: tuple[RelevantSpan, ...] = ()
    labels: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()  # of the csv


@dataclass(frozen=True)
class QueryMetrics:
    """The metrics of one query."""

    query: str
    rank: int | None  # of the first relevant moment
    right: int  # relevant moments in the library
    precision: float  # average precision


@dataclass(frozen=True)
class RetrievalMetrics:
    """The metrics of all queries, with 95 % intervals."""

    queries: tuple[QueryMetrics, ...]
    recall: dict[str, Interval] = field(default_factory=dict)  # "R@1", ...: share of queries with a relevant moment up to this rank
    median_rank: Interval | None = None  # None: half of the queries have no relevant moment
    mean_precision: Interval | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """The metrics as rows of a table."""
        rows = [(name, f"{recall.value:.3f}", f"{recall.low:.3f}-{recall.high:.3f}") for name, recall in self.recall.items()]
        if self.median_rank is not None:
            rows.append(("median rank", f"{self.median_rank.value:g}", f"{self.median_rank.low:g}-{self.median_rank.high:g}"))
        if self.mean_precision is not None:
            mean = self.mean_precision
            rows.append(("mAP", f"{mean.value:.3f}", f"{mean.low:.3f}-{mean.high:.3f}"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the metrics as plain data."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def evaluate_retrieval(
    library: Library | str | Path,
    queries: str | Path | Sequence[LabelledQuery],
    *,
    backbone: Backbone | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> RetrievalMetrics:
    """Run every query of a csv (or a list) and measure the ranks of the relevant moments."""
    library = open_library(library)
    cache = cache or Cache()
    file = Path(queries) if isinstance(queries, str | Path) else Path("queries")
    labelled = read_queries(file) if isinstance(queries, str | Path) else tuple(queries)
    backbone = backbone if backbone is not None else library.backbone(weights=weights, cache=cache)
    check_same_backbone(library, backbone)
    relevance = _Relevance(library, file)
    for query in labelled:
        relevance.check(query)
    metrics = []
    progress("searching", 0, len(labelled))
    for number, query in enumerate(labelled, start=1):
        make_query = example_query if query.like else text_query
        ranking = all_moments(library, make_query(library, query.text, backbone, "NOT gone", cache))
        metrics.append(rank_metrics(query.text, [relevance.is_relevant(query, moment) for moment in ranking]))
        progress("searching", number, len(labelled))
    return summarize(metrics)


def rank_metrics(query: str, relevant: Sequence[bool]) -> QueryMetrics:
    """Compute the first relevant rank and the average precision of one ranking."""
    ranks = np.flatnonzero(relevant) + 1
    precision = float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0
    return QueryMetrics(query, int(ranks[0]) if len(ranks) else None, len(ranks), precision)


def summarize(metrics: Sequence[QueryMetrics], *, seed: int = 0) -> RetrievalMetrics:
    """Combine the metrics of all queries, with 95 % intervals over queries."""
    ranks = np.array([np.inf if query.rank is None else query.rank for query in metrics])
    recall = {f"R@{rank}": _over_queries(share(ranks <= rank, list(range(len(ranks))), seed=seed)) for rank in RANKS}
    precisions = np.array([query.precision for query in metrics])
    low, high = bootstrap(np.column_stack([precisions, np.ones(len(precisions))]), lambda s: s[:, :1] / s[:, 1:], seed=seed)
    mean = Interval(float(precisions.mean()), max(0.0, float(low[0])), min(1.0, float(high[0])), "queries", len(ranks))
    missed = sum(query.rank is None for query in metrics)
    notes = [f"{missed} queries have no relevant moment in their ranking"] if missed else []
    if len(metrics) < 20:
        notes.append(f"only {len(metrics)} queries: the intervals are wide and uncertain")
    return RetrievalMetrics(tuple(metrics), recall, _median_rank(ranks, seed), mean, tuple(notes))


def _over_queries(interval: Interval) -> Interval:
    return replace(interval, over="queries", note=interval.note.replace("segments", "queries"))


def _median_rank(ranks: NDArray[np.float64], seed: int) -> Interval | None:
    """Compute the median rank; an end of the interval beyond all rankings is the worst finite rank."""
    median = float(np.median(ranks))
    if not np.isfinite(median):
        return None
    drawn = np.random.default_rng(seed).integers(0, len(ranks), (SAMPLES, len(ranks)))
    low, high = np.quantile(np.median(ranks[drawn], axis=1), [0.025, 0.975], method="nearest")
    return Interval(median, float(low), float(high if np.isfinite(high) else ranks[np.isfinite(ranks)].max()), "queries", len(ranks))


# -- reading queries --------------------------------------------------------------------------------------------------------


def read_queries(file: str | Path) -> tuple[LabelledQuery, ...]:
    """Read the queries of a csv and join rows with the same query; relative paths count from the csv's folder."""
    file = Path(file)
    text = read_text(file)
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = [(reader.line_num, row) for row in reader if any(value.strip() for value in row)]
    columns = [name.strip().casefold() for name in rows[0][1]] if rows else []
    if not {"query", "like"} & set(columns) or not {"path", "label"} & set(columns):
        raise ManifestError(file, "its first line needs a column query or like (the query), and path[,start,end] or label (the answer)")
    queries: dict[tuple[str, bool], LabelledQuery] = {}
    for line, row in rows[1:]:
        values = {name: value.strip() for name, value in zip(columns, row, strict=False) if name in _COLUMNS}
        query = _read_row(file, line, values)
        before = queries.get((query.text, query.like), LabelledQuery(query.text, query.like))
        queries[query.text, query.like] = replace(
            before, spans=before.spans + query.spans, labels=before.labels + query.labels, lines=before.lines + query.lines
        )
    if not queries:
        raise ManifestError(file, "has columns but no queries")
    return tuple(queries.values())


def _read_row(file: Path, line: int, values: dict[str, str]) -> LabelledQuery:
    words, like, path, label = (values.get(name, "") for name in ("query", "like", "path", "label"))
    if bool(words) == bool(like):
        raise ManifestError(file, "a row needs one query: either query (a text) or like (a video)", line=line)
    if bool(path) == bool(label):
        raise ManifestError(file, "a row needs one answer: either path (with start and end, if only a part is meant) or label", line=line)
    try:
        start = float(values.get("start") or 0.0)
        end = float(values["end"]) if values.get("end") else None
    except ValueError as error:
        raise ManifestError(file, f"start and end are seconds ({error})", line=line) from error
    if not (np.isfinite(start) and start >= 0 and (end is None or (np.isfinite(end) and end > start))):
        raise ManifestError(file, "a span starts at 0 or later and ends after its start", line=line)
    spans = (RelevantSpan(full_path(file.parent / path), start, end),) if path else ()
    return LabelledQuery(words or _resolve(file.parent, like), bool(like), spans, (label,) if label else (), (line,))


def _resolve(folder: Path, like: str) -> str:
    """Return an example's path, relative to the csv's folder."""
    path = Path(like).expanduser()
    return str(path if path.is_absolute() else folder / path)


class _Relevance:
    """Decides which moments are relevant, from the library's labels."""

    def __init__(self, library: Library, file: Path) -> None:
        self.library, self.file = library, file
        self.by_video = "label" in library.schema.names
        self._paths: set[str] | None = None
        self._labelled: dict[str, set[tuple[str, float | None]]] = {}

    def check(self, query: LabelledQuery) -> None:
        """Refuse an answer that is not in the library."""
        line = query.lines[0] if query.lines else None
        for span in query.spans:
            if span.path not in self.paths:
                raise ManifestError(self.file, f"{span.path} is not in the library", line=line)
        for label in query.labels:
            if not self.labelled(label):
                what = "video" if self.by_video else "window"
                raise ManifestError(self.file, f"no {what} of the library has the label {label!r}", line=line)

    def is_relevant(self, query: LabelledQuery, moment: Moment) -> bool:
        """Tell whether a moment is one of the query's answers."""
        if any(span.contains(moment) for span in query.spans):
            return True
        key = (moment.path, None if self.by_video else moment.best[0])
        return any(key in self.labelled(label) for label in query.labels)

    @property
    def paths(self) -> set[str]:
        """The paths of all videos."""
        if self._paths is None:
            self._paths = set(self.library.rows(["path"], "start = 0 AND NOT gone")["path"].to_pylist())
        return self._paths

    def labelled(self, label: str) -> set[tuple[str, float | None]]:
        """Return the videos with this value in the column `label`; without that column, the windows with it as the most probable label."""
        if label not in self._labelled:
            if not self.by_video and self.library.count("names IS NOT NULL") == 0:
                raise LibraryError(self.library.uri, "has no labels: index it with a csv that has a column label, or with a model")
            value = sql_text(label)
            where = f"NOT gone AND start = 0 AND label = {value}" if self.by_video else f"NOT gone AND array_element(names, 1) = {value}"
            rows = self.library.rows(["path", "start"], where).to_pylist()
            self._labelled[label] = {(row["path"], None if self.by_video else row["start"]) for row in rows}
        return self._labelled[label]
