"""Decisions about the labels of one manifest: applied to its csv as soon as they are made, and kept in a history that only grows.

`dances.history.jsonl` beside `dances.csv` has one line a decision, `dances.original.csv` is the list before the first decision. A decision
is on the disk before the list is changed; if the process is killed in between, the next `Journal.open` changes the list. Two people may
decide at once: a decision that does not know of another one about the same segment is refused with a Conflict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from quickstep.datasets.manifest import Manifest, read_manifest, relative_path, write_manifest
from quickstep.models.model import Model
from quickstep.storage.files import write_bytes
from quickstep.storage.serialization import from_plain, to_plain
from quickstep.types.errors import ManifestError
from quickstep.types.segment import Segment

Action = Literal["confirm", "correct", "reject", "restore"]
_LOCK_TIMEOUT = 30.0  # seconds to wait while another process writes a decision
_PAST_TENSE = {"confirm": "confirmed", "correct": "corrected", "reject": "excluded", "restore": "undone"}


@dataclass(frozen=True)
class Decision:
    """A decision about the label of one segment."""

    number: int  # counted from 1
    at: str  # ISO 8601, UTC
    by: str
    action: Action
    path: str  # relative to the folder of the list
    start: float
    end: float | None
    person: int | None
    before: str | None  # the label; None where the segment was excluded
    after: str | None
    found: str  # sha256 of the list before the decision
    row: dict[str, Any] = field(default_factory=dict)  # the segment's other columns

    @property
    def span(self) -> tuple[str, float, float | None, int | None]:
        """The segment that it is about."""
        return (self.path, self.start, self.end, self.person)

    def __str__(self) -> str:
        what = f"{self.before!r} -> {self.after!r}" if self.action == "correct" else repr(self.before or self.after)
        return f"{_PAST_TENSE[self.action]}: {what}" + (f" by {self.by}" if self.by else "")


class Conflict(ManifestError):
    """Somebody else has decided about the same segment in the meantime."""

    def __init__(self, path: Path, segment: Segment, decision: Decision) -> None:
        super().__init__(path, f"{segment.path.name} was decided in the meantime ({decision}); check it again, your decision was not saved")
        self.decision = decision


class Journal:
    """The decisions about the segments of one csv file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.history = path.with_suffix(".history.jsonl")
        self.original = path.with_suffix(".original.csv")

    @classmethod
    def open(cls, path: str | Path) -> Journal:
        """Open the journal of a csv file; complete a decision that was interrupted."""
        journal = cls(Path(path))
        with journal._locked():
            journal._complete_last()
        return journal

    @property
    def manifest(self) -> Manifest:
        """The list as it is now."""
        return read_manifest(self.path)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Every decision, in order; an incomplete line is ignored."""
        try:
            lines = self.history.read_bytes().split(b"\n")
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ManifestError(self.history, f"cannot be read: {error.strerror or error}") from error
        return tuple(decision for line in lines if (decision := _read(line)) is not None)

    def span_of(self, segment: Segment) -> tuple[str, float, float | None, int | None]:
        """Return how decisions identify a segment."""
        return (relative_path(segment.path, self.path.parent), segment.start, segment.end, segment.person)

    def latest(self) -> Mapping[tuple[str, float, float | None, int | None], Decision]:
        """Return the last decision about each segment that has one."""
        return {decision.span: decision for decision in self.decisions}

    @property
    def decided(self) -> frozenset[tuple[str, float, float | None, int | None]]:
        """The segments with a decision that was not undone."""
        return frozenset(span for span, decision in self.latest().items() if decision.action != "restore")

    def decide(self, segment: Segment, action: Action, label: str | None = None, *, by: str = "", known: int = 0) -> Decision:
        """Confirm, correct (to `label`) or reject a segment.

        `known` is the number of the last decision about it that the person has seen; a newer one raises Conflict.
        """
        if action == "correct" and not (label and label.strip()):
            raise ManifestError(self.path, f"{segment.path.name} needs the label that it is corrected to")
        with self._locked():
            self._complete_last()
            manifest, span = self.manifest, self.span_of(segment)
            last = self.latest().get(span)
            if last is not None and last.number > known:
                raise Conflict(self.path, segment, last)
            row = next((listed for listed in manifest.segments if self.span_of(listed) == span), None)
            if row is None:
                raise ManifestError(self.path, f"{segment} is not in the list any more; somebody changed the list")
            if action == "reject" and len(manifest) == 1:
                raise ManifestError(self.path, "the last segment of a list cannot be excluded")
            after = {"correct": (label or "").strip(), "reject": None}.get(action, row.label)
            return self._write(manifest, row, (action, row.label, after), by)

    def undo(self, decision: Decision, *, by: str = "") -> Decision:
        """Undo a decision, unless there is a later one about its segment; the history keeps both."""
        with self._locked():
            self._complete_last()
            last = self.latest().get(decision.span)
            segment = self._segment(decision)
            if last is not None and last.number > decision.number:
                raise Conflict(self.path, segment, last)
            change: tuple[Action, str | None, str | None] = ("restore", decision.after, decision.before)
            return self._write(self.manifest, segment, change, by)

    # -- writing -----------------------------------------------------------------------------------------------------------

    def _write(self, manifest: Manifest, row: Segment, change: tuple[Action, str | None, str | None], by: str) -> Decision:
        """Write the decision first, then the list."""
        self._keep_original()
        path, start, end, person = self.span_of(row)
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
        span, changed = decision.span, self._segment(decision)
        rows = list(manifest.segments)
        at = next((number for number, row in enumerate(rows) if self.span_of(row) == span), None)
        if decision.after is None:
            rows = [row for number, row in enumerate(rows) if number != at]
        elif at is None:
            rows.append(replace(changed, label=decision.after))
        else:
            rows[at] = replace(rows[at], label=decision.after)
        write_manifest(manifest.with_segments(rows), self.path)

    def _complete_last(self) -> None:
        """Apply the last decision to the list if the process was killed before it could."""
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
        try:
            write_bytes(self.original, self.path.read_bytes())
        except OSError as error:
            raise ManifestError(self.original, f"cannot be written: {error.strerror or error}; nothing was changed") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of the list; the system releases it when a process dies."""
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_LOCK_TIMEOUT)
        try:
            lock.acquire(poll_interval=0.02)
        except Timeout as error:
            raise ManifestError(self.path, "another process holds its lock; try again") from error
        except OSError as error:
            raise ManifestError(self.path, f"its folder cannot be written: {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()


def journal_for(model: Model) -> Journal:
    """Open the journal for a model's segments: of the csv that it was trained on, else of a new csv beside its folder or list.

    The manifest in the model folder is not changed.
    """
    if model.manifest is None:
        raise ManifestError(model.facts.source or "the model", "the videos that the model was trained on are missing")
    source = Path(model.facts.source)
    if source.suffix.lower() == ".csv" and source.is_file() and _fits(source, model):
        return Journal.open(source)
    reviewed = source / "reviewed.csv" if source.is_dir() else source.with_name(f"{source.stem or 'model'}.reviewed.csv")
    if not reviewed.exists():
        write_manifest(model.manifest, reviewed)
    return Journal.open(reviewed)


def _fits(source: Path, model: Model) -> bool:
    """Return whether a csv lists segments of the model with labels of the model (and not with class numbers)."""
    assert model.manifest is not None
    try:
        listed = read_manifest(source)
    except ManifestError:
        return False
    return bool({segment.span for segment in listed.segments} & {segment.span for segment in model.manifest.segments}) and bool(
        set(listed.labels) & set(model.labels)
    )


def _read(line: bytes) -> Decision | None:
    try:
        return from_plain(Decision, json.loads(line))
    except (ValueError, TypeError):
        return None


def _append(path: Path, line: str) -> None:
    """Append a line and sync it to the disk; an incomplete line before it stays a line of its own."""
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
