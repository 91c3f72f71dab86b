"""evaluate_retrieval: how well a library is searched, measured on questions whose right answers are known.

A question is words or an example. Every window of the library belongs to one moment of its ranking, best first, no cut-off and no limit a
video. A moment is right if it is of the given video and overlaps the given span (or of the video at all, where no span is given), or if its
video (or, where no video has a label, its best window) has the given label. Several rows with one question name several right answers.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from quickstep.backbones import Backbone
from quickstep.datasets.readers.text_files import read_text
from quickstep.library.moment_search import all_moments
from quickstep.library.moments import Moment
from quickstep.library.query_filters import ask_example, ask_words
from quickstep.library.schema import quoted
from quickstep.library.table import Library, check_same
from quickstep.library.video_metadata import full
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.confidence_intervals import Interval, bootstrap, share
from quickstep.types.errors import LibraryError, ManifestError
from quickstep.types.progress import Progress, silent

DEPTHS = (1, 5, 10)
DRAWS = 2000
_COLUMNS = ("query", "like", "path", "start", "end", "label")


@dataclass(frozen=True)
class Span:
    """A right answer: a span of a video, or all of it."""

    path: str
    start: float = 0.0
    end: float | None = None

    def holds(self, moment: Moment) -> bool:
        """Whether the moment is of this video and overlaps the span."""
        return moment.path == self.path and moment.end > self.start and (self.end is None or moment.start < self.end)


@dataclass(frozen=True)
class Query:
    """A question with its right answers."""

    text: str
    like: bool
    spans: tuple[Span, ...] = ()
    labels: tuple[str, ...] = ()
    lines: tuple[int, ...] = ()  # of the csv


@dataclass(frozen=True)
class Answered:
    """How one question fared."""

    query: str
    rank: int | None  # of the first right moment
    right: int  # right moments there are
    precision: float  # average precision


@dataclass(frozen=True)
class Retrieval:
    """How well a library is searched."""

    queries: tuple[Answered, ...]
    recall: dict[str, Interval] = field(default_factory=dict)  # "R@1", ...: the share of questions with a right moment so far up
    median_rank: Interval | None = None  # None: half of the questions have no right moment at all
    mean_precision: Interval | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """As a table shows it."""
        told = [(name, f"{each.value:.3f}", f"{each.low:.3f}-{each.high:.3f}") for name, each in self.recall.items()]
        if self.median_rank is not None:
            told.append(("median rank", f"{self.median_rank.value:g}", f"{self.median_rank.low:g}-{self.median_rank.high:g}"))
        if self.mean_precision is not None:
            each = self.mean_precision
            told.append(("mAP", f"{each.value:.3f}", f"{each.low:.3f}-{each.high:.3f}"))
        return told

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def evaluate_retrieval(
    library: Library | str | Path,
    queries: str | Path | Sequence[Query],
    *,
    backbone: Backbone | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
    progress: Progress = silent,
) -> Retrieval:
    """Ask every question and see how far up the right moments are."""
    library = library if isinstance(library, Library) else Library.open(library)
    cache = cache or Cache()
    place = Path(queries) if isinstance(queries, str | Path) else Path("queries")
    asked = read_queries(place) if isinstance(queries, str | Path) else tuple(queries)
    backbone = backbone if backbone is not None else library.backbone(weights=weights, cache=cache)
    check_same(library, backbone)
    right = _Right(library, place)
    for query in asked:
        right.check(query)
    answered = []
    progress("asking", 0, len(asked))
    for number, query in enumerate(asked, start=1):
        ask = ask_example if query.like else ask_words
        question, cutoff = ask(library, query.text, backbone, "NOT gone", cache)
        ranking = all_moments(library, question, cutoff.score if cutoff else None)
        answered.append(judge(query.text, [right.holds(query, moment) for moment in ranking]))
        progress("asking", number, len(asked))
    return summarise(answered)


def judge(query: str, right: Sequence[bool]) -> Answered:
    """The first right rank and the average precision of one ranking."""
    ranks = np.flatnonzero(right) + 1
    precision = float(np.mean(np.arange(1, len(ranks) + 1) / ranks)) if len(ranks) else 0.0
    return Answered(query, int(ranks[0]) if len(ranks) else None, len(ranks), precision)


def summarise(answered: Sequence[Answered], *, seed: int = 0) -> Retrieval:
    """All questions together, with 95 % intervals over questions."""
    ranks = np.array([np.inf if each.rank is None else each.rank for each in answered])
    recall = {f"R@{depth}": _of_queries(share(ranks <= depth, list(range(len(ranks))), seed=seed)) for depth in DEPTHS}
    precisions = np.array([each.precision for each in answered])
    low, high = bootstrap(np.column_stack([precisions, np.ones(len(precisions))]), lambda s: s[:, :1] / s[:, 1:], seed=seed)
    mean = Interval(float(precisions.mean()), max(0.0, float(low[0])), min(1.0, float(high[0])), "queries", len(ranks))
    lost = sum(each.rank is None for each in answered)
    notes = [f"{lost} questions have no right moment in their ranking"] if lost else []
    if len(answered) < 20:
        notes.append(f"only {len(answered)} questions: the intervals are wide, and a rough guess themselves")
    return Retrieval(tuple(answered), recall, _median(ranks, seed), mean, tuple(notes))


def _of_queries(interval: Interval) -> Interval:
    return replace(interval, over="queries", note=interval.note.replace("segments", "queries"))


def _median(ranks: np.ndarray[Any, np.dtype[np.float64]], seed: int) -> Interval | None:
    """The median rank; an end that lies beyond all rankings is the worst rank there is."""
    median = float(np.median(ranks))
    if not np.isfinite(median):
        return None
    drawn = np.random.default_rng(seed).integers(0, len(ranks), (DRAWS, len(ranks)))
    low, high = np.quantile(np.median(ranks[drawn], axis=1), [0.025, 0.975], method="nearest")
    return Interval(median, float(low), float(high if np.isfinite(high) else ranks[np.isfinite(ranks)].max()), "queries", len(ranks))


def read_queries(file: Path) -> tuple[Query, ...]:
    """The questions of a csv, those with the same words joined; paths count from the csv's folder."""
    text = read_text(file)
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    names = [cell.strip().casefold() for cell in rows[0][1]] if rows else []
    if not {"query", "like"} & set(names) or not {"path", "label"} & set(names):
        raise ManifestError(file, "its first line names columns: query or like (what is asked), path[,start,end] or label (what is right)")
    found: dict[tuple[str, bool], Query] = {}
    for line, cells in rows[1:]:
        cell = {name: value.strip() for name, value in zip(names, cells, strict=False) if name in _COLUMNS}
        query = _query(file, line, cell)
        known = found.get((query.text, query.like), Query(query.text, query.like))
        found[query.text, query.like] = replace(
            known, spans=known.spans + query.spans, labels=known.labels + query.labels, lines=known.lines + query.lines
        )
    if not found:
        raise ManifestError(file, "names columns but asks nothing")
    return tuple(found.values())


