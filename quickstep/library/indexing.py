"""index: write videos into a library; only new or changed ones are decoded, and each video is written completely or not at all.

Several processes may index into one library: each takes videos that no other process is working on, and skips what others finished.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from quickstep.backbones import Backbone, BackboneSpec
from quickstep.datasets.inputs import Inputs, gather
from quickstep.library import row_writer
from quickstep.library.ann_index import ensure_index
from quickstep.library.config import USUAL_PACE, USUAL_WINDOW, IndexConfig
from quickstep.library.row_writer import Metadata, RowWriter, VideoRecord, full_path, videos_of
from quickstep.library.table import LOCK_SLOTS, Card, Library, check_same_backbone, exists, lock, normalize_uri
from quickstep.library.windows import window_grid
from quickstep.models.model import Model
from quickstep.storage.cache import Cache
from quickstep.storage.serialization import library_version, to_plain
from quickstep.types.errors import ConfigError, QuickstepError
from quickstep.types.parallel import run_parallel
from quickstep.types.progress import Progress, silent
from quickstep.types.segment import Failure, Segment

BATCH = 8  # videos in one commit
COMPACT_EVERY = 64  # commits


@dataclass(frozen=True)
class IndexResult:
    """What one run of `index` changed."""

    library: str
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    moved: tuple[tuple[str, str], ...] = ()  # from, to
    copied: tuple[tuple[str, str], ...] = ()  # the same bytes in another place
    returned: tuple[str, ...] = ()  # were gone and exist again
    unchanged: int = 0
    gone: tuple[str, ...] = ()  # marked by this run
    pruned: int = 0  # videos deleted
    named: int = 0  # videos that were in the library and got labels
    windows: int = 0  # in the library now
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether any of the videos is in the library now."""
        return bool(self.unchanged or self.added or self.changed or self.moved or self.copied or self.returned)

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        failures = [{"path": str(failure.segment.path), "error": str(failure.error)} for failure in self.failures]
        plain: dict[str, Any] = to_plain({**vars(self), "failures": failures})
        return plain

    def __str__(self) -> str:
        counts = {
            "new": len(self.added),
            "changed": len(self.changed),
            "moved": len(self.moved),
            "copies": len(self.copied),
            "found again": len(self.returned),
            "unchanged": self.unchanged,
            "labelled": self.named,
            "gone": len(self.gone),
            "deleted": self.pruned,
            "failed": len(self.failures),
        }
        changes = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "nothing to do"
        return f"{changes}; {self.windows} windows in {self.library}"


