"""Filler: looks at some videos and puts all their windows into the library in one commit. Knows no plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quickstep.backbones import Backbone
from quickstep.library.ingestion_plan import videos_of
from quickstep.library.schema import among, to_vectors
from quickstep.library.table import Library
from quickstep.library.video_metadata import Metadata
from quickstep.library.window_labels import Names, identity_of, name_windows, shares_frames
from quickstep.library.windows import Slicing, Spans, Vectors, Watcher, check_whole
from quickstep.models.feature_extraction import extract
from quickstep.models.model import Model
from quickstep.signals.video import DECODING_VERSION, probe
from quickstep.storage.cache import Cache
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress
from quickstep.types.segment import Failure, Segment
from quickstep.types.signals import Features

TOGETHER = 16  # videos a commit, where only names are given


@dataclass
class Filler:
    """Everything that turns a video into rows of one library."""

    library: Library
    backbone: Backbone
    slicing: Slicing
    model: Model | None
    metadata: Metadata
    cache: Cache
    _notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.named_by = identity_of(self.model) if self.model is not None else None
        identity = dict(self.backbone.identity)
        self._shares = self.model is not None and shares_frames(self.model, self.slicing, identity)

    def notes(self) -> list[str]:
        """What was remarked since it was last asked."""
        said, self._notes = self._notes, []
        return said

    def fill(self, paths: Sequence[str], digests: Mapping[str, str], progress: Progress) -> tuple[list[str], list[Failure]]:
        """Look at videos and commit them together; returns those that are in, and those that could not be used."""
        durations, failures = self._durations(paths, digests)
        segments = {path: Segment(Path(path)) for path in durations}
        watcher = Watcher(self.slicing)
        for path, segment in segments.items():
            watcher.expect(segment, durations[path])
        found = extract(list(segments.values()), self.backbone, view=self.slicing.view, cache=self.cache, progress=progress, watch=watcher)
        failures += found.failures
        tables = []
        for path, segment in segments.items():
            if segment not in found.features:
                continue
            features, duration = found.features[segment], durations[path]
            try:
                vectors = check_whole(path, features, self.slicing, duration)
                thumbnails = watcher.take(segment, duration)
                names = self._names(path, self.slicing.spans(duration), features)
            except QuickstepError as error:
                failures.append(Failure(segment, error))
                continue
            if segment in found.damaged:
                self._notes.append(f"{path}: {100 * found.damaged[segment]:.0f} % of its moments are damaged, neighbours stand in for them")
            tables.append(self._rows(path, digests[path], duration, vectors=vectors, thumbnails=thumbnails, names=names))
        done = [table["path"][0].as_py() for table in tables]
        if tables:
            self.library.replace(pa.concat_tables(tables), done)
        return done, failures

    def name_the_rest(self, progress: Progress) -> int:
        """Give names to the videos that have none of this model yet; returns how many those were."""
        assert self.model is not None
        todo = [path for path, known in videos_of(self.library).items() if known.named_by != self.named_by and not known.gone]
        progress("naming", 0, len(todo))
        for first in range(0, len(todo), TOGETHER):
            self._name_some(todo[first : first + TOGETHER])
            progress("naming", min(first + TOGETHER, len(todo)), len(todo))
        return len(todo)

    def _name_some(self, paths: Sequence[str]) -> None:
        rows = self.library.rows(["path", "start", "end"], among("path", paths)).sort_by([("path", "ascending"), ("start", "ascending")])
        whole: dict[Segment, Features] = {}
        if self._shares:
            whole = extract([Segment(Path(path)) for path in paths], self.backbone, view=self.slicing.view, cache=self.cache).features
        tables = []
        for path in dict.fromkeys(rows["path"].to_pylist()):
            own = rows.filter(pc.equal(rows["path"], path))
            spans = np.stack([own["start"].to_numpy(), own["end"].to_numpy()], axis=1)
            names = self._names(path, spans, whole.get(Segment(Path(path))))
            tables.append(own.select(["path", "start"]).append_column("names", _lists(names.names, pa.string())))
            tables[-1] = tables[-1].append_column("scores", _lists(names.scores, pa.float32()))
            tables[-1] = tables[-1].append_column("named_by", pa.array([self.named_by] * len(own), pa.string()))
        named = pa.concat_tables(tables)
        self.library.commit(lambda table: table.merge_insert(["path", "start"]).when_matched_update_all().execute(named))

    def _durations(self, paths: Sequence[str], digests: Mapping[str, str]) -> tuple[dict[str, float], list[Failure]]:
        found: dict[str, float] = {}
        failures = []

        def work(path: str) -> float:
            return self._duration(path, digests[path])

        for path, duration in run_parallel(work, paths, "probing", workers=None, progress=_quiet):
            if isinstance(duration, QuickstepError):
                failures.append(Failure(Segment(Path(path)), duration))
            else:
                found[path] = duration
        return {path: found[path] for path in paths if path in found}, failures

    def _duration(self, path: str, digest: str) -> float:
        key = {"sha256": digest, "decoding": DECODING_VERSION}
        known = self.cache.recall("duration", key)
        if known is None:
            known = probe(path).duration
            self.cache.remember("duration", key, known)
        return float(known)

    def _names(self, path: str, spans: Spans, features: Features | None) -> Names:
        if self.model is None:
            return Names((), ())
        return name_windows(self.model, path, spans, features=features if self._shares else None, slicing=self.slicing, cache=self.cache)

    def _rows(self, path: str, digest: str, duration: float, *, vectors: Vectors, thumbnails: Sequence[bytes], names: Names) -> pa.Table:
        spans = self.slicing.spans(duration)
        count = len(spans)
        columns: dict[str, Any] = {
            "vector": to_vectors(vectors),
            "path": [path] * count,
            "digest": [digest] * count,
            "start": spans[:, 0],
            "end": spans[:, 1],
            "duration": [duration] * count,
            "gone": [False] * count,
            "names": _lists(names.names, pa.string()) if names.names else [None] * count,
            "scores": _lists(names.scores, pa.float32()) if names.scores else [None] * count,
            "named_by": [self.named_by] * count,
            "thumbnail": list(thumbnails),
        }
        known = self.metadata.values.get(path, {})
        schema = self.library.schema
        for column in schema:
            if column.name not in columns:
                columns[column.name] = [known.get(column.name)] * count
        return pa.table({column.name: pa.array(columns[column.name], column.type) for column in schema}, schema=schema)


def _lists(rows: Sequence[Sequence[Any]], kind: pa.DataType) -> pa.Array:
    return pa.array([list(row) for row in rows], pa.list_(kind))


def _quiet(stage: str, done: int, total: int) -> None:
    """Probing is a part of indexing, whose progress is shown."""
