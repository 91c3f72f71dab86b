"""search: find the moments of a library that match a text, an example or a label, best first, with the threshold of a match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from quickstep.backbones import Backbone, require_text
from quickstep.library.ann_index import DISTANCE, nearest
from quickstep.library.config import SearchConfig
from quickstep.library.match_threshold import DIGITS, Threshold, example_threshold, median_score, text_threshold
from quickstep.library.moments import Moment, ScoredWindows, merge, rank, select_best
from quickstep.library.row_writer import full_path
from quickstep.library.table import (
    NO_LABELS,
    Library,
    check_same_backbone,
    describe_columns,
    filter_problem,
    open_library,
    sql_in,
    sql_text,
    vectors_of,
)
from quickstep.library.windows import Vectors, mean_direction, unit
from quickstep.models.feature_extraction import extract
from quickstep.storage.cache import Cache
from quickstep.types.errors import ConfigError, LibraryError, QuickstepError, UnknownName
from quickstep.types.segment import Segment

_WINDOWS_PER_MOMENT = 50  # windows that are searched for each moment wanted
_WIDEN = 4  # times as many, where they were not enough
_SPAN = re.compile(r"(?P<path>.+)@(?P<start>[\d:.]+)-(?P<end>[\d:.]*)", re.DOTALL)


@dataclass(frozen=True)
class SearchResult:
    """The moments that match a query."""

    query: str
    moments: tuple[Moment, ...]  # best first; none below the threshold unless `all` is set
    threshold: Threshold | None  # None: the library has too few videos for an estimate
    good: bool | None  # whether the best moment is a match; None where there is no threshold
    best: float | None = None  # the best score in the library, in `moments` or not

    @property
    def sentences(self) -> tuple[str, ...]:
        """The result in words."""
        if self.threshold is None:
            return ("match threshold: unknown, because the library has too few other videos for an estimate",)
        if self.good:
            return (str(self.threshold),)
        best = "" if self.best is None else f"; the best score is {self.best:.3f}" + ("" if self.moments else " (the option all shows it)")
        return (f"no match for {self.query!r}{best}", str(self.threshold))

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        threshold = self.threshold
        return {
            "query": self.query,
            "good": self.good,
            "best": self.best,
            "threshold": None if threshold is None else threshold.score,
            "false_alarms": None if threshold is None else threshold.false_alarms,
            "moments": [moment.to_json() for moment in self.moments],
        }


@dataclass(frozen=True, eq=False)
class Query:
    """A vector to search for, the windows to search in, and the score from which a window matches."""

    text: str
    vector: Vectors  # (D,)
    where: str  # SQL
    threshold: Threshold | None

    @property
    def level(self) -> float | None:
        """The score of the threshold."""
        return None if self.threshold is None else self.threshold.score


def search(
    library: Library | str | Path,
    words: str | None = None,
    config: SearchConfig | None = None,
    *,
    backbone: Backbone | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
) -> SearchResult:
    """Find the moments of a library that match a text, an example or a label best."""
    library = open_library(library)
    config, cache = config or SearchConfig(), cache or Cache()
    if (words is not None and config.like is not None) or not (words is not None or config.like is not None or config.label):
        raise QuickstepError("name one thing to search for: a text or an example; a label can be added, or stand alone")
    where = window_filter(library, config)
    if words is None and config.like is None:
        return _search_label(library, str(config.label), where, config)
    if backbone is None:
        backbone = library.backbone(weights=weights, cache=cache)
    check_same_backbone(library, backbone)
    make_query = text_query if words is not None else example_query
    query = make_query(library, words if words is not None else str(config.like), backbone, where, cache)
    return _result(library, query.text, _nearest_moments(library, query, config), query.threshold, config)


# -- queries ----------------------------------------------------------------------------------------------------------------


def text_query(library: Library, words: str, backbone: Backbone, where: str, cache: Cache) -> Query:
    """Make a query from a text. The text itself is not cached."""
    text = " ".join(words.split())
    if not text:
        raise QuickstepError("the text to search for is empty; write one, or search by an example or a label")
    vectors = unit(np.asarray(require_text(backbone).embed_text([text]), dtype=np.float32))
    width = library.card.width
    if vectors.shape[1] != width:
        raise LibraryError(library.uri, f"has vectors of {width} numbers, and {backbone.name} gives text vectors of {vectors.shape[1]}")
    _check_vector(vectors[0], text, backbone)
    return Query(text, vectors[0], where, text_threshold(library, backbone, where, cache))


def example_query(library: Library, like: str, backbone: Backbone, where: str, cache: Cache) -> Query:
    """Make a query from an example, a video or a span of one; the windows it was taken from are not searched."""
    segment = read_example(like)
    extracted = extract([segment], backbone, view=library.card.view, cache=cache).check(strict=True)
    vector = mean_direction(unit(extracted.features[segment].values))
    _check_vector(vector, like, backbone)
    own = f"path = {sql_text(full_path(segment.path))}"
    if segment.start or segment.end is not None:  # other moments of the same video may match
        own += f" AND end > {segment.start!r}" + (f" AND start < {segment.end!r}" if segment.end is not None else "")
    threshold = example_threshold(library, vector, where, cache, digest=cache.digest(segment.path))
    return Query(f"like {like}", vector, f"({where}) AND NOT ({own})", threshold)


def read_example(like: str) -> Segment:
    """Read `video.mp4`, `video.mp4@12.5-16` or `video.mp4@1:02-1:10`; a file of exactly that name is that file."""
    match = _SPAN.fullmatch(like)
    if match is None or Path(like).expanduser().exists():
        return Segment(Path(like).expanduser())
    start, end = (_seconds(match[part], like) for part in ("start", "end"))
    if end is not None and end <= (start or 0.0):
        raise ConfigError("like", f"{like}: a span ends after its start")
    return Segment(Path(match["path"]).expanduser(), start=start or 0.0, end=end)


def _seconds(text: str, like: str) -> float | None:
    if not text:
        return None
    try:
        parts = [float(part) for part in text.split(":")]
        return sum((part * 60.0**place for place, part in enumerate(reversed(parts))), 0.0)
    except ValueError:
        raise ConfigError("like", f"{like}: {text!r} is not a time; write VIDEO@12.5-16 or VIDEO@1:02-1:10") from None


def _check_vector(vector: Vectors, text: str, backbone: Backbone) -> None:
    if not np.isfinite(vector).all() or not vector.any():
        raise QuickstepError(f"{backbone.name} gives no usable vector for {text!r}")


def window_filter(library: Library, config: SearchConfig) -> str:
    """Return SQL for the windows to search in: those of files that exist, and what the config demands."""
    clauses = ["NOT gone"]
    if config.where is not None:
        _check_where(library, config.where)
        clauses.append(f"({config.where}\n)")
    if config.label is not None:
        label = sql_text(config.label)
        if config.min_score is None:
            clauses.append(f"array_element(names, 1) = {label}")
        else:
            place = f"cast(array_position(names, {label}) as bigint)"
            clauses.append(f"(array_has(names, {label}) AND array_element(scores, {place}) >= {config.min_score - 1e-7!r})")
    return " AND ".join(clauses)


def _check_where(library: Library, where: str) -> None:
    try:
        library.table.search().where(where).select(["start"]).limit(1).to_arrow()
    except (ValueError, RuntimeError, OSError) as error:
        raise ConfigError("where", f"{filter_problem(error)}; the columns are {describe_columns(library.schema)}") from error


# -- ranking ----------------------------------------------------------------------------------------------------------------


def all_moments(library: Library, query: Query) -> list[Moment]:
    """Rank every moment of a library exactly, best first."""
    rows = pa.concat_tables(
        [
            pa.Table.from_batches([batch]).drop_columns("vector").append_column("score", [_scores(batch, query.vector)])
            for batch in library.batches(["path", "start", "end", "vector"], query.where)
        ]
        or [library.rows(["path", "start", "end"], "false").append_column("score", [pa.array([], pa.float64())])]
    )
    return rank(_merge_rows(rows, rows["score"].to_numpy(), query.level, median_score(library, query.vector)))


def _nearest_moments(library: Library, query: Query, config: SearchConfig) -> list[Moment]:
    """Find the best moments: the nearest windows give the videos, and all windows of those videos are merged."""
    median = median_score(library, query.vector)
    limit = _WINDOWS_PER_MOMENT * config.top
    while True:
        windows = nearest(library.table, query.vector, limit=limit, where=query.where, columns=["path"])
        paths = list(dict.fromkeys(windows["path"].to_pylist()))
        lowest = 1.0 - float(windows[DISTANCE][-1].as_py()) if len(windows) else 0.0
        if config.per_video == 1:
            paths = paths[: config.top + 1]  # one more, so that equal scores are ordered by path
        rows = library.rows(["path", "start", "end", "vector"], f"({query.where}) AND {sql_in('path', paths)}")
        moments = _merge_rows(rows, _scores(rows, query.vector), query.level, median)
        moments = select_best(moments, top=config.top, per_video=config.per_video)
        certain = sum(moment.score >= lowest for moment in moments)
        if len(windows) < limit or certain >= config.top:
            return moments
        limit *= _WIDEN


def _merge_rows(rows: pa.Table, scores: NDArray[np.float64], level: float | None, median: float) -> list[Moment]:
    """Merge windows into moments, video by video."""
    if len(rows) == 0:
        return []
    paths = rows["path"].combine_chunks().dictionary_encode()
    videos, numbers = paths.dictionary.to_pylist(), paths.indices.to_numpy()
    spans = np.stack([rows["start"].to_numpy(), rows["end"].to_numpy()], axis=1)
    order = np.lexsort((spans[:, 0], numbers))
    edges = np.flatnonzero(np.diff(numbers[order])) + 1
    moments: list[Moment] = []
    for own in np.split(order, edges):
        windows = ScoredWindows(videos[numbers[own[0]]], spans[own], scores[own])
        moments += merge(windows, threshold=level, median_score=median)
    return moments


def _scores(rows: pa.Table | pa.RecordBatch, vector: Vectors) -> NDArray[np.float64]:
    scores: NDArray[np.float64] = np.round(vectors_of(rows).astype(np.float64) @ vector.astype(np.float64), DIGITS)
    return scores


def _search_label(library: Library, label: str, where: str, config: SearchConfig) -> SearchResult:
    """Find the windows with a label, ranked by its probability."""
    rows = library.rows(["path", "start", "end", "names", "scores"], where)
    labelled = zip(rows["names"].to_pylist(), rows["scores"].to_pylist(), strict=True)
    scores = np.array([round(float(scores[names.index(label)]), DIGITS) for names, scores in labelled], dtype=np.float64)
    if len(rows) == 0:
        _check_label(library, label)
    level = config.min_score or 0.0
    moments = select_best(_merge_rows(rows, scores, level, 0.0), top=config.top, per_video=config.per_video)
    basis = "windows in which it is the most probable label" if config.min_score is None else "the lowest probability, as set"
    return _result(library, f"label {label}", moments, Threshold(level, basis), config)


def _check_label(library: Library, label: str) -> None:
    """Refuse a label that no window has, unless the library has no windows for other reasons."""
    labels = library.labels()
    if not labels:
        raise LibraryError(library.uri, NO_LABELS)
    if label not in labels:
        raise UnknownName("label", label, labels)


def _result(library: Library, query: str, moments: list[Moment], threshold: Threshold | None, config: SearchConfig) -> SearchResult:
    best = moments[0].score if moments else None
    good = None if threshold is None else best is not None and threshold.is_match(best)
    if threshold is not None and threshold.false_alarms is not None and not config.all:
        moments = [moment for moment in moments if threshold.is_match(moment.score)]
    return SearchResult(query, tuple(_with_details(library, moments)), threshold, good, best)


def _with_details(library: Library, moments: Sequence[Moment]) -> list[Moment]:
    """Add thumbnails, labels and metadata to moments."""
    if not moments:
        return []
    columns = library.metadata_columns
    clause = " OR ".join(f"(path = {sql_text(moment.path)} AND start = {moment.best[0]!r})" for moment in moments)
    rows = library.rows(["path", "start", "names", "scores", "thumbnail", *columns], clause).to_pylist()
    by_window = {(row["path"], row["start"]): row for row in rows}
    detailed = []
    for moment in moments:
        row = by_window[(moment.path, moment.best[0])]
        names = {name: round(float(score), 4) for name, score in zip(row["names"] or (), row["scores"] or (), strict=True)}
        metadata = {name: row[name] for name in columns if row[name] is not None}
        detailed.append(replace(moment, names=names, metadata=metadata, thumbnail=row["thumbnail"] or b""))
    return detailed
