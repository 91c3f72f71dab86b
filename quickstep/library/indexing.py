"""index: videos -> rows of a library; only what is new or changed is looked at, and each video is there whole or not at all.

Several processes may index into one library: each takes videos that no other has in hand, and what one has finished the others skip.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from quickstep.backbones import Backbone
from quickstep.datasets.inputs import gather
from quickstep.library import table_updates
from quickstep.library.ann_index import ensure_index
from quickstep.library.config import IndexConfig
from quickstep.library.creation import open_or_begin
from quickstep.library.ingestion_plan import plan, videos_of
from quickstep.library.schema import Card
from quickstep.library.table import SLOTS, Library, lock_of
from quickstep.library.video_metadata import full, gather_metadata, read_metadata
from quickstep.library.window_writer import Filler
from quickstep.library.windows import Slicing
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import to_plain
from quickstep.types.errors import QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

BATCH = 8  # videos a commit
TIDY_EVERY = 64  # commits


@dataclass(frozen=True)
class Indexed:
    """What an indexing did."""

    library: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()  # from, to
    copied: tuple[tuple[str, str], ...] = ()  # the same bytes in a further place
    returned: tuple[str, ...] = ()
    unchanged: int = 0
    gone: tuple[str, ...] = ()  # marked by this run
    pruned: int = 0  # videos dropped
    named: int = 0  # videos that were there and got names
    windows: int = 0  # in the library now
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether any of the videos is in the library now."""
        return bool(self.unchanged or self.added or self.changed or self.moved or self.copied or self.returned)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        plain: dict[str, Any] = to_plain({field.name: getattr(self, field.name) for field in fields(self) if field.name != "failures"})
        return {**plain, "failures": [{"path": str(each.segment.path), "error": str(each.error)} for each in self.failures]}

    def __str__(self) -> str:
        counts = {
            "new": len(self.added),
            "changed": len(self.changed),
            "moved": len(self.moved),
            "copies of known ones": len(self.copied),
            "back": len(self.returned),
            "unchanged": self.unchanged,
            "named": self.named,
            "gone": len(self.gone),
            "dropped": self.pruned,
            "left out": len(self.failures),
        }
        told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
        return f"{told}; {self.windows} windows in {self.library}"