def _query(file: Path, line: int, cell: dict[str, str]) -> Query:
    words, like, path, label = (cell.get(name, "") for name in ("query", "like", "path", "label"))
    if bool(words) == bool(like):
        raise ManifestError(file, "a row asks one thing: either query (words) or like (a video)", line=line)
    if bool(path) == bool(label):
        raise ManifestError(file, "a row names one right answer: either path (with start and end, if need be) or label", line=line)
    try:
        start = float(cell.get("start") or 0.0)
        end = float(cell["end"]) if cell.get("end") else None
    except ValueError as error:
        raise ManifestError(file, f"start and end are seconds ({error})", line=line) from error
    if not (np.isfinite(start) and start >= 0 and (end is None or (np.isfinite(end) and end > start))):
        raise ManifestError(file, "a span starts at 0 or later and ends after its start", line=line)
    spans = (Span(full(file.parent / path), start, end),) if path else ()
    return Query(words or _placed(file.parent, like), bool(like), spans, (label,) if label else (), (line,))


def _placed(folder: Path, like: str) -> str:
    """An example's path, from the csv's folder."""
    path = Path(like).expanduser()
    return str(path if path.is_absolute() else folder / path)


class _Right:
    """What is right, as far as the library knows."""

    def __init__(self, library: Library, file: Path) -> None:
        self.library, self.file = library, file
        self.by_video = "label" in library.schema.names
        self._paths: set[str] | None = None
        self._labelled: dict[str, set[tuple[str, float | None]]] = {}

    def check(self, query: Query) -> None:
        """Refuse a right answer that the library does not hold: no search could find it."""
        line = query.lines[0] if query.lines else None
        for span in query.spans:
            if span.path not in self.paths:
                raise ManifestError(self.file, f"{span.path} is not in the library", line=line)
        for label in query.labels:
            if not self.labelled(label):
                what = "video" if self.by_video else "window"
                raise ManifestError(self.file, f"no {what} of the library is labelled {label!r}", line=line)

    def holds(self, query: Query, moment: Moment) -> bool:
        """Whether a moment is right."""
        if any(span.holds(moment) for span in query.spans):
            return True
        key = (moment.path, None if self.by_video else moment.best[0])
        return any(key in self.labelled(label) for label in query.labels)

    @property
    def paths(self) -> set[str]:
        if self._paths is None:
            self._paths = set(self.library.rows(["path"], "start = 0 AND NOT gone")["path"].to_pylist())
        return self._paths

    def labelled(self, label: str) -> set[tuple[str, float | None]]:
        """The videos whose column `label` says so; where there is no such column, the windows whose likeliest name it is."""
        if label not in self._labelled:
            if not self.by_video and self.library.count("names IS NOT NULL") == 0:
                raise LibraryError(self.library.uri, "knows no labels: index it with a csv that has a column label, or with --model")
            said = quoted(label)
            where = f"NOT gone AND start = 0 AND label = {said}" if self.by_video else f"NOT gone AND array_element(names, 1) = {said}"
            rows = self.library.rows(["path", "start"], where).to_pylist()
            self._labelled[label] = {(row["path"], None if self.by_video else row["start"]) for row in rows}
        return self._labelled[label]
