"""search: words, an example or a name -> moments, best first, and from which score on they count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from quickstep.backbones import Backbone
from quickstep.library import match_threshold
from quickstep.library.ann_index import nearest
from quickstep.library.ann_tuning import DISTANCE
from quickstep.library.config import SearchConfig
from quickstep.library.match_threshold import DIGITS, Cutoff
from quickstep.library.moments import Moment, Scored, merge, ranked, spread
from quickstep.library.query_filters import Question, ask_example, ask_words, windows_asked
from quickstep.library.schema import NO_NAMES, OWN, among, quoted, vectors_of
from quickstep.library.table import Library, check_same
from quickstep.library.windows import Vectors
from quickstep.storage.cache import Cache
from quickstep.types.errors import LibraryError, QuickstepError, UnknownName

_FIRST = 50  # windows asked for, for each moment wanted
_MORE = 4


@dataclass(frozen=True)
class Found:
    """What was found."""

    query: str
    moments: tuple[Moment, ...]  # best first; none below the cut-off unless asked for
    cutoff: Cutoff | None  # None: the library is too small to tell
    good: bool | None  # whether the best is a match; None where that is not known
    best: float | None = None  # the best score there is, shown or not

    @property
    def sentences(self) -> tuple[str, ...]:
        """What one should know about it."""
        if self.cutoff is None:
            return ("cut-off: not known, there are too few other videos here to tell what a good match is",)
        if self.good:
            return (str(self.cutoff),)
        least = "" if self.best is None else f"; the best is {self.best:.3f}" + ("" if self.moments else ", --all shows it")
        return (f"no good match for {self.query!r}{least}", str(self.cutoff))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        cutoff = self.cutoff
        return {
            "query": self.query,
            "good": self.good,
            "best": self.best,
            "cutoff": None if cutoff is None else cutoff.score,
            "false_alarms": None if cutoff is None else cutoff.false_alarms,
            "moments": [_plain(moment) for moment in self.moments],
        }


def search(
    library: Library | str | Path,
    words: str | None = None,
    config: SearchConfig | None = None,
    *,
    backbone: Backbone | None = None,
    weights: str | Path | None = None,
    cache: Cache | None = None,
) -> Found:
    """The moments of a library that match words, an example or a label best."""
    library = library if isinstance(library, Library) else Library.open(library)
    config, cache = config or SearchConfig(), cache or Cache()
    asked = [name for name, value in (("words", words), ("--like", config.like)) if value is not None]
    if len(asked) == 2 or not (asked or config.label):
        raise QuickstepError("say what to find: either words or --like VIDEO; --label and --where go with each, --label also alone")
    where = windows_asked(library, config)
    if not asked:
        return _by_label(library, Question(f"label {config.label}", where, label=config.label), config)
    if backbone is None:
        backbone = library.backbone(weights=weights, cache=cache)
    check_same(library, backbone)
    ask = ask_words if words is not None else ask_example
    question, cutoff = ask(library, words or config.like or "", backbone, where, cache)
    moments = _nearest_moments(library, question, config, cutoff.score if cutoff else None)
    return _answer(library, question, moments, cutoff, config)


def all_moments(library: Library, question: Question, cutoff: float | None) -> list[Moment]:
    """Every moment of a library, best first: the whole ranking, exact, whatever the index says."""
    assert question.vector is not None
    usual = match_threshold.usual_score(library, question.vector)
    spans: dict[str, list[tuple[float, float, float]]] = {}
    for batch in library.batches(["path", "start", "end", "vector"], question.where):
        scores = _scores(vectors_of(batch), question.vector)
        columns = (batch[name].to_pylist() for name in ("path", "start", "end"))
        for path, start, end, score in zip(*columns, scores.tolist(), strict=True):
            spans.setdefault(path, []).append((start, end, score))
    moments: list[Moment] = []
    for path, rows in spans.items():
        table = np.array(sorted(rows))
        moments += merge(Scored(path, table[:, :2], table[:, 2]), cutoff=cutoff, usual=usual)
    return ranked(moments)


def _nearest_moments(library: Library, question: Question, config: SearchConfig, cutoff: float | None) -> list[Moment]:
    """The best moments: the nearest windows name the videos, and all windows of those are merged."""
    assert question.vector is not None
    usual = match_threshold.usual_score(library, question.vector)
    limit = _FIRST * config.top
    while True:
        found = nearest(library.table, question.vector, limit=limit, where=question.where, columns=["path"])
        paths = list(dict.fromkeys(found["path"].to_pylist()))
        lowest = 1.0 - float(found[DISTANCE][-1].as_py()) if len(found) else 0.0
        if config.per_video == 1:
            paths = paths[: config.top + 1]  # one more, so that equals are told apart by path
        moments = spread(_moments_of(library, question, paths, cutoff, usual), top=config.top, per_video=config.per_video)
        certain = sum(moment.score >= lowest for moment in moments)
        if len(found) < limit or certain >= config.top:
            return moments
        limit *= _MORE


def _moments_of(library: Library, question: Question, paths: Sequence[str], cutoff: float | None, usual: float) -> list[Moment]:
    assert question.vector is not None
    rows = library.rows(["path", "start", "end", "vector"], f"({question.where}) AND {among('path', paths)}")
    return _merged(rows, _scores(vectors_of(rows), question.vector), cutoff, usual)


def _merged(rows: pa.Table, scores: np.ndarray[Any, np.dtype[np.float64]], cutoff: float | None, usual: float) -> list[Moment]:
    """The moments of some windows, video by video."""
    paths = np.array(rows["path"].to_pylist(), dtype=object)
    spans = np.stack([rows["start"].to_numpy(), rows["end"].to_numpy()], axis=1) if len(rows) else np.zeros((0, 2))
    moments: list[Moment] = []
    for path in dict.fromkeys(paths.tolist()):
        own = np.flatnonzero(paths == path)
        own = own[np.argsort(spans[own, 0], kind="stable")]
        moments += merge(Scored(path, spans[own], scores[own]), cutoff=cutoff, usual=usual)
    return moments


def _scores(vectors: Vectors, query: Vectors) -> np.ndarray[Any, np.dtype[np.float64]]:
    scores: np.ndarray[Any, np.dtype[np.float64]] = np.round(vectors.astype(np.float64) @ query.astype(np.float64), DIGITS)
    return scores


def _by_label(library: Library, question: Question, config: SearchConfig) -> Found:
    """The windows that a model named so, by its probabilities."""
    rows = library.rows(["path", "start", "end", "names", "scores"], question.where)
    named = zip(rows["names"].to_pylist(), rows["scores"].to_pylist(), strict=True)
    scores = np.array([round(float(values[names.index(question.label)]), DIGITS) for names, values in named], dtype=np.float64)
    if len(rows) == 0:
        _check_label(library, str(question.label))
    level = config.min_score or 0.0
    moments = spread(_merged(rows, scores, level, 0.0), top=config.top, per_video=config.per_video)
    basis = "--min-score" if config.min_score is not None else "wherever it is the likeliest label"
    return _answer(library, question, moments, Cutoff(level, basis), config)


def _check_label(library: Library, label: str) -> None:
    """A label that no window has is a mistake if the model knows other ones only."""
    known: set[str] = set()
    for batch in library.batches(["names"], "names IS NOT NULL"):
        known |= set(batch["names"].flatten().to_pylist())
    if not known:
        raise LibraryError(library.uri, NO_NAMES)
    if label not in known:
        raise UnknownName("label", label, known)


def _answer(library: Library, question: Question, moments: list[Moment], cutoff: Cutoff | None, config: SearchConfig) -> Found:
    best = moments[0].score if moments else None
    good = None if cutoff is None else best is not None and (best > cutoff.score or (cutoff.false_alarms is None and best >= cutoff.score))
    if cutoff is not None and cutoff.false_alarms is not None and not config.all:
        moments = [moment for moment in moments if moment.score > cutoff.score]
    return Found(question.text, tuple(_furnished(library, moments)), cutoff, good, best)


def _furnished(library: Library, moments: Sequence[Moment]) -> list[Moment]:
    """The same moments with their thumbnails, names and metadata."""
    if not moments:
        return []
    more = [field.name for field in library.schema if field.name not in OWN]
    clause = " OR ".join(f"(path = {quoted(moment.path)} AND start = {moment.best[0]!r})" for moment in moments)
    rows = library.rows(["path", "start", "names", "scores", "thumbnail", *more], clause).to_pylist()
    of = {(row["path"], row["start"]): row for row in rows}
    furnished = []
    for moment in moments:
        row = of[(moment.path, moment.best[0])]
        names = {name: round(float(score), 4) for name, score in zip(row["names"] or (), row["scores"] or (), strict=True)}
        said = {name: row[name] for name in more if row[name] is not None}
        furnished.append(replace(moment, names=names, metadata=said, thumbnail=row["thumbnail"] or b""))
    return furnished


def _plain(moment: Moment) -> dict[str, Any]:
    said = {name: value if isinstance(value, (str, int, float, bool)) else str(value) for name, value in moment.metadata.items()}
    return {
        "path": moment.path,
        "start": moment.start,
        "end": moment.end,
        "score": moment.score,
        "best": list(moment.best),
        "names": dict(moment.names),
        "metadata": said,
    }