@dataclass
class _Tally:
    """What this run has done so far."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[tuple[str, str]] = field(default_factory=list)
    copied: list[tuple[str, str]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    by_others: int = 0  # videos that another process finished meanwhile


def index(
    uri: Library | str | Path,
    inputs: Inputs,
    config: IndexConfig | None = None,
    *,
    backbone: Backbone | None = None,
    model: Model | str | Path | None = None,
    prune: bool = False,
    cache: Cache | None = None,
    progress: Progress = silent,
    strict: bool = False,
) -> IndexResult:
    """Update a library with some videos, or create it.

    `backbone` and `model` are used instead of the config's. `prune` deletes the videos whose files are gone.
    """
    started = time.perf_counter()
    config, cache = config or IndexConfig(), cache or Cache()
    segments, failures = ([], []) if prune and inputs in ((), []) else gather(inputs)
    if failures and (strict or not segments):
        raise failures[0].error
    model = config.model if model is None else model
    labeler = Model.load(model, cache=cache) if isinstance(model, str | Path) else model
    library, backbone = _open_or_create(uri, config, backbone, cache, may_create=bool(segments))
    writer = RowWriter(library, backbone, labeler, _add_metadata(library, config, segments), cache)
    tally = _Tally(failures=failures)
    plan = _apply_plan(writer, _digests(segments, cache, progress, tally), progress, tally)
    labelled = writer.label_the_rest(progress) if labeler is not None else 0
    if strict and tally.failures:
        raise tally.failures[0].error
    pruned = row_writer.delete_gone(library) if prune else 0
    row_writer.compact_if_needed(library)
    library.commit(lambda table: ensure_index(table, progress=progress))
    changes = {"added": tally.added, "changed": tally.changed, "moved": tally.moved, "copied": tally.copied, "failures": tally.failures}
    return IndexResult(
        library.uri,
        **{name: tuple(paths) for name, paths in changes.items()},  # type: ignore[arg-type]
        returned=plan.returned,
        unchanged=len(plan.unchanged) + tally.by_others,
        gone=plan.gone,
        pruned=pruned,
        named=labelled,
        windows=library.count(),
        notes=(*_notes(segments), *writer.notes),
        seconds=round(time.perf_counter() - started, 3),
    )


def _add_metadata(library: Library, config: IndexConfig, segments: Sequence[Segment]) -> Metadata:
    """Collect the metadata of the csv and of the inputs, and add its columns to the library."""
    listed = row_writer.read_metadata(config.metadata) if config.metadata is not None else []
    metadata = row_writer.gather_metadata([*listed, *segments], library.schema)
    row_writer.add_columns(library, metadata)
    return metadata


def _apply_plan(writer: RowWriter, digests: Mapping[str, str], progress: Progress, tally: _Tally) -> Plan:
    """Compare the videos with the library, and write, move, copy and mark their rows."""
    library = writer.library
    plan = make_plan(videos_of(library), digests)
    new = [*plan.new, *row_writer.copy_rows(library, plan.sources, plan.moved, digests)]
    _write_all(writer, new, digests, progress=progress, tally=tally)
    twins = row_writer.copy_rows(library, plan.twins, (), digests)  # without a source where the first file could not be read
    _write_all(writer, twins, digests, progress=progress, tally=tally)
    row_writer.mark_gone(library, plan.gone, True)
    row_writer.mark_gone(library, plan.returned, False)
    row_writer.update_metadata(library, writer.metadata)
    tally.moved = [(plan.sources[path], path) for path in sorted(plan.moved) if path not in new]
    copies = {**plan.sources, **plan.twins}
    tally.copied = [(source, path) for path, source in copies.items() if path not in {*plan.moved, *new, *twins}]
    return plan


# -- opening ----------------------------------------------------------------------------------------------------------------


def _open_or_create(
    uri: Library | str | Path, config: IndexConfig, backbone: Backbone | None, cache: Cache, *, may_create: bool
) -> tuple[Library, Backbone]:
    """Open the library and the backbone that made it, or create it with a backbone."""
    if isinstance(uri, Library) or exists(normalize_uri(uri)) or not may_create:
        library = uri if isinstance(uri, Library) else Library.open(uri)
        _check_settings(library.card, config)
        if backbone is None:
            same = config.backbone is None or config.spec.name == library.card.backbone.name
            backbone = library.backbone(weights=config.weights, cache=cache) if same else config.spec.open(cache)
        check_same_backbone(library, backbone)
        return library, backbone
    spec = config.spec if backbone is None else BackboneSpec.of(backbone)
    backbone = backbone or spec.open(cache)
    window = config.window or USUAL_WINDOW
    stride = config.stride or window / 2
    if stride > window:
        raise ConfigError("stride", f"must be at most the window ({window:g} s), or parts are skipped; not {stride:g}")
    grid = window_grid(backbone, window=window, stride=stride, fps=config.pace or USUAL_PACE)
    card = Card(
        backbone=spec,
        identity=dict(to_plain(dict(backbone.identity))),
        width=backbone.width,
        window=window,
        stride=stride,
        view=grid.view,
        single_frames=grid.single_frames,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        quickstep=library_version("quickstep"),
    )
    library = Library.create(uri, card)
    check_same_backbone(library, backbone)
    return library, backbone


def _check_settings(card: Card, config: IndexConfig) -> None:
    """Refuse other windows than those that the library was created with."""
    pace = card.view.fps if card.single_frames else None
    for name, requested, here in (
        ("window", config.window, card.window),
        ("stride", config.stride, card.stride),
        ("pace", config.pace, pace),
    ):
        if requested is not None and here is not None and abs(requested - here) > 1e-9:
            raise ConfigError(name, f"the library was created with {here:g}, for all its videos; leave it out, or make a new library")


# -- planning ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What is to be done with each path."""

    new: tuple[str, ...]  # to be decoded
    twins: Mapping[str, str]  # path -> the new one with the same bytes
    sources: Mapping[str, str]  # path -> the path under which the library has the same bytes
    moved: frozenset[str]  # those of `sources` whose old path no longer exists
    returned: tuple[str, ...]  # was marked as gone and exists again, unchanged
    gone: tuple[str, ...]  # no longer exists
    unchanged: tuple[str, ...]


