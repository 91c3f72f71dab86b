"""Journal: decisions about the labels of one manifest, in the manifest as soon as they are made, and in a history that only grows.

Beside `dances.csv` stand `dances.history.jsonl`, a line a decision, and `dances.original.csv`, the list as it was before the first one.
A decision is on the disk before the list is changed; a list that a kill left unchanged is changed when the journal is next opened. Two
people may decide at once: whoever has not seen the other's decision about a segment is told of it instead of undoing it. Knows no model.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout  # comes with huggingface-hub

from quickstep.datasets.manifest import Manifest, path_from, read_manifest, write_manifest
from quickstep.models.model import Model
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

Action = Literal["confirm", "correct", "reject", "restore"]
_PATIENCE = 30.0  # seconds to wait for somebody else's decision to be written
_WORDS = {"confirm": "confirmed", "correct": "corrected", "reject": "taken out", "restore": "taken back"}


@dataclass(frozen=True)
class Decision:
    """What somebody decided about one segment."""

    number: int  # counted from 1
    at: str  # ISO 8601, UTC
    by: str
    action: Action
    path: str  # as seen from the folder of the list
    start: float
    end: float | None
    person: int | None
    before: str | None  # the label; None where the segment was taken out
    after: str | None
    found: str  # sha256 of the list that it was made about
    row: dict[str, Any] = field(default_factory=dict)  # the segment's other columns

    @property
    def span(self) -> tuple[str, float, float | None, int | None]:
        """Which segment it is about."""
        return (self.path, self.start, self.end, self.person)

    def __str__(self) -> str:
        what = f"{self.before!r} -> {self.after!r}" if self.action == "correct" else repr(self.before or self.after)
        return f"{_WORDS[self.action]}: {what}" + (f" by {self.by}" if self.by else "")


class Conflict(ManifestError):
    """Somebody else has decided about the same segment meanwhile."""

    def __init__(self, path: Path, segment: Segment, decision: Decision) -> None:
        super().__init__(path, f"{segment.path.name} was decided meanwhile ({decision}); look at it again, your decision was not saved")
        self.decision = decision


class Journal:
    """The decisions about one list of segments."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = path.with_suffix(".history.jsonl")
        self.original = path.with_suffix(".original.csv")

    @classmethod
    def open(cls, path: str | Path) -> Journal:
        """The journal of a list; what a kill left half done is finished."""
        journal = cls(Path(path))
        with journal._alone():
            journal._finish()
        return journal

    @property
    def manifest(self) -> Manifest:
        """The list as it is now."""
        return read_manifest(self.path)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision, in order; a line that a kill cut off is none."""
        try:
            lines = self.history.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ManifestError(self.history, f"cannot be read: {error.strerror or error}") from error
        return tuple(decision for line in lines if (decision := _read(line)) is not None)

    def place_of(self, segment: Segment) -> tuple[str, float, float | None, int | None]:
        """How decisions name a segment."""
        return (path_from(segment.path, self.path.parent), segment.start, segment.end, segment.person)

    def latest(self) -> Mapping[tuple[str, float, float | None, int | None], Decision]:
        """The last decision about each segment that has one."""
        return {decision.span: decision for decision in self.decisions}

    @property
    def decided(self) -> frozenset[tuple[str, float, float | None, int | None]]:
        """The segments about which a decision stands."""
        return frozenset(span for span, decision in self.latest().items() if decision.action != "restore")

    def decide(self, segment: Segment, action: Action, label: str | None = None, *, by: str = "", seen: int = 0) -> Decision:
        """Confirm, correct (to `label`) or reject a segment; `seen` is the number of the last decision about it that the person knew of."""
        if action == "correct" and not (label and label.strip()):
            raise ManifestError(self.path, f"{segment.path.name} is corrected to a label, and none was given")
        with self._alone():
            self._finish()
            manifest, place = self.manifest, self.place_of(segment)
            last = self.latest().get(place)
            if last is not None and last.number > seen:
                raise Conflict(self.path, segment, last)
            row = next((each for each in manifest.segments if self.place_of(each) == place), None)
            if row is None:
                raise ManifestError(self.path, f"{segment} is not listed any more; somebody has changed the list")
            if action == "reject" and len(manifest) == 1:
                raise ManifestError(self.path, "its last segment cannot be taken out")
            after = {"correct": (label or "").strip(), "reject": None}.get(action, row.label)
            return self._write(manifest, row, (action, row.label, after), by)

    def undo(self, decision: Decision, *, by: str = "") -> Decision:
        """Take a decision back, unless there is a later one about its segment; that too is written down."""
        with self._alone():
            self._finish()
            last = self.latest().get(decision.span)
            segment = self._segment(decision)
            if last is not None and last.number > decision.number:
                raise Conflict(self.path, segment, last)
            change: tuple[Action, str | None, str | None] = ("restore", decision.after, decision.before)
            return self._write(self.manifest, segment, change, by)

    # -- writing -----------------------------------------------------------------------------------------------------------

    def _write(self, manifest: Manifest, row: Segment, change: tuple[Action, str | None, str | None], by: str) -> Decision:
        """The decision first, then the list."""
        self._keep_original()
        path, start, end, person = self.place_of(row)
        decision = Decision(
            number=len(self.decisions) + 1,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=by,
            action=change[0],
            path=path,
            start=start,
            end=end,
            person=person,
            before=change[1],
            after=change[2],
            found=_digest(self.path),
            row={"group": row.group, "split": row.split, "extra": dict(row.extra)},
        )
        _append(self.history, json.dumps(to_plain(decision), ensure_ascii=False))
        self._apply(manifest, decision)
        return decision

    def _apply(self, manifest: Manifest, decision: Decision) -> None:
        place, changed = decision.span, self._segment(decision)
        rows = list(manifest.segments)
        at = next((number for number, each in enumerate(rows) if self.place_of(each) == place), None)
        if decision.after is None:
            rows = [each for number, each in enumerate(rows) if number != at]
        elif at is None:
            rows.append(replace(changed, label=decision.after))
        else:
            rows[at] = replace(rows[at], label=decision.after)
        write_manifest(manifest.with_segments(rows), self.path)

    def _finish(self) -> None:
        """Change the list as the last decision says, if that is all that is missing."""
        decisions = self.decisions
        if decisions and decisions[-1].before != decisions[-1].after and decisions[-1].found == _digest(self.path):
            self._apply(self.manifest, decisions[-1])

    def _segment(self, decision: Decision) -> Segment:
        row = decision.row
        return Segment(
            self.path.parent / decision.path,
            decision.before,
            decision.start,
            decision.end,
            group=row.get("group"),
            split=row.get("split"),
            extra=row.get("extra") or {},
            person=decision.person,
        )

    def _keep_original(self) -> None:
        if self.original.exists():
            return
        aside = self.original.with_name(f".{self.original.name}.part")
        try:
            shutil.copyfile(self.path, aside)
            aside.replace(self.original)
        except OSError as error:
            raise ManifestError(self.original, f"cannot be written: {error.strerror or error}; nothing was changed") from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One decision at a time, whoever makes it; the system frees the lock of a process that dies."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_PATIENCE)
        try:
            lock.acquire(poll_interval=0.02)
        except Timeout as error:
            raise ManifestError(self.path, "somebody else has been changing it for too long; try again") from error
        except OSError as error:
            raise ManifestError(self.path, f"its folder cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()


def journal_for(model: Model) -> Journal:
    """Where decisions about a model's segments go: into the csv that it was trained on; beside a folder or another kind of list, a new csv.

    The model's own list stays sealed as it is.
    """
    if model.manifest is None:
        raise ManifestError(model.facts.source or "the model", "the videos that the model learnt from are not where they were")
    source = Path(model.facts.source)
    if source.suffix.lower() == ".csv" and source.is_file() and _fits(source, model):
        return Journal.open(source)
    place = source / "reviewed.csv" if source.is_dir() else source.with_name(f"{source.stem or 'model'}.reviewed.csv")
    if not place.exists():
        write_manifest(model.manifest, place)
    return Journal.open(place)


def _fits(source: Path, model: Model) -> bool:
    """Whether a csv says plainly what the model learnt: the same segments, and names instead of numbers."""
    assert model.manifest is not None
    try:
        listed = read_manifest(source)
    except ManifestError:
        return False
    return bool({each.span for each in listed.segments} & {each.span for each in model.manifest.segments}) and bool(
        set(listed.labels) & set(model.labels)
    )


def _read(line: bytes) -> Decision | None:
    try:
        return from_plain(Decision, json.loads(line))
    except (ValueError, TypeError):
        return None


def _append(path: Path, line: str) -> None:
    """A line at the end of a file, through to the disk; what a kill cut off before it stays a line of its own."""
    try:
        torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
        with path.open("ab") as file:
            file.write((b"\n" if torn else b"") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ManifestError(path, f"cannot be written: {error.strerror or error}; nothing was changed") from error


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ManifestError(path, f"cannot be read: {error.strerror or error}") from error