@dataclass
class _Tally:
    """What has been done so far."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    elsewhere: int = 0  # done by another process meanwhile


def index(
    uri: str | Path,
    inputs: Iterable[Segment | str | Path],
    config: IndexConfig | None = None,
    *,
    backbone: Backbone | None = None,
    model: Model | None = None,
    prune: bool = False,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> Indexed:
    """Bring a library up to date with some videos, and make it where there is none.

    `backbone` and `model` are instances to use in place of the config's names. `prune` drops the videos whose files are gone.
    """
    started = time.perf_counter()
    config, cache, inputs = config or IndexConfig(), cache or Cache(), list(inputs)
    segments, failures = gather(inputs) if inputs or not prune else ([], [])
    if failures and (strict or not segments):
        raise failures[0].error
    if model is None and config.model is not None:
        model = Model.load(config.model, cache=cache)
    library, opened = open_or_begin(uri, config, backbone, cache, may_create=bool(segments))
    tally = _Tally(failures=failures)
    listed = read_metadata(config.metadata) if config.metadata is not None else []
    metadata = gather_metadata([*listed, *segments], library.schema)
    table_updates.add_columns(library, metadata)
    digests = _digests(segments, cache, progress, tally)
    todo = plan(videos_of(library), digests)
    filler = Filler(library, opened, _slicing(library.card), model, metadata, cache)
    fresh = [*todo.fresh, *table_updates.take_over(library, todo.taken, todo.moved, digests)]
    _fill(filler, fresh, digests, progress=progress, tally=tally)
    twins = table_updates.take_over(library, todo.twins, (), digests)  # left over where the first of the same bytes could not be read
    _fill(filler, twins, digests, progress=progress, tally=tally)
    table_updates.mark(library, todo.gone, gone=True)
    table_updates.mark(library, todo.back, gone=False)
    table_updates.tell(library, metadata)
    named = filler.name_the_rest(progress) if model is not None else 0
    if strict and tally.failures:
        raise tally.failures[0].error
    pruned = table_updates.prune(library) if prune else 0
    _settle(library, progress)
    return Indexed(
        library.uri,
        added=tuple(tally.added),
        changed=tuple(tally.changed),
        moved=tuple((todo.taken[path], path) for path in sorted(todo.moved) if path not in fresh),
        copied=tuple((old, path) for path, old in {**todo.taken, **todo.twins}.items() if path not in {*todo.moved, *fresh, *twins}),
        returned=todo.back,
        unchanged=len(todo.unchanged) + tally.elsewhere,
        gone=todo.gone,
        pruned=pruned,
        named=named,
        windows=library.count(),
        failures=tuple(tally.failures),
        notes=(*_notes(segments), *tally.notes),
        seconds=round(time.perf_counter() - started, 3),
    )


def _slicing(card: Card) -> Slicing:
    return Slicing(card.window, card.hop, card.looking, card.single_frames)


def _digests(segments: Sequence[Segment], cache: Cache, progress: Progress, tally: _Tally) -> dict[str, str]:
    """The sha256 of each video; one that cannot be read is a failure."""
    paths = list(dict.fromkeys(full(segment.path) for segment in segments))
    found: dict[str, str] = {}
    for path, digest in run_parallel(cache.digest, paths, "reading", workers=None, progress=progress):
        if isinstance(digest, QuickstepError):
            tally.failures.append(Failure(Segment(Path(path)), digest))
        else:
            found[path] = digest
    return {path: found[path] for path in paths if path in found}


def _fill(filler: Filler, fresh: Sequence[str], digests: Mapping[str, str], *, progress: Progress, tally: _Tally) -> None:
    """Look at videos, some at a time; what another process has in hand is left to it and asked for again at the end."""
    waiting, done, total, commits = list(fresh), 0, len(fresh), 0
    if not waiting:
        return
    progress("indexing", 0, total)
    patient = False
    while waiting:
        with _claimed(filler.library.uri, waiting, digests, wait=patient) as mine:
            waiting = [path for path in waiting if path not in mine]
            there = videos_of(filler.library, mine)
            known = {path for path in mine if path in there and there[path].digest == digests[path]}
            tally.elsewhere += len(known)
            changed = [path for path in mine if path in there and path not in known]
            told = _part_of(progress, done + len(known), total)
            made, failures = filler.fill([path for path in mine if path not in known], digests, told)
            tally.changed += [path for path in made if path in changed]
            tally.added += [path for path in made if path not in changed]
            tally.failures += failures
            tally.notes += filler.notes()
            lost = {str(failure.segment.path) for failure in failures}
            table_updates.mark(
                filler.library, [path for path in changed if path in lost], gone=True
            )  # its windows are of what was there before
        done += len(mine)
        commits += bool(made)
        if mine:
            progress("indexing", done, total)
        patient = not mine  # nothing is left but what others have in hand
        if commits and commits % TIDY_EVERY == 0:
            filler.library.tidy()


def _part_of(progress: Progress, before: int, whole: int) -> Progress:
    """What tells of one batch, as a part of all videos."""

    def told(stage: str, done: int, total: int) -> None:  # noqa: ARG001 - as Progress has it
        progress("indexing", min(before + done, whole - 1), whole)  # the last one is done when it is committed

    return told


@contextlib.contextmanager
def _claimed(uri: str, paths: Sequence[str], digests: Mapping[str, str], *, wait: bool) -> Iterator[list[str]]:
    """Hold up to a batch of videos that no other process has in hand; with `wait`, one for which it is waited."""
    with contextlib.ExitStack() as stack:
        held: dict[int, bool] = {}
        mine: list[str] = []
        for path in paths:
            slot = int(digests[path][:8], 16) % SLOTS
            if slot not in held:
                held[slot] = stack.enter_context(lock_of(uri, f"video-{slot:03d}", wait=wait))
            if held[slot]:
                mine.append(path)
            if len(mine) == (1 if wait else BATCH):
                break
        yield mine


def _settle(library: Library, progress: Progress) -> None:
    """Join small files and build or renew the index, where the size asks for it."""
    table_updates.tidy_where_due(library)
    library.commit(lambda table: ensure_index(table, progress=progress))


def _notes(segments: Sequence[Segment]) -> list[str]:
    spans = sum(1 for segment in segments if segment.start or segment.end is not None)
    return [f"{spans} rows name a part of a video; a library holds whole videos, so the whole was indexed"] if spans else []