def make_plan(videos: Mapping[str, VideoRecord], digests: Mapping[str, str]) -> Plan:
    """Compare the digests of the given videos with the library; of other paths only check that they still exist."""
    paths_by_digest: dict[str, list[str]] = {}
    for path, video in videos.items():
        paths_by_digest.setdefault(video.digest, []).append(path)
    absent = {path for path in videos if path not in digests and not os.path.lexists(path)}
    new: dict[str, str] = {}  # digest -> path
    returned, unchanged = list[str](), list[str]()
    sources, twins, moved = dict[str, str](), dict[str, str](), set[str]()
    unclaimed = set(absent)  # each is the old place of one video at most
    for path, digest in digests.items():
        record = videos.get(path)
        if record is not None and record.digest == digest:
            (returned if record.gone else unchanged).append(path)
            continue
        others = paths_by_digest.get(digest, [])
        old = next((other for other in others if other in unclaimed), None)
        if old is not None:
            unclaimed.discard(old)
            moved.add(path)
            sources[path] = old
        elif others:
            sources[path] = others[0]
        elif digest in new:
            twins[path] = new[digest]
        else:
            new[digest] = path
    gone = sorted(path for path in absent - {sources[path] for path in moved} if not videos[path].gone)
    return Plan(tuple(new.values()), twins, sources, frozenset(moved), tuple(returned), tuple(gone), tuple(unchanged))


def _digests(segments: Sequence[Segment], cache: Cache, progress: Progress, tally: _Tally) -> dict[str, str]:
    """Compute the sha256 of each video; one that cannot be read is a failure."""
    paths = list(dict.fromkeys(full_path(segment.path) for segment in segments))
    digests: dict[str, str] = {}
    for path, digest in run_parallel(cache.digest, paths, "reading", progress=progress):
        if isinstance(digest, QuickstepError):
            tally.failures.append(Failure(Segment(Path(path)), digest))
        else:
            digests[path] = digest
    return {path: digests[path] for path in paths if path in digests}


# -- writing ----------------------------------------------------------------------------------------------------------------


def _write_all(writer: RowWriter, paths: Sequence[str], digests: Mapping[str, str], *, progress: Progress, tally: _Tally) -> None:
    """Write videos in batches; come back at the end to those that another process is working on."""
    waiting, done, commits = list(paths), 0, 0
    if waiting:
        progress("indexing", 0, len(paths))
    only_claimed_left = False
    while waiting:
        with _claimed(writer.library.uri, waiting, digests, wait=only_claimed_left) as mine:
            waiting = [path for path in waiting if path not in mine]
            commits += _write_batch(writer, mine, digests, _batch_progress(progress, done, len(paths)), tally)
        done += len(mine)
        if mine:
            progress("indexing", done, len(paths))
        only_claimed_left = not mine
        if commits and commits % COMPACT_EVERY == 0:
            writer.library.compact()


def _write_batch(writer: RowWriter, paths: Sequence[str], digests: Mapping[str, str], progress: Progress, tally: _Tally) -> bool:
    """Write the videos of one batch, without those that another process has written; tell whether anything was committed."""
    present = videos_of(writer.library, paths)
    up_to_date = {path for path in paths if path in present and present[path].digest == digests[path]}
    tally.by_others += len(up_to_date)
    written, failures = writer.write([path for path in paths if path not in up_to_date], digests, progress)
    tally.changed += [path for path in written if path in present]
    tally.added += [path for path in written if path not in present]
    tally.failures += failures
    failed = {str(failure.segment.path) for failure in failures}
    # The windows of a changed file that cannot be read show what it was before.
    row_writer.mark_gone(writer.library, [path for path in paths if path in failed and path in present], True)
    return bool(written)


def _batch_progress(progress: Progress, before: int, videos: int) -> Progress:
    """Report the progress of one batch as a part of all videos."""

    def report(stage: str, done: int, total: int) -> None:  # noqa: ARG001 - the signature of Progress
        progress("indexing", min(before + done, videos - 1), videos)  # the last one is done when it is committed

    return report


@contextlib.contextmanager
def _claimed(uri: str, paths: Sequence[str], digests: Mapping[str, str], *, wait: bool) -> Iterator[list[str]]:
    """Lock up to a batch of videos that no other process is working on; with `wait`, wait for one video."""
    with contextlib.ExitStack() as stack:
        locked: dict[int, bool] = {}
        mine: list[str] = []
        for path in paths:
            slot = int(digests[path][:8], 16) % LOCK_SLOTS
            if slot not in locked:
                locked[slot] = stack.enter_context(lock(uri, f"video-{slot:03d}", wait=wait))
            if locked[slot]:
                mine.append(path)
            if len(mine) == (1 if wait else BATCH):
                break
        yield mine


def _notes(segments: Sequence[Segment]) -> list[str]:
    spans = sum(1 for segment in segments if segment.start or segment.end is not None)
    return [f"{spans} rows name a part of a video; a library holds whole videos, so the whole was indexed"] if spans else []
