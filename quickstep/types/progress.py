"""Progress of long computations as data, and StopSignal, which ends them; long loops call `check_stop` once a step.

Who computes reports stage, done and total; who shows it computes the time left.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import asdict, dataclass
from functools import partial
from typing import Protocol, TypeVar

T = TypeVar("T")


class Stopped(BaseException):
    """The computation was stopped; like KeyboardInterrupt, a loop that collects errors of single items does not catch it."""


class StopSignal:
    """Says whether a computation has to end: somebody called `stop`, or its seconds are over."""

    def __init__(self, seconds: float = float("inf")) -> None:
        self._end = time.monotonic() + seconds
        self._stopped = threading.Event()

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least 0."""
        return max(0.0, self._end - time.monotonic())

    @property
    def is_set(self) -> bool:
        """Whether the computation has to end."""
        return self._stopped.is_set() or time.monotonic() >= self._end

    def stop(self) -> None:
        """Let the computation end at its next step."""
        self._stopped.set()

    def clear(self) -> None:
        """Take `stop` back."""
        self._stopped.clear()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let `check_stop` obey this signal, here and in the threads that this block starts through `in_this_context`."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)


EVERYTHING = StopSignal()  # of the whole process: set when a person or the system ends the program
_current: ContextVar[StopSignal | None] = ContextVar("stop_signal", default=None)


def check_stop() -> None:
    """Raise Stopped if the current computation has to end."""
    signal = _current.get()
    if EVERYTHING.is_set or (signal is not None and signal.is_set):
        raise Stopped


def in_this_context(work: Callable[..., T]) -> Callable[..., T]:
    """Return the function so that, called once in another thread, it obeys the StopSignal of this one."""
    return partial(copy_context().run, work)


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
