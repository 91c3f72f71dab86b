"""What a library knows of videos, held against what is on the disk: what is new, changed, moved, back or gone. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quickstep.library.schema import OWN, among
from quickstep.library.table import Library


@dataclass(frozen=True)
class Known:
    """What a library holds of one path."""

    digest: str
    gone: bool
    named_by: str | None
    metadata: Mapping[str, object]


@dataclass(frozen=True)
class Plan:
    """What is to be done with each path."""

    fresh: tuple[str, ...]  # to be looked at
    twins: Mapping[str, str]  # path -> the fresh one of the same bytes
    taken: Mapping[str, str]  # path -> the path under which the library has the same bytes
    moved: frozenset[str]  # those of `taken` whose old path is no more
    back: tuple[str, ...]  # was marked as gone and is there again, unchanged
    gone: tuple[str, ...]  # is there no more
    unchanged: tuple[str, ...]


def videos_of(library: Library, paths: Sequence[str] | None = None) -> dict[str, Known]:
    """What a library holds of some paths, or of all: every video has one window that starts at 0."""
    more = [field.name for field in library.schema if field.name not in OWN]
    where = "start = 0" if paths is None else f"start = 0 AND {among('path', paths)}"
    known: dict[str, Known] = {}
    for batch in library.batches(["path", "digest", "gone", "named_by", *more], where):
        for row in batch.to_pylist():
            path, digest, gone, named_by = (row.pop(name) for name in ("path", "digest", "gone", "named_by"))
            known[path] = Known(digest, gone, named_by, row)
    return known


def plan(known: Mapping[str, Known], digests: Mapping[str, str]) -> Plan:
    """Hold the digests of the videos asked for against what is known; of other paths only whether they are still there."""
    homes: dict[str, list[str]] = {}
    for path, video in known.items():
        homes.setdefault(video.digest, []).append(path)
    absent = {path for path in known if path not in digests and not os.path.lexists(path)}
    fresh: dict[str, str] = {}  # digest -> path
    back, unchanged = list[str](), list[str]()
    taken, twins, moved = dict[str, str](), dict[str, str](), set[str]()
    leaving = set(absent)  # each of them is the old place of one video at most
    for path, digest in digests.items():
        here = known.get(path)
        if here is not None and here.digest == digest:
            (back if here.gone else unchanged).append(path)
            continue
        others = homes.get(digest, [])
        old = next((other for other in others if other in leaving), None)
        if old is not None:
            leaving.discard(old)
            moved.add(path)
            taken[path] = old
        elif others:
            taken[path] = others[0]
        elif digest in fresh:
            twins[path] = fresh[digest]
        else:
            fresh[digest] = path
    gone = sorted(path for path in absent - {taken[path] for path in moved} if not known[path].gone)
    return Plan(tuple(fresh.values()), twins, taken, frozenset(moved), tuple(back), tuple(gone), tuple(unchanged))
