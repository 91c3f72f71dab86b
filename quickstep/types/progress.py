"""Progress of long computations as data: who computes reports stage, done and total; who shows it computes the time left."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Protocol


class Progress(Protocol):
    """A function that long computations call, from any of their threads. It must be fast and must not raise."""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Report that `done` of `total` items of a stage are finished."""
        ...


def silent(stage: str, done: int, total: int) -> None:
    """Ignore the progress; the default everywhere."""


@dataclass(frozen=True)
class ProgressUpdate:
    """How far one stage is; a line of JSON between processes."""

    stage: str
    done: int
    total: int

    @property
    def share(self) -> float:
        """The finished share of the stage, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total > 0 else 0.0

    def to_line(self) -> str:
        """Return the update as one line of JSON: {"stage": ..., "done": ..., "total": ...}."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> ProgressUpdate | None:
        """Return the update that a line of a process's output holds; None for any other line."""
        if not line.startswith('{"stage":'):
            return None
        try:
            content = json.loads(line)
            return cls(str(content["stage"]), int(content["done"]), int(content["total"]))
        except (ValueError, TypeError, KeyError):
            return None


class RemainingTime:
    """Estimate the seconds that a stage still takes, from when it was first seen."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}

    def elapsed(self, stage: str) -> float:
        """Return the seconds since the stage was first seen."""
        return time.monotonic() - self._began.setdefault(stage, time.monotonic())

    def seconds(self, update: ProgressUpdate) -> float | None:
        """Return the seconds left; None before anything is done and after all is."""
        elapsed = self.elapsed(update.stage)
        if update.done >= update.total:
            self._began.pop(update.stage, None)
            return None
        return elapsed / update.done * (update.total - update.done) if update.done > 0 else None


class Clock:
    """Measures the seconds that each stage takes."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._since = time.perf_counter()

    def mark(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._since, 3)
        self._since = now
